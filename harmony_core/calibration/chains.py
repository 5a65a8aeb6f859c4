"""From measured seconds of small pieces of work to the costs of operators: which pieces, and the fit. No torch.

The pieces are single blocks and small whole models, chosen so that each cost weighs much in some and little in others:
few and many heads, narrow and wide, short and long. They are this file's own and none of them is drawn from a search
space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from harmony_core.architecture import Architecture, Block
from harmony_core.architecture.block import block_from_dict
from harmony_core.machines.operator_costs import UNITS

# For each kind, pieces of a width and its hyper-parameters.
_BLOCKS: dict[str, tuple[tuple[int, dict[str, Any]], ...]] = {
    "mha": (
        (96, {"num_heads": 2, "head_dim": 64}),
        (128, {"num_heads": 8, "head_dim": 16}),
        (160, {"num_heads": 4, "head_dim": 32, "qk_norm": True}),
    ),
    "mqa": (
        (96, {"num_heads": 4, "head_dim": 64, "qk_norm": True}),
        (160, {"num_heads": 8, "head_dim": 16}),
    ),
    "gqa": (
        (128, {"num_heads": 4, "num_kv_heads": 2, "head_dim": 32, "qk_norm": True}),
        (128, {"num_heads": 8, "num_kv_heads": 4, "head_dim": 16}),
        (96, {"num_heads": 6, "num_kv_heads": 2, "head_dim": 64}),
    ),
    "swa": (
        (96, {"num_heads": 2, "num_kv_heads": 2, "head_dim": 64, "window": 64}),
        (160, {"num_heads": 8, "num_kv_heads": 2, "head_dim": 16, "window": 32}),
        (128, {"num_heads": 4, "num_kv_heads": 1, "head_dim": 32, "window": 128, "qk_norm": True}),
    ),
    "mla": (
        (
            96,
            _mla := {
                "num_heads": 4,
                "kv_lora_rank": 48,
                "qk_nope_head_dim": 32,
                "qk_rope_head_dim": 8,
                "v_head_dim": 16,
            },
        ),
        (160, {**_mla, "num_heads": 8, "kv_lora_rank": 96, "qk_nope_head_dim": 16, "v_head_dim": 32}),
        (128, {**_mla, "num_heads": 2, "q_lora_rank": 64, "qk_rope_head_dim": 16, "v_head_dim": 32}),
    ),
    "mamba2": (
        (96, {"d_state": 16, "expand": 1, "head_dim": 16, "d_conv": 2}),
        (128, {"d_state": 128, "expand": 2, "head_dim": 64, "n_groups": 1}),
        (128, {"d_state": 16, "expand": 2, "head_dim": 16, "n_groups": 4}),
        (160, {"d_state": 32, "expand": 1, "head_dim": 32, "n_groups": 1, "d_conv": 3}),
        (96, {"d_state": 64, "expand": 3, "head_dim": 32, "n_groups": 3}),
        (160, {"d_state": 64, "expand": 1, "head_dim": 16, "n_groups": 2}),
    ),
    "gated_deltanet": (
        (96, {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 16, "value_head_dim": 32}),
        (128, {"num_key_heads": 4, "num_value_heads": 4, "key_head_dim": 32, "value_head_dim": 64}),
        (160, {"num_key_heads": 4, "num_value_heads": 8, "key_head_dim": 16, "value_head_dim": 16}),
    ),
    "kda": (
        (96, {"num_heads": 4, "head_dim": 16}),
        (128, {"num_heads": 2, "head_dim": 64}),
        (160, {"num_heads": 4, "head_dim": 32, "gate_rank": 16}),
    ),
    "parallel": (
        (
            96,
            {
                "attention": {"num_heads": 4, "num_kv_heads": 1, "head_dim": 16},
                "ssm": {"d_state": 16, "inner_width": 144, "head_dim": 16, "norm": "none"},
            },
        ),
        (
            160,
            {
                "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 32},
                "ssm": {"d_state": 64, "expand": 1, "head_dim": 16},
            },
        ),
    ),
    "short_conv": (
        (96, {"kernel_size": 3}),
        (160, {"kernel_size": 7}),
    ),
    "hyena_se": (
        (96, {"num_groups": 8, "filter_length": 4}),
        (160, {"num_groups": 32, "filter_length": 13}),
        (128, {"num_groups": 16, "filter_length": 7}),
    ),
    "hyena_mr": (
        (96, {"num_groups": 8, "filter_length": 128}),
        (160, {"num_groups": 32, "filter_length": 32}),
    ),
    "hyena_li": (
        (96, {"state_size": 16}),
        (160, {"state_size": 8}),
        (128, {"state_size": 32}),
    ),
    "mlp": (
        (96, {"d_ff": 128, "activation": "relu2"}),
        (160, {"d_ff": 640, "activation": "relu2"}),
        (128, {"d_ff": 512, "activation": "gelu"}),
        (160, {"d_ff": 192, "activation": "gelu"}),
        (96, {"d_ff": 192, "activation": "swiglu"}),
        (160, {"d_ff": 432, "activation": "swiglu"}),
    ),
    "moe": (
        (96, {"n_routed": 4, "top_k": 1, "d_expert": 192}),
        (128, {"n_routed": 16, "top_k": 2, "d_expert": 64, "balancing": "bias"}),
        (160, {"n_routed": 8, "top_k": 4, "d_expert": 96, "n_shared": 1}),
        (128, {"n_routed": 4, "top_k": 3, "d_expert": 48, "n_shared": 1, "balancing": "bias"}),
    ),
}
# Sequences, and tokens of each, that blocks are measured with.
BATCHES = ((16, 256), (4, 512), (16, 128), (2, 128))
# On a GPU such blocks are launches and next to no arithmetic. There they are measured a second time, so many times as
# wide and with more tokens, so that a FLOP's cost is not a launch's.
LARGE_BATCHES, LARGE_FACTOR = ((4, 2048), (8, 512)), 8
# What of a block grows with its width; widths and states of heads stay.
_WIDENED = frozenset(
    (
        "num_heads",
        "num_kv_heads",
        "num_key_heads",
        "num_value_heads",
        "kv_lora_rank",
        "q_lora_rank",
        "inner_width",
        "d_ff",
        "d_expert",
    )
)


@dataclass(frozen=True)
class Chain:
    """Blocks of one width on one batch, one after the other."""

    d_model: int
    blocks: tuple[Block, ...]
    batch_size: int
    context: int


@dataclass(frozen=True)
class SmallModel:
    """One whole model on one batch, for what is no block's: the head, the optimiser, the step."""

    architecture: Architecture
    batch_size: int
    context: int


