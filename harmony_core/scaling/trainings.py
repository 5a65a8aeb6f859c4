"""One training of a sweep as a task, and what came of it as rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.data import DataManifest
from harmony_core.evaluation.evaluator import died
from harmony_core.evaluation.seeds import data_seed, init_seed
from harmony_core.machines import Layout
from harmony_core.scaling.ladder import Ladder
from harmony_core.scaling.rows import ISOFLOP
from harmony_core.store import Run
from harmony_core.training.recipe import Recipe, ResolvedPrecision
from harmony_core.workers import Outcome, Task

TARGET = "harmony_core.evaluation.training_task:run"
IDENTITY = ("architecture_id", "recipe_id", "init_seed", "data_seed")
# A training that is longer keeps checkpoints so far apart.
_CHECKPOINT_SECONDS = 600.0
# About what a core does. It decides the order of trainings and nothing else.
_FLOPS_A_SECOND = 3e10

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Training:
    """A size on its budgets.

    Args:
        ladder: of the architecture.
        step: the size.
        budgets: rising [FLOP].
        replicate: number of the repetition on fresh seeds.
        rate: number of the learning rate.
        precision: what it is computed in.
        data: what it reads.
    """

    ladder: Ladder
    step: int
    budgets: tuple[float, ...]
    replicate: int
    rate: int
    precision: ResolvedPrecision
    data: DataManifest

    @cached_property
    def architecture(self) -> Architecture:
        """What is trained."""
        return self.ladder.at(self.step)

    @cached_property
    def recipe(self) -> Recipe:
        """Its rungs are the budgets."""
        *earlier, last = (self.ladder.tokens(self.step, budget) for budget in self.budgets)
        own = {
            "tokens": last,
            "rungs": earlier or None,
            "warmup_tokens": self.ladder.warmup_tokens(self.step),
            "precision": self.precision,
        }
        return Recipe.parse({**self.ladder.config.recipe.model_dump(), **own}, "recipe").at_rate(self.rate)

    @property
    def key(self) -> str:
        """Its name."""
        numbers = ".".join(str(self.ladder.config.budgets.index(budget)) for budget in self.budgets)
        run = Run(self.replicate, self.rate)
        return f"{self.ladder.name}{self.step:+d}-b{numbers}-r{run.replicate}-l{run.rate}"

    def task(self, work: Path, data: Path) -> Task:
        """As workers take it.

        Args:
            work: folder of checkpoints.
            data: where prepared data lies.
        """
        flops = self.recipe.all_tokens * self.ladder.flops_per_token(self.step)
        payload = _payload(self._known(), data / self.data.id, work / "checkpoints" / self.key)
        return Task(self.key, TARGET, payload, flops / _FLOPS_A_SECOND)

    def rows(self, outcome: Outcome) -> list[Row]:
        """One for each budget, the least first, whatever became of the training."""
        found = rows_of(outcome, len(self.budgets))
        return [
            {**row, "budget": budget, "epochs": self.ladder.tokens(self.step, budget) / self._train_tokens}
            for row, budget in zip(found, self.budgets, strict=True)
        ]

    @property
    def _train_tokens(self) -> int:
        return self.data.splits["train"].tokens

    def _known(self) -> Row:
        config, recipe, one = self.ladder.config, self.recipe, self.architecture
        return {
            "sweep": config.name,
            "run": self.key,
            "name": self.ladder.name,
            "size": self.step,
            "architecture_id": one.id,
            "architecture": one.to_json(),
            "num_active_non_embedding_params": one.num_active_non_embedding_params(),
            "flops_per_token": self.ladder.flops_per_token(self.step),
            "memory_bytes": one.state_bytes() + one.kv_cache_bytes(recipe.sequence_length),
            "recipe": recipe.model_dump_json(),
            "recipe_id": recipe.id(self.data.checksum),
            "data_id": self.data.id,
            "rate": self.rate,
            "replicate": self.replicate,
            "init_seed": init_seed(config.seed, "search", self.replicate),
            "data_seed": data_seed(config.seed, "search", self.replicate),
            "data_checksum": self.data.checksum,
        }


def again(row: Mapping[str, Any], work: Path, data: Path) -> Task:
    """The training of a stored row, from the row alone.

    Args:
        row: of `ISOFLOP`.
        work: folder of checkpoints; none are kept.
        data: where prepared data lies.
    """
    return Task(row["run"], TARGET, _payload(dict(row), data / row["data_id"], work / row["run"]))


def rows_of(outcome: Outcome, rungs: int) -> list[Row]:
    """What a task answered as a row for each rung, in order; of one that died, how it died.

    Args:
        outcome: final.
        rungs: how many the training has.
    """
    known = outcome.task.payload["row"]
    if outcome.result is None:
        recipe = Recipe.parse(outcome.task.payload["recipe"])
        none = {field.name: None for field in ISOFLOP if field.nullable}
        lost = {"steps": 0, "tokens": 0, "flops": 0.0, "learning_rate": recipe.peak_learning_rate}
        answers = [{**none, **known, **lost, **died(outcome), "rung": number} for number in range(rungs)]
    else:
        answers = [answer["row"] for answer in (*outcome.result.get("rungs", ()), outcome.result)]
    # The last row has the device seconds of the whole training.
    seconds = [0.0] * (rungs - 1) + [outcome.device_seconds]
    return [_row({**row, "device_seconds": own}) for row, own in zip(answers, seconds, strict=True)]


def is_answer(record: Row, task: Task) -> bool:
    """Whether a journal's record is of this very training."""
    return all(record["rows"][-1][name] == task.payload["row"][name] for name in IDENTITY)


def timed(row: Row) -> Row:
    """With its time as one, which is text in a journal."""
    return {**row, "started_at": datetime.fromisoformat(row["started_at"])}


def _payload(known: Row, data: Path, checkpoints: Path) -> dict[str, Any]:
    return {
        "architecture": known["architecture"],
        "recipe": json.loads(known["recipe"]),
        "layout": Layout().model_dump(),
        "data": str(data),
        "row": known,
        "splits": ["validation"],
        "time_limit_seconds": None,
        "checkpoints": {"folder": str(checkpoints), "every_seconds": _CHECKPOINT_SECONDS, "keep": False},
    }


def _row(row: Row) -> Row:
    return {name: row[name] for name in ISOFLOP.names if name in row}
