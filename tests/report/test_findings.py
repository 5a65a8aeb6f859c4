"""What the report reads from the tables: front, progress, curves, promotion."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.report.findings import MAX_CURVE_POINTS, gather
from harmony_core.report.tables import composition_table
from harmony_core.report.trade_off import MOST_MARKS, thinned, trade_offs
from harmony_core.results import pareto_front
from harmony_core.store import SELECTION, TRAINING, SearchFolder, write_table
from tests.report.conftest import GENERATIONS, STEPS, begin, whole, write_generation


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


def test_a_trade_off_holds_everybody_once(reported: SearchFolder) -> None:
    latency, params = trade_offs(gather(reported))
    assert (latency.name, params.name) == ("front_latency", "front_active_params")
    for one in (latency, params):
        assert one.front.height + one.others.height == 4
    everybody = pl.concat([latency.front.drop("label"), latency.others])
    assert sorted(everybody["x"]) == pytest.approx([30, 40, 60, 70])
    # Nobody is better in both: the line ends at the best, and where 70 ms bring nothing.
    assert latency.line.rows() == [pytest.approx(one) for one in ((30, 2.6), (40, 2.5), (60, 2.4))]


def test_baselines_are_on_the_front_where_they_were_trained_on_as_many_tokens(tmp_path: Path) -> None:
    as_many = begin(
        tmp_path, recipe={"tokens": STEPS * 10, "warmup_tokens": 10, "batch_size": 1, "sequence_length": 10}
    )
    write_generation(as_many, 0, GENERATIONS[0])
    write_generation(as_many, None, (("samba-nano", 2.45, 0.06),), role="baseline", name="samba-nano")
    findings = gather(as_many)
    assert findings.baselines.select("name", "val_bits_per_byte").rows() == [("samba-nano", 2.45)]
    latency = trade_offs(findings)[0]
    assert latency.baselines.select("x", "y", "name").rows() == [(60.0, 2.45, "samba-nano")]
    told = "At the cost of the best baseline, samba-nano (2.450), or less, the search has 2.400: 0.050 lower."
    assert told in latency.conclusion


def test_baselines_of_other_tokens_are_not_compared(reported: SearchFolder) -> None:
    findings = gather(reported)
    assert findings.baselines.is_empty()
    assert "No baseline was trained on as many tokens" in trade_offs(findings)[0].conclusion


def test_many_candidates_are_drawn_once_where_they_would_lie_on_each_other() -> None:
    rng = np.random.default_rng(0)
    points = pl.DataFrame({"x": rng.lognormal(size=20_000), "y": rng.normal(size=20_000)})
    kept = thinned(points, is_log=True)
    assert MOST_MARKS / 2 < kept.height <= MOST_MARKS
    # What is far from all others stays.
    for name in ("x", "y"):
        assert kept[name].max() == points[name].max()
    assert thinned(points.head(MOST_MARKS), is_log=False).height == MOST_MARKS


def test_device_time_is_all_that_was_held(reported: SearchFolder) -> None:
    rows = gather(reported).device_time
    # Half a second in each row of training and of latency; one candidate diverged.
    assert rows.rows() == [
        ("training", 5, 2.5, 0.5),
        ("latency", 5, 2.5, 0.0),
        ("promotion: training", 2, 1.0, 0.0),
        ("promotion: latency", 2, 1.0, 0.0),
    ]


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
