"""Spaces that several tests search: the shipped ones, and small ones that corner the operators."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from benchmarks.variation import budget
from harmony_core.architecture import Architecture
from harmony_core.space import Space, sample

VOCAB = 257
TINY: dict[str, Any] = {
    "depth": {"min": 1, "max": 2},
    "d_model": [32],
    "blocks": {
        "mha": {"domains": {"num_heads": [2], "head_dim": [16]}},
        "mqa": {"domains": {"num_heads": [2], "head_dim": [16]}},
        "mlp": {"domains": {"d_ff": [64]}},
    },
}
FREE: dict[str, Any] = {
    "pattern": "free",
    "depth": {"min": 2, "max": 7},
    "d_model": [32, 48],
    "tie_embeddings": [True, False],
    "blocks": {
        "gqa": {"domains": {"num_heads": [2, 4, 6], "num_kv_heads": [1, 2, 3, 4], "head_dim": [8, 16]}},
        "mamba2": {"domains": {"head_dim": [24, 16, 64], "expand": [1, 2], "n_groups": [1, 2, 3]}},
        "moe": {
            "domains": {"n_routed": [2, 4], "top_k": [1, 2, 4], "d_expert": [16, 32], "normalize_top_k": [True, False]}
        },
        "mlp": {"weight": 0.5, "domains": {"d_ff": [32, 64, 128, 256]}, "relative_size": {"max": 14}},
    },
    "constraints": {"num_params": {"max": 150_000}, "count": {"mlp": {"max": 3}}},
}
SHIPPED, OWN = ("nano", "harmony", "composer"), {"free": FREE, "tiny": TINY}
SPACES = (*SHIPPED, *OWN)


@functools.cache
def named(name: str) -> Space:
    """A space of `SPACES`, or `budget`; read when a test asks, for every worker imports every test."""
    if name == "budget":
        return budget()
    return Space.parse(OWN[name]) if name in OWN else Space.from_yaml(name)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(space: Space, seed: int = 0) -> Architecture:
    return sample(space, VOCAB, rng(seed)).architecture
