"""Whether what `harmony train` is asked for can be trained: refused with what would do, before a process is started."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil

from harmony_core.architecture import Architecture
from harmony_core.cli.layout_option import layout_text
from harmony_core.errors import UserError
from harmony_core.host import usable_cores, visible_gpus

if TYPE_CHECKING:
    from harmony_core.machines import Estimator, Layout, Machine, TrainingStep
    from harmony_core.training.recipe import Recipe

# Memory of a process before its first tensor: code, libraries, compiled kernels (docs/planner_machine.md).
_PROCESS_BYTES = 0.4e9


def check_memory(architecture: Architecture, layout: Layout, recipe: Recipe, machine: Machine) -> None:
    """Refuses what is predicted not to fit the machine's memory, with a layout that does.

    Args:
        architecture: the model.
        layout: how it would be spread.
        recipe: gives batch, sequence length and precision.
        machine: gives the memory of a device.

    Raises:
        UserError: it does not fit.
    """
    from harmony_core.machines import Estimator, plan_layouts

    step = _step(recipe)
    predicted = Estimator(architecture, machine, step).estimate(layout)
    if predicted.fits:
        return
    # Where no layout of as many devices fits, `plan_layouts` says so.
    best = plan_layouts(architecture, machine, layout.num_processes, step).fitting[0].layout
    needs = f"needs {predicted.peak_memory / 1e9:.1f} GB a device of {machine.name}"
    fix = f"{needs}, which has {predicted.memory_limit / 1e9:.1f} for tensors; use --layout {layout_text(best)}"
    raise UserError("layout", layout, fix)


def check_host(architecture: Architecture, layout: Layout, recipe: Recipe) -> None:
    """Refuses what this machine cannot hold if all processes of the layout run on it: a GPU each, or its memory.

    On GPUs their own allocator says what does not fit; on a CPU the kernel would kill somebody.

    Args:
        architecture: the model.
        layout: how it would be spread.
        recipe: gives batch, sequence length and precision.

    Raises:
        UserError: there are fewer GPUs, or less memory.
    """
    processes = layout.num_processes
    # A build of torch for CPUs does not see the GPUs of this machine.
    gpus = 0 if "+cpu" in version("torch") else len(visible_gpus())
    if gpus:
        if processes > gpus:
            fix = f"its {processes} processes need a GPU each, and this machine has {gpus}; use as many, or srun"
            raise UserError("layout", layout, fix)
        return
    memory = float(psutil.virtual_memory().total)
    if processes * _PROCESS_BYTES >= memory:
        fix = f"its {processes} processes do not fit the {memory / 1e9:.0f} GB of this machine"
        raise UserError("layout", layout, f"{fix}; use at most one for each of its {usable_cores()} cores")
    estimator = _estimator(architecture, recipe, processes)
    needed = _bytes_of_all(estimator, layout)
    if needed > memory:
        lean = _leaner(estimator, layout, recipe, memory)
        fix = "use a smaller model or shorter sequences" if lean is None else f"use --layout {layout_text(lean)}"
        told = f"needs {needed / 1e9:.3g} GB, and this machine has {memory / 1e9:.3g}"
        raise UserError("layout", layout, f"{told}; {fix}")


def _leaner(estimator: Estimator, layout: Layout, recipe: Recipe, memory: float) -> Layout | None:
    """The nearest layout, of as many processes or fewer, that keeps least and fits."""
    from harmony_core.machines import nearest

    least = layout.model_copy(update={"micro_batch_size": 1, "activation_checkpointing": True})
    for number in range(layout.num_processes, 0, -1):
        near = nearest(least, estimator.architecture, recipe.batch_size, recipe.sequence_length, number)
        if near is not None and _bytes_of_all(estimator, near) <= memory:
            return near
    return None


def _bytes_of_all(estimator: Estimator, layout: Layout) -> float:
    """What all processes of a layout are predicted to hold together."""
    stages = estimator.estimate(layout).memory
    return layout.data_ranks * sum(stage.total for stage in stages) + layout.num_processes * _PROCESS_BYTES


def _estimator(architecture: Architecture, recipe: Recipe, processes: int) -> Estimator:
    """Of processes of one host, for their memory: their speed does not matter here."""
    from harmony_core.machines import Estimator, Machine

    machine = Machine.from_yaml("cpu")
    host = machine.links[-1]
    link = host.model_copy(update={"devices": max(host.devices, processes)})
    return Estimator(architecture, machine.model_copy(update={"links": (link,)}), _step(recipe))


def _step(recipe: Recipe) -> TrainingStep:
    from harmony_core.machines import TrainingStep

    return TrainingStep(recipe.batch_size, recipe.sequence_length, "fp32" if recipe.precision == "fp32" else "bf16")
