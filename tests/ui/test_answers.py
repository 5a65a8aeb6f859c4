"""What the server says of searches."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.datastructures import QueryParams

from harmony_core.errors import UserError
from harmony_core.progress import ProgressReader, SearchProgress
from harmony_core.results import leaderboard, pareto_front
from harmony_core.results.changes import changes
from harmony_core.search.settings import read_settings
from harmony_core.store import SearchFolder, population, read_manifest
from harmony_core.ui.asked import Asked
from harmony_core.ui.catalogue import Catalogue, Snapshot
from harmony_core.ui.followed import Followed
from harmony_core.ui.generation_rows import Columns
from harmony_core.ui.search_facts import search_facts
from tests.ui.conftest import Served, asked
from tests.ui.live_search import RESULTS, LiveSearch, live_search
from tests.waiting import PATIENCE


def read(search: LiveSearch) -> tuple[Catalogue, list[Snapshot]]:
    manifest = read_manifest(search.folder.manifest)
    catalogue = Catalogue(search.folder, manifest, Columns(read_settings(search.folder)[1], manifest.config))
    seen: list[Snapshot] = []
    catalogue.refresh(seen.append)
    return catalogue, seen


def test_the_page_of_a_search_that_runs(served: Served) -> None:
    told = asked(served, "search")
    assert told["state"] == "running"
    assert told["statuses"] == {"ok": 7, "diverged": 2, "pending": 7}
    assert [one["candidate"] for one in told["under_way"]] == [1, 2]
    trained = told["under_way"][0]
    assert (trained["steps_done"], trained["steps"], len(trained["curve"])) == (146, 488, 30)
    assert trained["tokens_per_second"] == pytest.approx(5 * 4096 / 2)
    assert told["under_way"][1]["steps_done"] is None
    assert told["progress"][0]["over"]
    assert not told["progress"][1]["over"]
    assert told["progress"][1]["best"] == 2.31


def test_the_catalogue_says_what_results_say(toy: LiveSearch) -> None:
    _, seen = read(toy)
    told = seen[-1].rows.filter(pl.col("status") == "ok").sort("val_bits_per_byte", "generation", "candidate")
    board = leaderboard(toy.folder).collect()
    for name in ("architecture_id", "val_bits_per_byte", "latency_seconds", "num_params", "violation"):
        assert told[name].to_list() == board[name].to_list()
    assert set(seen[-1].front["architecture_id"]) == set(pareto_front(toy.folder).collect()["architecture_id"])


def test_a_generation_reads_alike_open_and_over(tmp_path: Path) -> None:
    search = live_search(tmp_path)
    catalogue, seen = read(search)
    before = seen[-1].rows.filter(pl.col("generation") == 0)
    selection = search.folder.selection(0)
    content = selection.read_bytes()
    selection.unlink()
    catalogue.refresh(seen.append)
    assert seen[-1].rows.filter(pl.col("generation") == 0).equals(before)
    selection.write_bytes(content)
    catalogue.refresh(seen.append)
    assert seen[-1].rows.filter(pl.col("generation") == 0).equals(before)
    search.end()


def test_a_row_that_is_appended_is_there_and_nothing_else_is_read_again(tmp_path: Path) -> None:
    search = live_search(tmp_path)
    catalogue, seen = read(search)
    catalogue.refresh(seen.append)
    assert seen[-1].version == seen[-2].version
    search.train(1, 1, 2.2)
    search.measure(1, 1, 0.01)
    catalogue.refresh(seen.append)
    assert seen[-1].version != seen[-2].version
    row = seen[-1].rows.filter(generation=1, candidate=1).row(0, named=True)
    assert (row["status"], row["val_bits_per_byte"], row["latency_seconds"]) == ("ok", 2.2, 0.01)
    assert row["architecture_id"] in seen[-1].front["architecture_id"]
    search.end()


@pytest.mark.parametrize(
    ("file", "rows", "ok"),
    [("selection.parquet", 0, 7), ("population.parquet", 8, 7), ("latency/shard=001.parquet", 0, 7)],
)
def test_damage_is_shown_with_what_it_costs(tmp_path: Path, file: str, rows: int, ok: int) -> None:
    search = live_search(tmp_path)
    path = search.folder.generation(0) / file
    path.write_bytes(path.read_bytes()[:-64])
    _, seen = read(search)
    told = {one.path: one for one in seen[-1].problems}
    assert seen[-1].rows.filter(pl.col("generation") == 0, pl.col("status") == "ok").height == ok
    if file.startswith("latency"):
        # The selection is there, so that nothing is missing.
        assert told == {}
    else:
        assert told[str(path)].rows == rows
        assert str(path) in told[str(path)].text
    search.end()


def test_pages_of_the_table_are_those_of_a_sorted_whole(toy: LiveSearch) -> None:
    catalogue, seen = read(toy)
    rows = seen[-1].rows.filter(pl.col("generation") == 0)
    many = pl.concat([rows.with_columns(generation=pl.lit(g, pl.Int32)) for g in range(40)])
    for sort in ("val_bits_per_byte", "family", "generation"):
        for order in ("asc", "desc"):
            query = QueryParams([("sort", sort), ("order", order), ("size", "7"), ("page", "3"), ("s", "toy")])
            total, page = Asked(query, catalogue.columns).page_of(many)
            keys = list(dict.fromkeys([sort, "generation", "candidate"]))
            descending = [order == "desc", *[False] * (len(keys) - 1)]
            expected = many.sort(keys, descending=descending, nulls_last=True).slice(21, 7)
            assert total == len(many)
            assert page.equals(expected)


def test_filters(served: Served) -> None:
    def of(**parameters: Any) -> Any:
        return asked(served, "candidates", **parameters)["total"]

    assert of() == 16
    assert of(status="pending") == 7
    assert of(status=["ok", "diverged"]) == 9
    assert of(**{"max.val_bits_per_byte": 2.55}) == sum(1 for bits, _ in RESULTS.values() if bits and bits <= 2.55) + 1
    assert of(has="mqa") == 16
    assert of(hasnot="mqa") == 0
    assert of(family="recurrent") == 0


def test_an_answer_says_whether_all_has_been_read(toy: LiveSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its candidates a search tells before it tells how far it is, which may take long on a busy machine."""
    may_go_on, read_progress = threading.Event(), ProgressReader.read

    def held(reader: ProgressReader) -> SearchProgress:
        assert may_go_on.wait(PATIENCE)
        return read_progress(reader)

    monkeypatch.setattr(ProgressReader, "read", held)
    with ThreadPoolExecutor(4) as pool:
        followed = Followed(toy.folder, pool)
        while "metrics" not in (told := search_facts(followed)):
            assert not told["whole"]
        assert ("failures" in told, told["whole"]) == (False, False)
        may_go_on.set()
        followed.look(60)
        assert len(search_facts(followed)["failures"]) == 1
        while not (told := search_facts(followed))["whole"]:
            assert told["stages"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"sort": "val_bits_per_byte); DROP"},
        {"filter": "pl.col('x')"},
        {"min.nothing": 1},
        {"min.num_params": "nan"},
        {"id": ".*"},
        {"size": 10**6},
        {"page": -1},
        {"has": "__import__"},
        {"status": "fine"},
    ],
)
def test_a_wrong_parameter_is_one_line_that_names_it(toy: LiveSearch, parameters: dict[str, Any]) -> None:
    catalogue, _ = read(toy)
    with pytest.raises(UserError) as caught:
        Asked(QueryParams({name: str(value) for name, value in parameters.items()}), catalogue.columns)
    assert caught.value.field == next(iter(parameters))


