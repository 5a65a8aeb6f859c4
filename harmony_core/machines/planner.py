"""The best layouts of a training on so many devices of a machine, and how they scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.machines.estimate import Estimate, Estimator
from harmony_core.machines.layout import Layout, layouts
from harmony_core.machines.machine import Machine
from harmony_core.machines.step import TrainingStep

# The planner tries no more ranks that share a sequence, and no more sequences of a micro-batch.
_MAX_CP = 8
_MAX_MICRO_BATCH = 32
_WEAK_SCALING = (8, 16_384)


@dataclass(frozen=True)
class PlanningResult:
    """Every layout that was looked at.

    Args:
        fitting: those that fit the memory, fastest first.
        too_large: those that do not, the leanest variant of each pp x dp x ep x cp, least excess first.
        impossible: sizes that the architecture or the batch do not allow, each with the field and the reason.
    """

    fitting: tuple[Estimate, ...]
    too_large: tuple[Estimate, ...]
    impossible: tuple[tuple[Layout, str, str], ...]


@dataclass(frozen=True)
class Scaled:
    """One point of a weak scaling.

    Args:
        gpus: devices.
        batch_size: sequences a step, as many for each device as at any other point.
        estimate: what is predicted.
        efficiency: tokens/s of a device over those of the fewest devices that run the best layout.
    """

    gpus: int
    batch_size: int
    estimate: Estimate
    efficiency: float


def search(estimator: Estimator, gpus: int) -> PlanningResult:
    """Looks at every pp x dp x ep x cp of so many devices, with micro-batches, ZeRO stages and checkpointing."""
    fitting: list[Estimate] = []
    too_large: list[Estimate] = []
    impossible: list[tuple[Layout, str, str]] = []
    for sizes in _sizes(estimator.architecture, gpus):
        problem = sizes.problem(estimator.architecture, estimator.step.batch_size, estimator.step.sequence_length)
        if problem is not None:
            impossible.append((sizes, *problem))
            continue
        variants = list(_variants(sizes, estimator.step.batch_size))
        found = [estimator.estimate(layout) for layout in variants if estimator.cut(layout) is not None]
        fitting += found
        if not found:
            too_large.append(estimator.estimate(variants[-1]))
    fitting.sort(key=lambda one: one.seconds)
    too_large.sort(key=lambda one: one.excess_memory)
    return PlanningResult(tuple(fitting), tuple(too_large), tuple(impossible))


def fitted(estimator: Estimator, asked: Layout) -> Estimate:
    """The layout that is asked for where it fits the memory, else the fastest of its sizes that does.

    Micro-batches, ZeRO stages and checkpointing may change, which change no result beyond rounding. Where none fits,
    the one that lacks least, which says so (`Estimate.fits`).

    Args:
        estimator: of the training.
        asked: a possible layout (`Layout.problem`).
    """
    best = estimator.estimate(asked)
    if best.fits:
        return best
    variants = [estimator.estimate(layout) for layout in _variants(asked, estimator.step.batch_size)]
    fitting = [one for one in variants if one.fits]
    if fitting:
        return min(fitting, key=lambda one: one.seconds)
    return min(variants, key=lambda one: one.excess_memory)


def plan_layouts(architecture: Architecture, machine: Machine, gpus: int, step: TrainingStep) -> PlanningResult:
    """`search`, where anything fits.

    Args:
        architecture: the model.
        machine: what it is trained on.
        gpus: devices, a rank on each.
        step: batch, sequence length and precision.

    Raises:
        UserError: more devices than the machine joins; no layout is possible, or none fits the memory: with the number
            of devices, or the change, that would do.
    """
    if not 1 <= gpus <= machine.max_devices:
        raise UserError("gpus", gpus, f"use 1 to {machine.max_devices}, which the links of {machine.name} join")
    found = search(Estimator(architecture, machine, step), gpus)
    if found.fitting:
        return found
    if not found.too_large:
        reasons = ", ".join(sorted({reason for _, _, reason in found.impossible}))
        raise UserError("gpus", gpus, f"no layout is possible ({reasons}); use another number, or another batch size")
    least = found.too_large[0]
    lacking = (
        f"the model fits under no layout: the leanest, {least.layout}, needs {least.peak_memory / 1e9:.3g} GB a device "
        f"of {machine.name}, which has {least.memory_limit / 1e9:.3g} GB for tensors"
    )
    enough = _enough(architecture, machine, gpus, step)
    fix = "use shorter sequences or a smaller model" if enough is None else f"use {enough} devices"
    raise UserError("gpus", gpus, f"{lacking}; {fix}")


def weak_scaling(
    architecture: Architecture, machine: Machine, best: Layout, step: TrainingStep, sizes: Sequence[int] | None = None
) -> list[Scaled]:
    """The best layout with more or fewer replicas, as many sequences for each device as in `step`.

    Where so few devices do not hold one replica of it, the best layout of theirs; sizes that hold none, or for which
    the batch is no whole number of sequences, are left out.

    Args:
        architecture: what is trained.
        machine: on what.
        best: the layout of `step`.
        step: the batch that belongs to `best`.
        sizes: numbers of devices; 8 to 16,384 by doubling, or the like that a replica divides.
    """
    found: list[tuple[int, int, Estimate]] = []
    for gpus in sizes or _doublings(best):
        batch_size, rest = divmod(step.batch_size * gpus, best.num_processes)
        if gpus <= machine.max_devices and batch_size and not rest:
            estimate = _scaled(Estimator(architecture, machine, replace(step, batch_size=batch_size)), best, gpus)
            if estimate is not None:
                found.append((gpus, batch_size, estimate))
    if not found:
        return []
    rates = {gpus: estimate.tokens_per_second / gpus for gpus, _, estimate in found}
    alike = [gpus for gpus, _, one in found if one.layout == best.model_copy(update={"dp": one.layout.dp})]
    first = rates[min(alike or rates)]
    return [Scaled(gpus, batch_size, estimate, rates[gpus] / first) for gpus, batch_size, estimate in found]


def _doublings(best: Layout) -> list[int]:
    replica = best.pp * best.cp * best.tp
    odd = replica // (replica & -replica)
    fewest, most = _WEAK_SCALING
    return [gpus for gpus in (odd * 2**power for power in range(most.bit_length())) if fewest <= gpus <= most]


def _scaled(estimator: Estimator, best: Layout, gpus: int) -> Estimate | None:
    step, replicas = estimator.step, gpus // (best.pp * best.cp * best.tp)
    layout = best.model_copy(update={"dp": replicas})
    if replicas and layout.num_processes == gpus:
        possible = layout.problem(estimator.architecture, step.batch_size, step.sequence_length) is None
        if possible and estimator.cut(layout) is not None:
            return estimator.estimate(layout)
    fitting = search(estimator, gpus).fitting
    return fitting[0] if fitting else None


def _sizes(architecture: Architecture, gpus: int) -> Iterator[Layout]:
    experts = max(1, *(block.num_experts for block in architecture.blocks))
    return layouts(gpus, experts, _MAX_CP)


def _variants(sizes: Layout, batch_size: int) -> Iterator[Layout]:
    """Micro-batches, checkpointing and ZeRO stages of one pp x dp x ep x cp; the one that keeps least comes last."""
    share = batch_size // sizes.dp
    micro_batches = [n for n in range(1, _MAX_MICRO_BATCH + 1) if share % n == 0]
    stages = (0,) if sizes.data_ranks == 1 else (0, 1) if sizes.pp > 1 else (0, 1, 2)
    for micro in reversed(micro_batches):
        for again in (False, True):
            for zero in stages:
                yield sizes.model_copy(
                    update={"micro_batch_size": micro, "activation_checkpointing": again, "zero_stage": zero}
                )


def _enough(architecture: Architecture, machine: Machine, gpus: int, step: TrainingStep) -> int | None:
    """The nearest number of devices, with as many sequences for each, under which some layout fits.

    Doublings are looked at, and powers of two: a number without divisors has few layouts, and its neighbour many.
    """
    powers = range(machine.max_devices.bit_length())
    numbers = {gpus << power for power in powers} | {1 << power for power in powers if 1 << power > gpus / 2}
    for number in sorted(numbers - {gpus}, key=lambda one: abs(math.log2(one / gpus))):
        batch_size, rest = divmod(step.batch_size * number, gpus)
        if rest or number > machine.max_devices:
            continue
        scaled = replace(step, batch_size=batch_size)
        estimator = Estimator(architecture, machine, scaled)
        for sizes in _sizes(architecture, number):
            if sizes.problem(architecture, scaled.batch_size, scaled.sequence_length) is None:
                *_, leanest = _variants(sizes, scaled.batch_size)
                if estimator.cut(leanest) is not None:
                    return number
    return None
