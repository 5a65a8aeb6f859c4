"""Token mixers alone: one block of each kind, and its forward and backward pass.

B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators.families import HEAD_DIM
from benchmarks.operators.settings import SEED, WINDOW
from harmony_core.architecture import Architecture, block_class
from harmony_core.models import build


def configurations(d_model: int) -> dict[str, dict[str, Any]]:
    """A configuration of each kind of mixer at this width; kinds with defaults for everything have them."""
    heads = d_model // HEAD_DIM
    attention = {"num_heads": heads, "head_dim": HEAD_DIM}
    groups = {"num_groups": d_model // 16}
    latent = {"kv_lora_rank": d_model // 4, "qk_nope_head_dim": HEAD_DIM, "qk_rope_head_dim": HEAD_DIM // 2}
    return {
        "mha": attention,
        "mqa": attention,
        "gqa": {**attention, "num_kv_heads": heads // 2},
        "mla": {"num_heads": heads, **latent, "v_head_dim": HEAD_DIM},
        "swa": {**attention, "num_kv_heads": heads // 2, "window": WINDOW},
        "mamba": {},
        "mamba2": {},
        "gated_deltanet": {
            **{"num_key_heads": heads, "num_value_heads": 2 * heads},
            **{"key_head_dim": HEAD_DIM, "value_head_dim": HEAD_DIM},
        },
        "kda": {"num_heads": heads, "head_dim": HEAD_DIM},
        "parallel": {
            "attention": {**attention, "num_kv_heads": heads // 2},
            "ssm": {"inner_width": 3 * d_model // 2, "norm": "none"},
        },
        "short_conv": {},
        "hyena_se": groups,
        "hyena_mr": groups,
        "hyena_li": {},
    }


def mixer(kind: str, d_model: int) -> torch.nn.Module:
    """The module of a kind with its first weights.

    Raises:
        UserError: there is no such kind.
    """
    # Named before the configuration is read, so that a kind that does not exist says so.
    block_class(kind)
    block = {"kind": kind, **configurations(d_model)[kind]}
    # One row of vocabulary: the embedding is not used.
    model = build(Architecture.parse({"d_model": d_model, "vocab_size": 1, "blocks": [block]}), init_seed=SEED)
    inner: torch.nn.Module = model.blocks[0].inner  # type: ignore[assignment]
    return inner.train()


def pass_of(module: torch.nn.Module, d_model: int, length: int, batch_size: int = 1) -> Callable[[], Tensor]:
    """Forward and backward over one batch of normal numbers, which answers with the input's gradient.

    Args:
        module: ours or a peer's, of [B, T, D].
        d_model: D.
        length: T.
        batch_size: B.
    """
    generator = torch.Generator().manual_seed(SEED)
    x_BTD = torch.randn(batch_size, length, d_model, generator=generator, requires_grad=True)
    dy_BTD = torch.randn(batch_size, length, d_model, generator=generator)

    def run() -> Tensor:
        x_BTD.grad = None
        module.zero_grad(set_to_none=True)
        module(x_BTD).backward(dy_BTD)
        assert x_BTD.grad is not None
        return x_BTD.grad

    return run
