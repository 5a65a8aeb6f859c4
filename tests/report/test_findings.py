"""What the report reads from the tables: front, progress, curves, promotion."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.report.figures import all_figures
from harmony_core.report.findings import MAX_CURVE_POINTS, gather
from harmony_core.report.tables import composition_table
from harmony_core.results import pareto_front
from harmony_core.store import SELECTION, TRAINING, SearchFolder, write_table
from tests.report.conftest import GENERATIONS, whole


def test_progress_is_of_all_generations_so_far(reported: SearchFolder) -> None:
    progress = gather(reported).progress
    assert progress["bred"].to_list() == [3, 2]
    assert progress["ok"].to_list() == [2, 2]
    # Generation 1 is worse in bits per byte, so the best stays; it is faster, so the volume grows.
    assert progress["best_val_bits_per_byte"].to_list() == [2.4, 2.4]
    first, second = progress["hypervolume"]
    assert 0 < first < second < 1


def test_hypervolume_of_one_point_by_hand(search: SearchFolder) -> None:
    shutil.rmtree(search.generation(1))
    one = pl.read_parquet(search.shard(0, "training", 0)).with_columns(
        status=pl.when(pl.col("candidate") == 0).then(pl.lit("ok")).otherwise(pl.lit("crashed"))
    )
    write_table(search.shard(0, "training", 0), one.to_dicts(), TRAINING)
    share = 1 - load_preset("llama-nano").num_active_params() / 4e6
    expected = (1 - 2.5 / 8) * (1 - 0.04) * share
    assert gather(search).progress["hypervolume"].to_list() == pytest.approx([expected])


def test_front_is_marked_and_shown_best_first(reported: SearchFolder) -> None:
    findings = gather(reported)
    front = pareto_front(reported).collect()["architecture_id"].to_list()
    assert findings.candidates.filter("on_front")["architecture_id"].to_list() == front
    assert findings.shown["architecture_id"].to_list() == front
    assert findings.candidates["val_bits_per_byte"].is_sorted()


def test_curves_are_reduced_to_windows_of_equal_size(reported: SearchFolder) -> None:
    findings = gather(reported)
    assert set(findings.curves["architecture_id"]) == set(findings.shown["architecture_id"])
    for _, curve in findings.curves.group_by("architecture_id"):
        assert curve.height == MAX_CURVE_POINTS
        assert curve["tokens"].is_sorted()
        assert curve["tokens"].max() == 5000
        # The loss falls by 1 in a straight line: windows of 4 or 5 steps around it.
        assert curve["train_loss"].mean() == pytest.approx(4.5, abs=0.005)
        assert curve["train_loss"].is_sorted(descending=True)


def test_promoted_is_sorted_by_the_test_split(reported: SearchFolder) -> None:
    promoted = gather(reported).promoted
    assert promoted["test_bits_per_byte"].to_list() == [2.4, 2.5]
    assert promoted["architecture_id"][0] == load_preset("mixtral-nano").id


def test_figures_hold_the_rows(reported: SearchFolder) -> None:
    specs = {name: chart.to_dict() for name, chart in all_figures(gather(reported)).items()}
    rows = {name: sum(len(data) for data in spec["datasets"].values()) for name, spec in specs.items()}
    assert rows["front_latency"] == rows["front_active_params"] == 4
    assert rows["progress"] == 4
    latency = next(iter(specs["front_latency"]["datasets"].values()))
    assert sorted(row["milliseconds"] for row in latency) == pytest.approx([30, 40, 60, 70])
    assert "prefill, batch 8, context 256, measured" in str(specs["front_latency"]["encoding"]["x"]["title"])


def test_what_survived_stands_beside_what_samples_are_made_of(search: SearchFolder) -> None:
    assert gather(search).survived is None
    ids = {candidate: load_preset(name).id for candidate, (name, *_) in enumerate(GENERATIONS[0])}
    rows = [whole(SELECTION, search="small", architecture_id=one, survives=number < 2) for number, one in ids.items()]
    write_table(search.selection(0), rows, SELECTION)
    findings = gather(search)
    assert findings.survived is not None
    assert (findings.survived.count, findings.survived.mixers) == (2, {"gqa": 1.0})
    assert findings.prior.count == 200
    rows = composition_table(findings).rows
    assert ("token mixers", "gqa 100%") in [(name, now) for name, _, now in rows]
