"""What goes with which metric: of candidates whose metric follows from their blocks, and of some where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harmony_core.store import POPULATION, SearchFolder, read_manifest, read_table
from harmony_core.ui.importance import importance
from tests.progress.searches import MadeUpSearch


@pytest.fixture(scope="module")
def bred(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchFolder, pl.DataFrame]:
    """A generation of 64 samples, and its rows."""
    made = MadeUpSearch(tmp_path_factory.mktemp("importance"), generations=1, population=64)
    made.prepare()
    made.breed(0)
    rows = read_table(made.folder.population(0), POPULATION)
    return made.folder, rows.with_columns(status=pl.lit("ok"))


def test_what_makes_a_metric_is_found(bred: tuple[SearchFolder, pl.DataFrame]) -> None:
    folder, rows = bred
    # Deeper is better here, and nothing else matters.
    known = rows.with_columns(val_bits_per_byte=4.0 - 0.3 * pl.col("num_blocks"))
    told = importance(folder, read_manifest(folder.manifest), known, "val_bits_per_byte")
    assert told["state"] == "found"
    assert told["spearman"] > 0.9
    assert told == importance(folder, read_manifest(folder.manifest), known, "val_bits_per_byte")
    # Numbers and places of blocks follow from the depth here, and share its importance.
    assert "d_model" not in [one["name"] for one in told["features"][:3]]
    deep = next(one for one in told["features"] if one["name"] == "depth")
    assert deep["direction"] < -0.9
    assert deep["best"] > deep["prior"]


def test_what_follows_nothing_is_not_determined(bred: tuple[SearchFolder, pl.DataFrame]) -> None:
    folder, rows = bred
    noise = np.random.default_rng(0).standard_normal(len(rows))
    known = rows.with_columns(val_bits_per_byte=pl.Series(noise))
    told = importance(folder, read_manifest(folder.manifest), known, "val_bits_per_byte")
    assert told["state"] == "not determined"
    assert "features" not in told


def test_few_candidates_say_nothing(bred: tuple[SearchFolder, pl.DataFrame]) -> None:
    folder, rows = bred
    known = rows.head(30).with_columns(val_bits_per_byte=pl.lit(1.0))
    told = importance(folder, read_manifest(folder.manifest), known, "val_bits_per_byte")
    assert (told["state"], told["reason"]) == ("impossible", "30 candidates have it; 40 are needed")


def test_a_damaged_population_is_named(tmp_path: Path) -> None:
    made = MadeUpSearch(tmp_path, generations=1)
    made.prepare()
    made.breed(0)
    path = made.folder.population(0)
    rows = read_table(path, POPULATION).with_columns(status=pl.lit("ok"), val_bits_per_byte=pl.lit(1.0))
    path.write_bytes(path.read_bytes()[:-64])
    told = importance(made.folder, read_manifest(made.folder.manifest), rows, "val_bits_per_byte")
    assert told["state"] == "impossible"
    assert str(path) in told["reason"]
