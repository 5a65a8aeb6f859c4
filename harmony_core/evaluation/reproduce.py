"""A candidate trained again from its row, beside what the row says came of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from harmony_core.errors import UserError
from harmony_core.evaluation.duration_model import DurationModel
from harmony_core.evaluation.evaluators.training import IDENTITY, Training
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Shard
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import Run, curves, training
from harmony_core.workers import Outcome

_EXACT = ("status", "steps", "tokens")
# The error is shown and not compared: its words may name a process.
_TOLD = ("error",)
_CLOSE = ("train_loss", "val_loss", "val_bits_per_byte", "test_loss", "test_bits_per_byte", "router_loss")


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """Two trainings that should be one, up to a rung.

    Args:
        then: the stored training row.
        now: that of the training just done.
        curve_then: training loss of each step [nats/token].
        curve_now: the same, just now.
    """

    then: dict[str, Any]
    now: dict[str, Any]
    curve_then: list[float]
    curve_now: list[float]

    def figures(self) -> list[tuple[str, Any, Any]]:
        """(column, then, now) of all that a training decides and one of the two has."""
        both = [(name, self.then[name], self.now[name]) for name in (*_EXACT, *_TOLD, *_CLOSE)]
        return [(name, then, now) for name, then, now in both if (then, now) != (None, None)]

    @property
    def apart(self) -> float:
        """The largest relative difference of a loss, of the curve or at the end; infinite where more is different."""
        if any(self.then[name] != self.now[name] for name in _EXACT) or len(self.curve_then) != len(self.curve_now):
            return math.inf
        ends = [(self.then[name], self.now[name]) for name in _CLOSE]
        return max((_apart(*pair) for pair in (*ends, *zip(self.curve_then, self.curve_now, strict=True))), default=0.0)


def reproduce(
    setting: OpenedSearch, candidate: dict[str, Any], run: Run, work: Path, log: Callable[[str], object]
) -> list[Reproduction]:
    """Trains a candidate again with its row's seeds, recipe and data, on this machine; writes nothing to the store.

    Args:
        setting: its search.
        candidate: its row of the population; of the promoted one's to repeat a promotion.
        run: which of its trainings.
        work: folder of logs and checkpoints.
        log: told what goes on.

    Returns:
        What came of each rung, the last one's at the end; one without rungs.

    Raises:
        UserError: there is no such training; this version would train it otherwise; the data is gone or damaged.
    """
    generation, promoted = candidate["generation"], candidate["generation"] is None
    key = pl.col("candidate") == candidate["candidate"]
    key &= (pl.col("replicate") == run.replicate) & (pl.col("rate") == run.rate)
    if not promoted:
        key &= pl.col("generation") == generation
    then = training(setting.folder, promoted=promoted).filter(key).sort("rung").collect().to_dicts()
    if not then:
        there = "use a replicate and a rate that were trained, or wait for them"
        value = f"{run.replicate}, rate {run.rate}"
        raise UserError("replicate", value, f"{candidate['architecture_id']} has no such row; {there}")
    recipe = setting.config.promotion_recipe() if promoted else setting.config.recipe
    recipe = recipe.model_copy(update={"precision": setting.precision})
    evaluator = Training(recipe=recipe, splits=("validation", "test") if promoted else ("validation",))
    shard = Shard(setting, [candidate], generation, then[-1]["shard"])
    task = evaluator.task(shard, candidate, run, DurationModel.of(setting, recipe, 0))
    for name in IDENTITY:
        if task.payload["row"][name] != then[-1][name]:
            fix = f"this version would train with {task.payload['row'][name]}; use the search's ({_version(setting)})"
            raise UserError(name, then[-1][name], fix)
    if (why := evaluator.refusal(task)) is not None:
        raise UserError("candidate", candidate["candidate"], f"{why}; there is nothing to repeat")
    # These lie apart from the search's own checkpoints, since the search may be running.
    task.payload["checkpoints"] = {"folder": str(work / "checkpoints"), "every_seconds": None, "keep": False}
    evaluator.prepare(shard)
    log(f"trains {task.key} again, about {task.expected_seconds:.0f} s")
    outcomes: list[Outcome] = []
    with Launcher().training(setting, work, generation) as pool:
        pool.run([task], outcomes.append, lambda begun, attempt: None)
    answer = evaluator.answer(shard, outcomes[-1])
    steps = curves(setting.folder, promoted=promoted).filter(key).sort("step").collect()
    return [
        Reproduction(row, now["row"], _losses(steps, row["rung"]), [point["train_loss"] for point in now["curve"]])
        for row, now in zip(then, (*answer.get("rungs", ()), answer), strict=True)
    ]


def _losses(steps: pl.DataFrame, rung: int) -> list[float]:
    found: list[float] = steps.filter(pl.col("rung") == rung)["train_loss"].to_list()
    return found


def _version(setting: OpenedSearch) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in setting.manifest.packages.items())
    return f"commit {setting.manifest.git_commit}, {packages}"


def _apart(then: float | None, now: float | None) -> float:
    if then is None or now is None or then == now:
        return 0.0 if then == now else math.inf
    return abs(now - then) / max(abs(then), abs(now))
