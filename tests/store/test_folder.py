from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.store import SearchFolder


def test_the_layout_is_the_documented_one() -> None:
    folder = SearchFolder("results/nano")
    assert folder.name == "nano"
    names = {
        folder.manifest: "manifest.json",
        folder.report: "report",
        folder.work("jobs", "x"): "work/jobs/x",
        folder.population(0): "generation=000/population.parquet",
        folder.ledger(0): "generation=000/ledger.parquet",
        folder.selection(12): "generation=012/selection.parquet",
        folder.shard(3, "training", 4): "generation=003/training/shard=004.parquet",
        folder.shard(3, "curves", 4): "generation=003/curves/shard=004.parquet",
        folder.shard(1000, "latency", 0): "generation=1000/latency/shard=000.parquet",
        folder.population(None): "promoted/population.parquet",
        folder.ledger(None): "promoted/ledger.parquet",
        folder.shard(None, "training", 0): "promoted/shard=000/training.parquet",
    }
    for path, name in names.items():
        assert path == Path("results/nano") / name


def test_generations_and_shards_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    for generation in (1000, 2, 999):
        folder.generation(generation).mkdir()
    (tmp_path / "generation=old").mkdir()
    for shard in (1000, 2, 999):
        path = folder.shard(2, "training", shard)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert folder.generations() == [2, 999, 1000]
    assert folder.shards(2, "training") == [folder.shard(2, "training", shard) for shard in (2, 999, 1000)]
    assert folder.shards(999, "training") == []


def test_a_search_is_found_by_folder_and_by_name(
    folder: SearchFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SearchFolder.find(folder.path) == folder
    monkeypatch.chdir(tmp_path)
    assert SearchFolder.find("small").path.resolve() == folder.path
    with pytest.raises(UserError, match="results/ holds small"):
        SearchFolder.find("smal")


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    folder.generation(0).mkdir()
    (folder.generation(0) / "training").touch()
    assert folder.shards(0, "latency") == []
    with pytest.raises(NotADirectoryError):
        folder.shards(0, "training")