def chains(batches: Sequence[tuple[int, int]] = BATCHES, factor: int = 1) -> list[Chain]:
    """All blocks of each width, mixers and channel mixers in turn, on every batch.

    Args:
        batches: sequences, and tokens of each.
        factor: by which blocks are widened.
    """
    made = [
        (factor * d_model, block_from_dict({"kind": kind, **_widened(fields, factor)}))
        for kind, d_model, fields in _cases()
    ]
    found = []
    for d_model in sorted({d_model for d_model, _ in made}):
        mixers, channels = ([b for d, b in made if (d, b.role) == (d_model, role)] for role in ("mixer", "channel"))
        every = len(mixers) // len(channels) + 1
        for number, channel in enumerate(channels):
            mixers.insert(number * (every + 1) + every, channel)
        found += [Chain(d_model, tuple(mixers), *batch) for batch in batches]
    return found


def _widened(fields: dict[str, Any], factor: int) -> dict[str, Any]:
    """Hyper-parameters of a block so many times as wide; those of a block within it too."""
    return {
        name: _widened(value, factor) if isinstance(value, dict) else value * factor if name in _WIDENED else value
        for name, value in fields.items()
    }


def _cases() -> list[tuple[str, int, dict[str, Any]]]:
    return [(kind, d_model, fields) for kind, cases in _BLOCKS.items() for d_model, fields in cases]


def small_models() -> list[SmallModel]:
    """Much vocabulary, many parameters with few tokens, and next to nothing."""
    little, wide = ({"kind": "mlp", "d_ff": d_ff, "activation": "relu2"} for d_ff in (32, 4096))

    def model(d_model: int, vocab_size: int, blocks: Sequence[dict[str, Any]]) -> Architecture:
        made = tuple(block_from_dict(block) for block in blocks)
        return Architecture(d_model=d_model, vocab_size=vocab_size, tie_embeddings=True, blocks=made)

    return [
        SmallModel(model(128, 256, [little]), 16, 256),
        SmallModel(model(96, 2048, [little]), 16, 256),
        SmallModel(model(128, 256, [wide] * 3), 1, 16),
        SmallModel(model(64, 256, [little] * 2), 1, 16),
        SmallModel(model(64, 256, [little] * 8), 1, 16),
    ]


def fit_costs(works: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> dict[str, float]:
    """The non-negative costs of each unit that explain the measured seconds with the least squared relative error.

    Args:
        works: units of work of each piece.
        seconds: what each took.
    """
    share_NU = np.array([[work.get(unit, 0.0) for unit in UNITS] for work in works]) / np.array(seconds)[:, None]
    scale_U = share_NU.max(axis=0)
    used = np.flatnonzero(scale_U)
    columns = share_NU[:, used] / scale_U[used]
    found, _ = nnls(columns, np.ones(len(columns)))
    costs = dict.fromkeys(UNITS, 0.0)
    for j, unit in enumerate(used):
        costs[UNITS[unit]] = float(found[j] / scale_U[unit])
    return costs
