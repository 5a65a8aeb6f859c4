"""What a training of a few steps gives, on one process or on one rank of a layout."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from harmony_core.architecture import Architecture
from harmony_core.machines import Layout, Machine
from harmony_core.training.learner import Learner
from harmony_core.training.recipe import Recipe

STEPS, BATCH, LENGTH, VOCAB, WIDTH = 20, 8, 16, 64, 32

ATTENTION = {"kind": "gqa", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
MAMBA2 = {"kind": "mamba2", "d_state": 8, "head_dim": 8, "chunk_size": 8}
MLP = {"kind": "mlp", "d_ff": 48}
MOE = {"kind": "moe", "n_routed": 4, "top_k": 2, "d_expert": 24, "n_shared": 1, "aux_coefficient": 0.01}
BIAS = {**MOE, "balancing": "bias", "router": "sigmoid", "bias_update_rate": 0.01}
HYENA = {"kind": "hyena_mr", "num_groups": 4, "filter_length": 7}
# Everything of an expert that not every mixture has, between mixers that context ranks share.
BIASED = {**BIAS, "expert_bias": True, "router_bias": True, "activation": "clamped_swiglu", "d_latent": 24}
SHORT, SINKS = {"kind": "short_conv", "kernel_size": 4, "bias": True}, {**ATTENTION, "sinks": True}
MODELS: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "attention": ([ATTENTION, MLP] * 2, True),
    "mamba2": ([MAMBA2, MLP] * 2, False),
    "hybrid": ([ATTENTION, MOE, MAMBA2, MOE], True),
    "bias": ([MAMBA2, BIAS, ATTENTION, BIAS, MLP], False),
    "short_conv": ([SHORT, BIASED, SINKS, BIASED], True),
    "hyena": ([HYENA, BIAS, ATTENTION, MLP], True),
}


def architecture(name: str) -> Architecture:
    blocks, tied = MODELS[name]
    fields = {"d_model": WIDTH, "vocab_size": VOCAB, "tie_embeddings": tied, "blocks": blocks}
    return Architecture.model_validate(fields)


def recipe(**changes: Any) -> Recipe:
    fields = {"tokens": STEPS * BATCH * LENGTH, "batch_size": BATCH, "sequence_length": LENGTH, "precision": "fp32"}
    return Recipe.model_validate({**fields, "gradient_clip": 0.3, "warmup_tokens": 0, **changes})


def rows(step: int, batch: int = BATCH) -> np.ndarray:
    """Tokens that can be learnt from: each follows from the one before, with some noise."""
    draws = np.random.default_rng(np.random.SeedSequence([7, step]))
    start = draws.integers(0, VOCAB, (batch, 1))
    walk = start + 5 * np.arange(LENGTH + 1) + draws.integers(0, 2, (batch, LENGTH + 1))
    return np.asarray(walk % VOCAB, dtype=np.int64)


def train(name: str, layout: Layout, machine: str | None = None, **changes: Any) -> dict[str, Any]:
    """Loss, balancing loss and gradient norm of every step, the loss on six unseen rows, and expert loads."""
    torch.manual_seed(dist.get_rank() if dist.is_initialized() else 99)
    where = None if machine is None else Machine.from_yaml(machine)
    learner = Learner(architecture(name), recipe(**changes), 3, torch.device("cpu"), layout, where)
    share = BATCH // layout.dp
    first = learner.mesh.replica * share
    steps = [dataclasses.astuple(learner.step(rows(step)[first : first + share], 1.0)) for step in range(STEPS)]
    return {
        "steps": torch.tensor(steps, dtype=torch.float64),
        "evaluated": float(learner.evaluate(rows(1000, 6)).mean()),
        "loads": {index: load.tolist() for index, load in learner.stage.router_load().items()},
    }
