"""Weak scaling: the same model with as many sequences for each device, on more and more of them. No torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.machines import Layout
from harmony_core.store import SearchFolder, read_manifest, read_table, schemas, write_table
from harmony_core.training.recipe import Recipe

FILE_NAME = "scaling.parquet"
# The first steps of a training are left out: in them kernels are chosen and connections made.
_WARMUP_SHARE, _FEWEST_WARMUPS = 0.1, 2


class Size(Frozen):
    """One point of the measurement.

    Args:
        processes: devices.
        layout: how the training is spread over them.
        recipe: with a batch that grows with the devices, and as many steps at each size.
        folder: of the training.
    """

    processes: int
    layout: Layout
    recipe: Recipe
    folder: Path

    @property
    def done(self) -> bool:
        """Whether it has been trained to its end."""
        return SearchFolder(self.folder).shard(0, "training", 0).exists()


def recipe_of_size(smallest: Recipe, processes: int, fewest: int) -> Recipe:
    """The recipe with as many sequences and tokens for each device.

    Args:
        smallest: the recipe of the fewest devices.
        processes: devices, one process on each.
        fewest: devices of `smallest`.

    Raises:
        UserError: the batch would be no whole number of sequences.
    """
    batch_size, rest = divmod(smallest.batch_size * processes, fewest)
    if rest:
        fix = f"{smallest.batch_size} sequences on {fewest} are no whole number on {processes}; use another batch_size"
        raise UserError("gpus", processes, fix)
    tokens = smallest.num_steps * batch_size * smallest.sequence_length
    return Recipe.parse({**smallest.model_dump(), "batch_size": batch_size, "tokens": tokens}, "recipe")


def collect(name: str, sizes: Sequence[Size], out: Path) -> pl.DataFrame:
    """Reads what the trainings of these sizes left, and writes their efficiency; sizes without results are left out.

    Args:
        name: of the measurement.
        sizes: what was to be trained.
        out: folder of `scaling.parquet`, rows of `schemas.SCALING`.

    Raises:
        UserError: a folder holds a training with another recipe.
    """
    rows = [row for size in sizes if (row := _measured(name, size)) is not None]
    rows.sort(key=lambda row: row["processes"])
    for row in rows:
        row["efficiency"] = row["tokens_per_second_per_device"] / rows[0]["tokens_per_second_per_device"]
    path = out / FILE_NAME
    write_table(path, rows, schemas.SCALING)
    return read_table(path, schemas.SCALING)


def _measured(name: str, size: Size) -> dict[str, Any] | None:
    folder = SearchFolder(size.folder)
    if not size.done:
        return None
    trained = Recipe.parse(read_manifest(folder.manifest).config["recipe"])
    if trained != size.recipe:
        raise UserError("out", size.folder, "holds a training with another recipe; use another --out")
    (row,) = read_table(folder.shard(0, "training", 0), schemas.TRAINING).to_dicts()
    if row["status"] != "ok" or Layout.parse(json.loads(row["layout"])) != size.layout:
        return None
    seconds = step_seconds(read_table(folder.shard(0, "curves", 0), schemas.CURVES))
    if not len(seconds):
        return None
    p10, median, p90 = np.quantile(seconds, (0.1, 0.5, 0.9)).tolist()
    speed = trained.batch_size * trained.sequence_length / median
    kept = ("architecture_id", "recipe_id", "layout", "precision", "peak_memory_bytes", "device", "host", "started_at")
    return {
        **{column: row[column] for column in kept},
        "name": name,
        "run": folder.name,
        "processes": size.processes,
        "batch_size": trained.batch_size,
        "sequence_length": trained.sequence_length,
        "steps": len(seconds),
        "step_seconds_median": median,
        "step_seconds_p10": p10,
        "step_seconds_p90": p90,
        "tokens_per_second": speed,
        "tokens_per_second_per_device": speed / size.processes,
    }


def step_seconds(curve: pl.DataFrame) -> NDArray[np.float64]:
    """Time of each step of a training, float64 [steps], without the first ones."""
    ended: NDArray[np.float64] = curve.sort("step")["seconds"].to_numpy()
    return np.diff(ended)[max(_FEWEST_WARMUPS, int(_WARMUP_SHARE * len(ended))) - 1 :]
