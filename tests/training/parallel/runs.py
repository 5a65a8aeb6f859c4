"""Trainings that are told to leave, and go on: on one process or on one rank of a layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from harmony_core.architecture import Architecture
from harmony_core.machines import Layout
from harmony_core.training.recipe import Recipe
from harmony_core.training.resume import CheckpointPolicy
from harmony_core.training.trainer import Conduct, TrainingInterrupted, train
from tests.training.parallel.curves import ATTENTION, BIAS, MAMBA2, MLP, MOE

STEPS = 12


def architecture(tied: bool = True) -> Architecture:
    blocks = [ATTENTION, MOE, MAMBA2, BIAS, MLP]
    return Architecture.parse({"d_model": 32, "vocab_size": 257, "tie_embeddings": tied, "blocks": blocks})


def recipe() -> Recipe:
    fields = {"batch_size": 4, "sequence_length": 32, "tokens": STEPS * 4 * 32, "validation_tokens": 512}
    return Recipe.parse({**fields, "precision": "fp32", "gradient_clip": 0.5})


def rungs_of(data: Path, folder: Path, layout: Layout) -> Any:
    """A training with a rung, whole; one that stops at the rung; and one that leaves in its branch and goes on.

    Returns:
        Curve (without its clock) and validation loss of the rungs, of the one alone, and of the one in two parts, and
        the steps of the last.
    """
    rungs = Recipe.parse({**recipe().model_dump(), "rungs": [6 * 4 * 32], "decay_fraction": 0.25})
    did: list[int] = []

    def trained(asked: Recipe, **options: Any) -> list[torch.Tensor]:
        conduct = Conduct(layout=layout, **options)
        result = train(architecture(), asked, data, init_seed=3, data_seed=4, conduct=conduct)
        return [
            torch.tensor([(p.train_loss, p.gradient_norm) for p in one.curve] + [(one.val_loss, 0.0)]).double()
            for one in result.rungs
        ]

    def in_parts() -> list[torch.Tensor]:
        options = {"checkpoints": CheckpointPolicy(folder), "on_step": lambda point, _: did.append(point.step)}
        try:
            trained(rungs, stop=lambda: len(did) == 5, **options)
        except TrainingInterrupted:
            return trained(rungs, **options)
        raise AssertionError("it did not leave")

    return {"rungs": trained(rungs), "alone": trained(rungs.at_rung(0))[0], "again": in_parts(), "did": did}


def part_of(data: Path, folder: Path | None, layout: Layout, leave_at: int | None = None, **policy: Any) -> Any:
    """Trains to the end, or until one rank is told to leave before step `leave_at`.

    Returns:
        The curve (without its clock), validation loss and bits per byte, and how many steps this part did.
    """
    torch.manual_seed(1)
    steps: list[int] = []

    def told() -> bool:
        # The last rank alone hears of it.
        last = torch.distributed.get_rank() == torch.distributed.get_world_size() - 1
        return last and leave_at is not None and len(steps) == leave_at

    checkpoints = None if folder is None else CheckpointPolicy(folder, **policy)
    conduct = Conduct(
        layout=layout, checkpoints=checkpoints, stop=told, on_step=lambda point, losses: steps.append(point.step)
    )
    try:
        result = train(architecture(), recipe(), data, init_seed=3, data_seed=4, conduct=conduct)
    except TrainingInterrupted:
        return {"left": True, "did": steps}
    curve = [(p.step, p.tokens, p.train_loss, p.learning_rate, p.gradient_norm) for p in result.curve]
    fields = {name: getattr(result, name) for name in ("val_loss", "val_bits_per_byte", "train_loss", "router_loss")}
    return {"left": False, "did": steps, "curve": torch.tensor(curve, dtype=torch.float64), **fields}
