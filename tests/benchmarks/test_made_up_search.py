"""A search that is made up column by column is what the store and the architectures say it is."""

from __future__ import annotations

from pathlib import Path

from benchmarks.made_up_search import SEQUENCE_LENGTH, Size, write_search
from harmony_core.architecture import Architecture
from harmony_core.metrics import metric
from harmony_core.store import SearchFolder, curves, latency, missing, population, selection, training
from harmony_core.store.schemas import POPULATION_METRICS


def test_a_made_up_search_is_a_search(tmp_path: Path) -> None:
    folder, again = SearchFolder(tmp_path / "one"), SearchFolder(tmp_path / "two" / "one")
    size = Size(300, generations=4, shards=2)
    write_search(folder, size)
    write_search(again, size)
    assert missing(folder) == []
    candidates = population(folder).collect()
    assert candidates.height == training(folder).collect().height == 300
    assert curves(folder).collect().height == 300 * size.curve_points
    assert latency(folder).collect()["mode"].n_unique() == 3
    assert selection(folder).collect()["survives"].sum() > 0
    for row in candidates.sample(40, seed=0).iter_rows(named=True):
        architecture = Architecture.from_json(row["architecture"])
        assert architecture.id == row["architecture_id"]
        assert architecture.pattern() == row["pattern"]
        found = [row[name] for name in POPULATION_METRICS]
        assert found == [metric(name).of(architecture, SEQUENCE_LENGTH) for name in POPULATION_METRICS]
    first, second = (_files(one.path) for one in (folder, again))
    assert first == second


def _files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")}
