"""Whether a candidate's training fits a device, asked of the planner before anything is started."""

from __future__ import annotations

import functools

from harmony_core.architecture import Architecture
from harmony_core.evaluation.config import ExecutionConfig
from harmony_core.machines import Estimator, Layout, Machine, TrainingStep, fitted
from harmony_core.training.recipe import Recipe


def fit_memory(
    execution: ExecutionConfig, architecture: Architecture, recipe: Recipe, layout: Layout
) -> tuple[Layout, str | None]:
    """The layout to train with on `execution.machine`, and why it cannot be trained there; None where it can.

    Without a machine the layout stays and nothing is refused. Memory is the same for every step and every rung, so
    that one answer holds for the whole training.

    Args:
        execution: names the machine, and says how many candidates share a device.
        architecture: the candidate.
        recipe: gives batch, sequence length and precision.
        layout: a possible one, which is taken where it fits.
    """
    if execution.machine is None:
        return layout, None
    machine = _part_of(execution.machine, execution.candidates_per_gpu)
    step = TrainingStep(recipe.batch_size, recipe.sequence_length, recipe.resolved_precision)
    found = fitted(Estimator(architecture, machine, step), layout)
    if found.fits:
        return found.layout, None
    share = "" if execution.candidates_per_gpu == 1 else f" for each of {execution.candidates_per_gpu} candidates"
    needed = f"{found.peak_memory / 1e9:.3g} GB as {found.layout}"
    has = f"{found.memory_limit / 1e9:.3g} for tensors{share}"
    return layout, f"not trained: predicted to need {needed} on a device of {machine.name}, which has {has}"


@functools.cache
def _part_of(name: str, candidates: int) -> Machine:
    """The machine with the memory that each of so many candidates on a device has, the reserve shared alike."""
    machine = Machine.from_yaml(name)
    if candidates == 1:
        return machine
    memory = machine.memory_bytes
    part = memory.model_copy(update={"value": memory.value / candidates, "source": f"{memory.source}; shared evenly"})
    reserved = machine.reserved_memory_bytes
    if reserved is not None:
        reserved = reserved.model_copy(update={"value": reserved.value / candidates})
    return machine.model_copy(update={"memory_bytes": part, "reserved_memory_bytes": reserved})
