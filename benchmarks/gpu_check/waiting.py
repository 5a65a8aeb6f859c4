"""Where a training step reads a value back from the device, and so waits for it: nowhere, but where a block says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_check.cases import USUAL, block, kinds
from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.settings import SEED, Before, Row, Setting
from harmony_core.architecture import Architecture, block_class, block_from_dict
from harmony_core.models import build
from harmony_core.testing.contract import noted_reads
from harmony_core.training.learner import Learner
from harmony_core.training.precision import autocast
from harmony_core.training.recipe import Recipe

_VOCAB_SIZE, _BATCH = 257, 2
# Before it is watched a step has built kernels and moments.
_WARM_UP = 2


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a kind, with the place of the first wait where there is one; then how often the trainer's step waits."""
    for kind in kinds():
        yield attempted({"what": f"a step of {kind}"}, _of_kind, kind, setting)
    yield attempted({"what": "the trainer's step, losses read"}, _of_trainer, setting)


def architecture(kind: str, setting: Setting) -> Architecture:
    """A model of one block of a kind, and of another one that mixes what it does not."""
    d_model, head = setting.choose(256, 32), setting.choose(USUAL, 16)
    other = block("mlp" if block_class(kind).role == "mixer" else "gqa", d_model, head)
    both = [block(kind, d_model, head), other]
    return Architecture.parse({"d_model": d_model, "vocab_size": _VOCAB_SIZE, "blocks": both})


def _of_kind(kind: str, setting: Setting) -> Row:
    device = torch.device(setting.device)
    model = build(architecture(kind, setting), init_seed=SEED).to(device).train()
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-3, 0.1), fused=True)
    tokens_BT = torch.from_numpy(_tokens(setting)).to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, setting.choose("bf16", "fp32")):
            loss = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).total
        loss.backward()
        optimizer.step()
        model.after_step()

    for _ in range(_WARM_UP):
        step()
    declared = block_from_dict(dict(block(kind, 256, USUAL))).waits_for_device
    found = waits(step, setting)
    return {"waits": len(found), "first": found[0] if found else None, "ok": bool(found) == declared}


def _of_trainer(setting: Setting) -> Row:
    """Nothing is promised of it: a loss that is told has been read."""
    length = setting.choose(256, 16)
    recipe = Recipe(
        batch_size=_BATCH,
        sequence_length=length,
        tokens=_BATCH * length,
        validation_tokens=length,
        precision=setting.choose("bf16", "fp32"),
    )
    learner = Learner(architecture("gqa", setting), recipe, SEED, torch.device(setting.device))
    rows_BT = _tokens(setting)
    for _ in range(_WARM_UP):
        learner.step(rows_BT, 1.0)
    found = waits(lambda: learner.step(rows_BT, 1.0), setting)
    return {"waits": len(found), "first": found[0] if found else None}


def waits(step: Callable[[], Any], setting: Setting) -> list[str]:
    """Where a step waits: on a GPU every place that CUDA tells of, on a CPU the operations that would wait there.

    Args:
        step: run once.
        setting: where it computes.
    """
    if setting.small:
        with noted_reads() as found:
            step()
        return list(found)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{one.filename}:{one.lineno}" for one in caught if "called a synchronizing" in str(one.message)]


def _tokens(setting: Setting) -> np.ndarray:
    rng = np.random.default_rng(np.random.SeedSequence(SEED))
    return rng.integers(0, _VOCAB_SIZE, (_BATCH, setting.choose(256, 16) + 1))
