"""Trains one shard of a generation: every candidate to a final row, whatever was done before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.data import Split
from harmony_core.evaluation.expectation import Expectation
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.seeds import data_seed, init_seed
from harmony_core.evaluation.setting import Setting
from harmony_core.host import host_name
from harmony_core.machines import fitting
from harmony_core.store import SearchFolder, schemas, write_table
from harmony_core.training.recipe import Recipe
from harmony_core.training.status import Status
from harmony_core.workers import Lease, Outcome, Task

TARGET = "harmony_core.evaluation.training_task:run"
_CHECKPOINTS = "checkpoints"
IDENTITY = ("recipe_id", "init_seed", "data_seed")
Report = Callable[[dict[str, Any], int, int], None]


def train_shard(
    setting: Setting,
    population: Sequence[dict[str, Any]],
    generation: int | None,
    shard: int,
    *,
    report: Report,
    launcher: Launcher,
    recipe: Recipe | None = None,
    replicates: range = range(1),
    splits: Sequence[Split] = ("validation",),
    keep_weights: bool = False,
) -> None:
    """Trains `population` and writes the shard's training and curves files.

    Each candidate's row goes to the shard's journal, fsynced, when it ends; candidates that the
    journal already holds are not trained again. One process works on a shard at a time: a second
    one waits for the first, and then finds its work done.

    Args:
        setting: the search, its manifest and configuration.
        population: rows of the population file.
        generation: index, or None for the promoted.
        shard: index of the shard.
        report: called with each final row, how many are done and how many there are.
        launcher: where the candidates run.
        recipe: None is the search's.
        replicates: replicate numbers, each with seeds of its own.
        splits: splits that are read after training.
        keep_weights: whether a promoted candidate's last checkpoint stays (`SearchFolder.weights`).

    Raises:
        UserError: no layout of `execution.gpus_per_candidate` ranks fits a candidate.
        Interrupted: the machines were taken away; doing it again goes on where this ended.
    """
    folder, work = setting.folder, setting.work("training", generation, shard)
    reads: tuple[Split, ...] = ("train", *splits)
    recipe = recipe or setting.recipe
    with Lease(work / "lease") as lease, launcher.training(setting, work, generation) as pool:
        expectation = Expectation.of(setting, recipe, generation)
        answers = run_journalled(
            pool,
            [
                training_task_of(setting, row, generation, shard, replicate, recipe, splits, expectation, keep_weights)
                for row in population
                for replicate in replicates
            ],
            work / "journal.jsonl",
            answer=answer_of,
            is_of=lambda answer, task: all(answer["row"][name] == task.payload["row"][name] for name in IDENTITY),
            report=lambda answer, done, total: report(answer["row"], done, total),
            # Checked once here: every candidate would read all of it again.
            before=lambda: setting.check_data(reads),
            guard=lease.check,
        )
        lease.check()
        write_table(folder.curves(generation, shard), _curve_rows(answers), schemas.CURVES)
        write_table(folder.training(generation, shard), [_timed(a["row"]) for a in answers], schemas.TRAINING)
        # Of candidates that crashed; the others have deleted their own, or keep them.
        if (work / _CHECKPOINTS).exists():
            shutil.rmtree(work / _CHECKPOINTS)
        if keep_weights:
            _keep_only(folder, [answer["row"] for answer in answers if answer["row"]["status"] == Status.OK])


def _keep_only(folder: SearchFolder, rows: Sequence[dict[str, Any]]) -> None:
    """Deletes what is no trained candidate's last checkpoint: of one that crashed, or of an earlier promotion."""
    kept = {folder.weights(row["architecture_id"], row["candidate"], row["replicate"]) for row in rows}
    for path in folder.all_weights.glob("*"):
        if path not in kept:
            shutil.rmtree(path)


def training_task_of(
    setting: Setting,
    candidate: dict[str, Any],
    generation: int | None,
    shard: int,
    replicate: int,
    recipe: Recipe,
    splits: Sequence[Split],
    expectation: Expectation,
    keep_weights: bool = False,
) -> Task:
    """A candidate's training as workers take it (`harmony_core.evaluation.training_task`)."""
    limit = setting.config.execution.time_limit_seconds
    purpose = "search" if generation is not None else "promotion"
    row = {
        "search": setting.folder.name,
        "generation": candidate["generation"],
        "shard": shard,
        "candidate": candidate["candidate"],
        "architecture_id": candidate["architecture_id"],
        "recipe_id": recipe.id(setting.manifest.data["checksum"]),
        "init_seed": init_seed(setting.config.search.seed, purpose, replicate),
        "data_seed": data_seed(setting.config.search.seed, purpose, replicate),
        "replicate": replicate,
        "data_checksum": setting.manifest.data["checksum"],
        "tokenizer_checksum": setting.manifest.data["tokenizer_checksum"],
    }
    key = f"{candidate['candidate']:05d}-{candidate['architecture_id']}-r{replicate}"
    architecture, execution = Architecture.from_json(candidate["architecture"]), setting.config.execution
    layout = fitting(execution.training_layout, architecture, recipe.batch_size, recipe.sequence_length)
    folder = setting.work("training", generation, shard) / _CHECKPOINTS / key
    if keep_weights:
        folder = setting.folder.weights(candidate["architecture_id"], candidate["candidate"], replicate)
    payload = {
        "architecture": candidate["architecture"],
        "layout": layout.model_dump(),
        "checkpoints": {"folder": str(folder), "every_seconds": execution.checkpoint_seconds, "keep": keep_weights},
        "recipe": recipe.model_dump(mode="json"),
        "data": str(setting.data_folder),
        "row": row,
        "splits": list(splits),
        "time_limit_seconds": limit,
    }
    return Task(key, TARGET, payload, expectation.seconds(architecture), limit)


def answer_of(outcome: Outcome) -> dict[str, Any]:
    """The child's own answer, or a row that says how it died."""
    if outcome.result is not None:
        row = {**outcome.result["row"], "device_seconds": outcome.device_seconds}
        return {**outcome.result, "row": row}
    payload = outcome.task.payload
    recipe = Recipe.parse(payload["recipe"])
    empty = {field.name: None for field in schemas.TRAINING if field.nullable}
    row = {
        **empty,
        **payload["row"],
        "status": (Status.TIMED_OUT if outcome.killed else Status.CRASHED).value,
        "error": outcome.error,
        "attempt": outcome.attempt,
        "layout": "{}",
        "precision": recipe.precision,
        "learning_rate": recipe.learning_rate,
        "lr_scaling": recipe.lr_scaling,
        "steps": 0,
        "tokens": 0,
        "flops": 0.0,
        "seconds": 0.0,
        "device_seconds": outcome.device_seconds,
        "device": "",
        "kernel_paths": "",
        "host": host_name(),
        "started_at": datetime.now(UTC).isoformat(),
    }
    return {"row": row, "curve": []}


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "started_at": datetime.fromisoformat(row["started_at"])}


def _curve_rows(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("search", "generation", "shard", "candidate", "architecture_id", "replicate")
    return [{**{name: a["row"][name] for name in names}, **point} for a in answers for point in a["curve"]]
