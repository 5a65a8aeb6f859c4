"""Many trainings of a campaign, each run once and for all: in the background, in pieces, from a journal on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.data import Split
from harmony_core.data.manifest import DataManifest
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.seeds import data_seed, init_seed
from harmony_core.evaluation.task_journal import TaskJournal
from harmony_core.machines import Layout
from harmony_core.store import Journal
from harmony_core.training.recipe import Recipe
from harmony_core.workers import Outcome, Pool, Task

# About what one nano training of 196,608 tokens takes on one core: without AVX-512 28 s (Hyena, Llama) to 83 (Mamba-2).
SECONDS_A_TRAINING = 45
TARGET = "harmony_core.evaluation.training_task:run"
_IDENTITY = ("architecture_id", "recipe_id", "init_seed")
_RESULTS = ("status", "error", "learning_rate", "tokens", "seconds", "val_bits_per_byte", "val_standard_error")
_TEST = ("test_bits_per_byte", "test_standard_error")

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a campaign.

    Args:
        key: its name in the journal.
        architecture: what is trained.
        recipe: of one learning rate.
        seed: of weights and data order.
        labels: columns that its row gets beside the result.
        splits: what is read after training.
        stage: whose seeds they are: `search`, or `promotion` for fresh ones.
        trunk: folder in which its trunk is kept; None keeps none.
        trunk_of: folder of a shorter training's trunk, from which it goes on.
    """

    key: str
    architecture: Architecture
    recipe: Recipe
    seed: int
    labels: dict[str, Any]
    splits: tuple[Split, ...] = ("validation",)
    stage: str = "search"
    trunk: Path | None = None
    trunk_of: Path | None = None


def run_trainings(pool: Pool, trainings: Iterable[Training], data: Path, journal: Path) -> list[Row]:
    """A row for each training, in order; those that the journal holds are not run again.

    Args:
        pool: where.
        trainings: with distinct keys.
        data: folder of prepared data.
        journal: what is done is read from here, and written here.
    """
    checksum = DataManifest.load(data).checksum
    tasks = [_task(one, data, checksum, journal.with_suffix(".none")) for one in trainings]
    with TaskJournal(journal, tasks, _is_answer) as opened:
        answers = run_journalled(
            pool,
            opened,
            answer=_answer,
            report=lambda answer, done, total: print(f"{done}/{total} {_line(answer['row'])}", flush=True),
        )
    return [answer["row"] for answer in answers]


def held(trainings: Iterable[Training], journal: Path) -> list[Row]:
    """The newest row that a journal has of each, in their order.

    What it holds under their names of another architecture, seed or rate, as of an earlier campaign, is passed over;
    another recipe or another text is found by `run_trainings` alone, which needs the data.

    Args:
        trainings: with distinct keys.
        journal: of `run_trainings`.
    """
    wanted = {one.key: one for one in trainings}
    found: dict[str, Row] = {}
    for record in Journal(journal).records():
        one = wanted.get(record["key"]) if record["event"] == "final" else None
        if one is not None and _is_of(record["answer"]["row"], one):
            found[one.key] = record["answer"]["row"]
    return [found[key] for key in wanted if key in found]


def _is_of(row: Row, training: Training) -> bool:
    return (row["architecture_id"], row["init_seed"], row["learning_rate"]) == (
        training.architecture.id,
        init_seed(training.seed, training.stage, 0),
        training.recipe.learning_rate,
    )


def _is_answer(answer: Row, task: Task) -> bool:
    return all(answer["row"][name] == task.payload["row"][name] for name in _IDENTITY)


def _task(training: Training, data: Path, checksum: str, nowhere: Path) -> Task:
    row = {
        **training.labels,
        "key": training.key,
        "architecture_id": training.architecture.id,
        "recipe_id": training.recipe.id(checksum),
        "init_seed": init_seed(training.seed, training.stage, 0),
        "data_seed": data_seed(training.seed, training.stage, 0),
    }
    payload = {
        "architecture": training.architecture.to_json(),
        "recipe": training.recipe.model_dump(mode="json"),
        "layout": Layout().model_dump(),
        "data": str(data),
        "row": row,
        "splits": list(training.splits),
        "time_limit_seconds": None,
        "checkpoints": {
            "folder": str(training.trunk or nowhere),
            "every_seconds": None,
            "keep": training.trunk is not None,
            "keep_trunk": training.trunk is not None,
            "trunk_of": None if training.trunk_of is None else str(training.trunk_of),
        },
    }
    return Task(training.key, TARGET, payload)


def _answer(outcome: Outcome) -> dict[str, Any]:
    asked = outcome.task.payload
    names = (*_RESULTS, *(_TEST if "test" in asked["splits"] else ()))
    if outcome.result is None:
        died = {"status": "crashed", "error": outcome.error, "learning_rate": asked["recipe"]["learning_rate"]}
        return {"row": {**dict.fromkeys(names), **asked["row"], **died}}
    return {"row": {**asked["row"], **{name: outcome.result["row"][name] for name in names}}}


def _line(row: Row) -> str:
    bits = row["val_bits_per_byte"]
    return f"{row['key']:50} {row['status'] if bits is None else f'{bits:.4f} bits/byte'}"
