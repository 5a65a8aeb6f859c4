"""Delta rules and their whole blocks beside the plain PyTorch of `transformers`, with the same values and weights.

B batch, T tokens, D width, G key heads, H value heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators.families import HEAD_DIM
from benchmarks.operators.pair import both
from benchmarks.operators.settings import BLOCK_PROMISE, RULE_PROMISE, SEED, SIDES, Setting
from benchmarks.operators.sides import measured, passes
from harmony_core.models import keep_freed_memory
from harmony_core.models.ops.linear.gated_delta import gated_delta
from harmony_core.models.ops.linear.kda import kda
from harmony_core.models.ops.linear.l2_norm import l2_norm
from harmony_core.tiling import delta_chunk

FAMILY = {"gated_deltanet": "qwen3_next", "kda": "kimi_linear"}
WHATS = ("rule", "block")


def measure(kind: str, what: str, setting: Setting, rounds: int) -> dict[str, Any]:
    """Forward and backward of both sides in turns; to be run in a process of its own.

    Args:
        kind: of `FAMILY`.
        what: the `rule` alone, from queries and keys before they get length one; or the whole `block`.
        setting: width, length, batch.
        rounds: how often.
    """
    keep_freed_memory()
    sides = rules(kind, setting) if what == "rule" else blocks(kind, setting)
    return measured(sides, rounds, RULE_PROMISE if what == "rule" else BLOCK_PROMISE)


def rules(kind: str, setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """Each side's rule, forward and backward; returns the values' gradient."""
    shape, heads = (setting.batch_size, setting.sequence_length), setting.d_model // HEAD_DIM
    generator = torch.Generator().manual_seed(SEED)

    def normal(*rest: int) -> Tensor:
        return torch.randn(*shape, *rest, generator=generator)

    wide = 2 * heads if kind == "gated_deltanet" else heads
    q, k, v = normal(heads, HEAD_DIM), normal(heads, HEAD_DIM), normal(wide, HEAD_DIM)
    log = -0.3 * (normal(wide) if kind == "gated_deltanet" else normal(wide, HEAD_DIM)).abs()
    beta, dy = normal(wide).sigmoid(), normal(wide, HEAD_DIM)
    qk = torch.cat((q, k), 2)
    for leaf in (q, k, qk, v, log, beta):
        leaf.requires_grad_()
    rule, chunk = (gated_delta if kind == "gated_deltanet" else kda), delta_chunk(64, HEAD_DIM)
    peer = peer_rule(kind)

    def ours() -> Tensor:
        y, _ = rule(l2_norm(qk), v, log, beta, chunk)
        return torch.autograd.grad(y, (v, qk, log, beta), dy)[0]

    def theirs() -> Tensor:
        y, _ = peer(q, k, v, log, beta, use_qk_l2norm_in_kernel=True)
        return torch.autograd.grad(y, (v, q, k, log, beta), dy)[0]

    return dict(zip(SIDES, (ours, theirs), strict=True))


def peer_rule(kind: str) -> Callable[..., Any]:
    """The peer's chunked form in plain PyTorch."""
    if kind == "gated_deltanet":
        from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

        return torch_chunk_gated_delta_rule
    from transformers.models.kimi_linear.modeling_kimi_linear import chunk_kimi_delta_attention

    return chunk_kimi_delta_attention


def blocks(kind: str, setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """The first layer's mixer on each side, forward and backward; returns the input's gradient."""
    models = both(FAMILY[kind], setting, "sdpa")
    layer = models["transformers"].model.layers[0]
    modules = (models["harmony"].blocks[0].inner, layer.linear_attn if kind == "gated_deltanet" else layer.self_attn)
    return passes(modules, setting)
