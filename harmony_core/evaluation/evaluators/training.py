"""Trains candidates, each at every learning rate of the recipe and for every replicate."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from harmony_core.architecture import Architecture
from harmony_core.data import Split
from harmony_core.evaluation.duration_model import DurationModel
from harmony_core.evaluation.evaluator import Evaluator, died, register
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.seeds import data_seed, init_seed
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.evaluation.task_journal import Record
from harmony_core.evaluation.training_rows import keys_of_curves
from harmony_core.machines import fitting
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import Run, SearchFolder, best_runs, schemas, training
from harmony_core.store.evaluators import TRAINING_TABLE
from harmony_core.store.live_curve import live_curve_file, live_curves_folder
from harmony_core.store.versions import completed
from harmony_core.training.recipe import Recipe
from harmony_core.workers import Outcome, Pool, Task

TARGET = "harmony_core.evaluation.training_task:run"
IDENTITY = ("recipe_id", "init_seed", "data_seed")
_CHECKPOINTS = "checkpoints"


@register
@dataclasses.dataclass(frozen=True)
class Training(Evaluator):
    """Trains candidates; a task's answer holds its `row` and its `curve`, and those of earlier rungs.

    Args:
        recipe: None is the search's; it may list several learning rates.
        replicates: replicate numbers, each with seeds of its own.
        splits: splits that are read after training.
        keep_weights: whether a promoted candidate's last checkpoint stays (`SearchFolder.weights`).
    """

    recipe: Recipe | None = None
    replicates: range = range(1)
    splits: tuple[Split, ...] = ("validation",)
    keep_weights: bool = False

    table = TRAINING_TABLE

    def of_promotion(self, setting: OpenedSearch) -> Training:
        """On fresh seeds, to `promote.tokens`, read on the test split too."""
        promote = setting.config.promote
        return Training(
            recipe=setting.config.promotion_recipe().model_copy(update={"precision": setting.precision}),
            replicates=range(promote.replicates),
            splits=("validation", "test"),
            keep_weights=promote.keep_weights,
        )

    def tasks(self, shard: Shard) -> list[Task]:
        """One a candidate, replicate and learning rate.

        Raises:
            UserError: no layout of `execution.gpus_per_candidate` ranks fits a candidate.
        """
        recipe = self._recipe(shard.setting)
        durations = DurationModel.of(shard.setting, recipe, shard.generation)
        return [
            self.task(shard, candidate, Run(replicate, rate), durations)
            for candidate in shard.population
            for replicate in self.replicates
            for rate in range(len(recipe.learning_rates))
        ]

    def task(self, shard: Shard, candidate: Row, run: Run, durations: DurationModel) -> Task:
        """A candidate's training as workers take it (`harmony_core.evaluation.training_task`).

        Args:
            shard: that the candidate is of; its generation says whether seeds are the search's or promotion's.
            candidate: its row of the population.
            run: replicate and learning rate.
            durations: says how long it is expected to take.
        """
        setting, execution = shard.setting, shard.setting.config.execution
        recipe, limit = self._recipe(setting).at_rate(run.rate), execution.time_limit_seconds
        seed, purpose = setting.config.search.seed, "search" if shard.generation is not None else "promotion"
        row = {
            **shard.known(candidate),
            "recipe_id": recipe.id(setting.manifest.data["checksum"]),
            "init_seed": init_seed(seed, purpose, run.replicate),
            "data_seed": data_seed(seed, purpose, run.replicate),
            "replicate": run.replicate,
            "rate": run.rate,
            "rung": len(recipe.budgets) - 1,
            "data_checksum": setting.manifest.data["checksum"],
            "tokenizer_checksum": setting.manifest.data["tokenizer_checksum"],
        }
        architecture = Architecture.from_json(candidate["architecture"])
        layout = fitting(execution.training_layout, architecture, recipe.batch_size, recipe.sequence_length)
        payload = {
            "architecture": candidate["architecture"],
            "layout": layout.model_dump(),
            "checkpoints": {
                "folder": str(self._checkpoints(shard, candidate, run)),
                "every_seconds": execution.checkpoint_seconds,
                "keep": self.keep_weights,
            },
            "recipe": recipe.model_dump(mode="json"),
            "data": str(setting.data_folder),
            "row": row,
            "splits": list(self.splits),
            "live_curve": str(live_curve_file(shard.work(self.name), _key(candidate, run))),
            "time_limit_seconds": limit,
        }
        return Task(_key(candidate, run), TARGET, payload, durations.seconds(architecture), limit)

    def failed_row(self, shard: Shard, outcome: Outcome) -> Row:
        """What is known of a training whose process died."""
        payload = outcome.task.payload
        recipe = Recipe.parse(payload["recipe"])
        return {
            **{field.name: None for field in schemas.TRAINING if field.nullable},
            **payload["row"],
            **died(outcome),
            "attempt": outcome.attempt,
            "layout": "{}",
            "precision": recipe.precision,
            "learning_rate": recipe.peak_learning_rate,
            "lr_scaling": recipe.lr_scaling,
            "steps": 0,
            "tokens": 0,
            "flops": 0.0,
        }

    def workers(self, shard: Shard, launcher: Launcher) -> AbstractContextManager[Pool]:
        """Teams of `execution.gpus_per_candidate` ranks; several trainings may share a machine."""
        return launcher.training(shard.setting, shard.work(self.name), shard.generation)

    def prepare(self, shard: Shard) -> None:
        """Compares the data's checksums once: every candidate would read all of it again."""
        shard.setting.check_data(("train", *self.splits))

    def answer(self, shard: Shard, outcome: Outcome) -> Record:
        """The child's own answer, or a row that says how it died."""
        told = self._failed(shard, outcome) if outcome.result is None else outcome.result
        # The last rung's row has the device seconds of the whole training, and those before it have none.
        found = _with_seconds(told, outcome.device_seconds)
        earlier = [_with_seconds(one, 0.0) for one in told.get("rungs", ())]
        return {**found, "rungs": earlier} if earlier else found

    def is_answer(self, record: Record, task: Task) -> bool:
        """Whether it was trained with the same recipe, data and seeds."""
        return all(record["row"][name] == task.payload["row"][name] for name in IDENTITY)

    def told(self, shard: Shard, record: Record) -> Row:
        """The training's row, of several rungs the last one's."""
        row: Row = record["row"]
        return row

    def rows(self, shard: Shard, records: list[Record]) -> dict[str, list[Row]]:
        """The trainings, and the points of their curves."""
        rungs = [rung for record in records for rung in (*record.get("rungs", ()), record)]
        rows = [completed(rung["row"], self.table.schema) for rung in rungs]
        points = [
            {**keys_of_curves(row), **point} for row, rung in zip(rows, rungs, strict=True) for point in rung["curve"]
        ]
        return {"curves": points, self.name: rows}

    def tidy(self, shard: Shard) -> None:
        """Deletes checkpoints that nobody needs, and curves that trainings left which crashed."""
        # These are checkpoints of candidates that crashed. The others have deleted their own, or keep them.
        work = shard.work(self.name)
        for left in (work / _CHECKPOINTS, live_curves_folder(work)):
            if left.exists():
                shutil.rmtree(left)
        if self.keep_weights:
            folder = shard.setting.folder
            _keep_only(folder, best_runs(training(folder, promoted=True)).collect().to_dicts())

    def _failed(self, shard: Shard, outcome: Outcome) -> Record:
        """A row that says how the process died, and no curve, for every rung: nobody knows how far it came."""
        row = self.failed_row(shard, outcome)
        earlier = [{"row": {**row, "rung": number}, "curve": []} for number in range(row["rung"])]
        return {"row": row, "curve": [], "rungs": earlier}

    def _recipe(self, setting: OpenedSearch) -> Recipe:
        return self.recipe or setting.recipe

    def _checkpoints(self, shard: Shard, candidate: Row, run: Run) -> Path:
        if self.keep_weights:
            return shard.setting.folder.weights(candidate["architecture_id"], candidate["candidate"], run)
        return shard.work(self.name) / _CHECKPOINTS / _key(candidate, run)


def _with_seconds(answer: Record, seconds: float) -> Record:
    return {**answer, "row": {**answer["row"], "device_seconds": seconds}}


def _key(candidate: Row, run: Run) -> str:
    return run.name(candidate["architecture_id"], candidate["candidate"])


def _keep_only(folder: SearchFolder, rows: Sequence[Row]) -> None:
    """Deletes what is no last checkpoint of these: of runs that crashed, of other rates, of an earlier promotion."""
    kept = {
        folder.weights(row["architecture_id"], row["candidate"], Run(row["replicate"], row["rate"])) for row in rows
    }
    for path in folder.all_weights.glob("*"):
        if path not in kept:
            shutil.rmtree(path)
