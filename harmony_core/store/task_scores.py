"""Scores of trained models on people's own tasks: a file for each evaluation, outside of what the workflow owns."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from harmony_core.store import schemas
from harmony_core.store.folder import SearchFolder
from harmony_core.store.queries import Search, scan
from harmony_core.store.schemas import BOOL, FLOAT, INT32, INT64, TEXT, column

TASK_SCORES = schemas.table(
    "task_scores",
    [
        schemas.SEARCH,
        schemas.GENERATION,
        schemas.CANDIDATE,
        schemas.ARCHITECTURE_ID,
        schemas.REPLICATE,
        schemas.RATE,
        column("task", TEXT, "the task's name in its file"),
        column("version", TEXT, "the task's, as its file says"),
        column("metric", TEXT, "what is told of the answers, such as acc"),
        column("filter", TEXT, "what was done to the answers before; `none` where nothing was"),
        column("higher_is_better", BOOL, "the metric's direction; null where the task does not say", nullable=True),
        column("value", FLOAT, "the metric's"),
        column("standard_error", FLOAT, "of the value; null where the harness knows none", nullable=True),
        column("num_samples", INT64, "examples that were asked"),
        column("num_fewshot", INT32, "examples that stood before each"),
        column("limit", INT64, "examples a task at most; null is all", nullable=True),
        column("max_length", INT32, "tokens of a request at most; longer ones lost their beginning"),
        column("num_shortened", INT64, "requests of the whole evaluation that lost their beginning"),
        column("seed", INT64, "of the examples before each, and of draws"),
        column("tasks_checksum", TEXT, "SHA-256 of the task files and of the data that they name"),
        column("harness", TEXT, "name and version of what asked"),
        schemas.DEVICE,
        column("seconds", FLOAT, "the whole evaluation", unit="s"),
        schemas.HOST,
        schemas.STARTED_AT,
    ],
)


def task_scores_file(folder: SearchFolder, identity: str) -> Path:
    """Where the rows of an evaluation lie.

    Args:
        folder: the search's.
        identity: digest of what the evaluation is a function of, so that the same one takes its own place.
    """
    return folder.path / "task_scores" / f"{identity}.parquet"


def task_scores_files(folder: SearchFolder) -> list[Path]:
    """The files of all evaluations, by name."""
    place = folder.path / "task_scores"
    return sorted(place.glob("*.parquet")) if place.is_dir() else []


def task_scores(search: Search) -> pl.LazyFrame:
    """What `harmony evaluate` has found, by `TASK_SCORES`.

    Args:
        search: a folder, or a name under `results/`.
    """
    return scan(task_scores_files(SearchFolder.find(search)), TASK_SCORES)
