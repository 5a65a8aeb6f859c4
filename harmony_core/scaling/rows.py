"""The rows of a sweep: one for each budget of each training, enough to train it again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from harmony_core.scaling.isoflop import Curve, Point
from harmony_core.store import schemas
from harmony_core.store.schemas import FLOAT, INT32, INT64, TEXT, column, table

ISOFLOP = table(
    "isoflop",
    [
        column("sweep", TEXT, "name of the sweep"),
        column("run", TEXT, "name of the training, whose budgets are rungs"),
        column("name", TEXT, "the architecture's preset or file"),
        column("size", INT32, "step on its ladder of sizes; 0 is the architecture as it is"),
        schemas.ARCHITECTURE_ID,
        column("architecture", TEXT, "canonical JSON of the architecture that was trained"),
        column("num_active_non_embedding_params", INT64, "size, the output head included"),
        column("flops_per_token", FLOAT, "of training", unit="FLOP/token"),
        column("memory_bytes", INT64, "cache and state at the end of a sequence, bf16", unit="bytes"),
        column("budget", FLOAT, "of the curve", unit="FLOP"),
        column("epochs", FLOAT, "times that the training read its text"),
        column("recipe", TEXT, "JSON of the training's recipe, rungs and one learning rate included"),
        column("recipe_id", TEXT, "digest of the recipe and of the data it reads"),
        column("data_id", TEXT, "folder of the prepared data"),
        column("rung", INT32, "number of the budget among those of its training, from 0"),
        schemas.RATE,
        schemas.REPLICATE,
        *(
            schemas.TRAINING.field(name)
            for name in (
                "init_seed", "data_seed", "status", "error", "train_loss", "val_loss", "val_bits_per_byte",
                "val_standard_error", "steps", "tokens", "learning_rate", "flops", "seconds", "device_seconds",
                "device", "host", "kernel_paths", "data_checksum", "started_at",
            )
        ),
    ],
)  # fmt: skip


def points(rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """A point for each size, budget and replicate, at the learning rate with the lowest mean loss over replicates.

    A rate at which a replicate failed does not count; a size that failed at all rates has no point.

    Args:
        rows: of `ISOFLOP`.
    """
    groups: dict[tuple[str, int, float], dict[int, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row["name"], row["size"], row["budget"]][row["rate"]].append(row)
    found = []
    for _, rates in sorted(groups.items()):
        whole = [of_rate for _, of_rate in sorted(rates.items()) if all(row["status"] == "ok" for row in of_rate)]
        best = min(whole, key=lambda of_rate: sum(row["val_loss"] for row in of_rate) / len(of_rate), default=[])
        found += [_point(row) for row in best]
    return found


def _point(row: Mapping[str, Any]) -> Point:
    curve = Curve(row["name"], row["budget"])
    params = row["num_active_non_embedding_params"]
    return Point(curve, params, row["tokens"], row["val_loss"], row["memory_bytes"])


def sorted_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """In the order in which people look for them."""
    return rows.sort("name", "budget", "size", "replicate", "rate")