def test_a_figure_has_two_metrics(served: Served) -> None:
    told = asked(served, "front", x="latency_seconds", y="latency_seconds")
    assert told == {"error": "y: latency_seconds: the same as x; ask for another metric"}
    assert asked(served, "front", x="latency_seconds", y="val_bits_per_byte")["total"] == 7


def test_a_candidate(served: Served, toy: LiveSearch) -> None:
    best = asked(served, "candidates", sort="val_bits_per_byte", size=1)["rows"][0]
    told = asked(served, "candidate", id=best["architecture_id"])
    assert told["values"]["val_bits_per_byte"] == best["val_bits_per_byte"]
    assert {one["mode"] for one in told["latencies"]} == {"train", "prefill", "decode"}
    assert sum(unit["times"] * len(unit["blocks"]) for unit in told["architecture"]["units"]) == best["num_blocks"]
    assert told["commands"][0]["command"].startswith(f"harmony reproduce {best['architecture_id']} --search ")
    child = asked(served, "candidates", **{"min.generation": 1, "status": "diverged"})["rows"][0]
    whole = asked(served, "candidate", id=child["architecture_id"])
    assert whole["trainings"][0]["status"] == "diverged"
    own, parent, *_ = whole["lineage"]["ancestors"]
    assert own["id"] == child["architecture_id"]
    texts = dict(population(toy.folder).select("architecture_id", "architecture").collect().iter_rows())
    assert own["changed"] == changes(texts[own["parents"][0]], texts[own["id"]]) != []
    assert parent["changed"] == []


def test_a_search_of_another_format_is_named_with_migrate(tmp_path: Path, toy: LiveSearch) -> None:
    folder = SearchFolder(tmp_path / "results" / "old")
    folder.path.mkdir(parents=True)
    manifest = json.loads(toy.folder.manifest.read_text())
    folder.manifest.write_text(json.dumps({**manifest, "format_version": 2}))
    with ThreadPoolExecutor(1) as pool:
        view = Followed(folder, pool).look(30)
    assert "harmony migrate" in view.error
