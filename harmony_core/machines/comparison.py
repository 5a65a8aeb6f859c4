"""Why the layouts that were not chosen lose: to memory, to time and what takes it, or to arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harmony_core.machines.estimate import Estimate
from harmony_core.machines.layout import Layout
from harmony_core.machines.planner import PlanningResult

_FIELDS = {
    "pp": "pp ",
    "ep": "ep ",
    "cp": "cp ",
    "zero_stage": "ZeRO-",
    "micro_batch_size": "micro-batch ",
    "activation_checkpointing": "checkpointing",
}


@dataclass(frozen=True)
class Comparison:
    """Why no layout with one setting is the best one.

    Args:
        setting: the setting (`pp 1`).
        layout: the best layout that has it; None if it is possible in none.
        reason: how it loses.
    """

    setting: str
    layout: Layout | None
    reason: str


def comparisons(found: PlanningResult) -> list[Comparison]:
    """For every other value of each field of the best layout: the best that can be had with it, and what it loses."""
    chosen = found.fitting[0].layout
    told: list[Comparison] = []
    for field, label in _FIELDS.items():
        values = {getattr(one.layout, field) for one in (*found.fitting, *found.too_large)}
        values |= {getattr(layout, field) for layout, problem, _ in found.impossible if problem == field}
        for value in sorted(values - {getattr(chosen, field)}):
            new = _comparison(found, field, value, _setting(label, value))
            if told and new.layout is None and told[-1].reason == new.reason:
                told[-1] = replace(told[-1], setting=f"{told[-1].setting}, {value}")
            else:
                told.append(new)
    return told


def _setting(label: str, value: int) -> str:
    if isinstance(value, bool):
        return label if value else f"no {label}"
    return f"{label}{value}"


def _comparison(found: PlanningResult, field: str, value: int, setting: str) -> Comparison:
    for one in found.fitting:
        if getattr(one.layout, field) == value:
            return Comparison(setting, one.layout, slower(found.fitting[0], one))
    for one in found.too_large:
        if getattr(one.layout, field) == value:
            return Comparison(setting, one.layout, too_large(one))
    reasons = {
        reason for layout, problem, reason in found.impossible if (problem, getattr(layout, field)) == (field, value)
    }
    return Comparison(setting, None, "; ".join(sorted(reasons)))


def slower(best: Estimate, other: Estimate) -> str:
    """How much slower a layout is than the best one, and the two causes that cost most more."""
    more = {
        cause: other.causes.get(cause, 0.0) - best.causes.get(cause, 0.0) for cause in {**best.causes, **other.causes}
    }
    worst = sorted((cause for cause in more if more[cause] > 0), key=lambda cause: -more[cause])[:2]
    if not worst:
        return "nothing: it is as fast"
    named = ", ".join(f"{cause} +{more[cause] / best.seconds:.1%}" for cause in worst)
    return f"{other.seconds / best.seconds - 1:.1%} slower ({named})"


def too_large(one: Estimate) -> str:
    """What a layout lacks on its fullest device, and what fills it most."""
    stage = max(range(len(one.memory)), key=lambda index: one.memory[index].total)
    memory = vars(one.memory[stage])
    fullest = max(memory, key=lambda name: memory[name])
    return (
        f"stage {stage} lacks {one.excess_memory / 1e9:.3g} GB of {one.memory_limit / 1e9:.3g} GB "
        f"({fullest} are {memory[fullest] / 1e9:.3g} GB)"
    )
