"""Latency is measured warm, in every mode, beside a reference; predicted latency needs no clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.errors import UserError
from harmony_core.evaluation import latency as module
from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluators import Latency
from harmony_core.evaluation.interleaved import MOST_MEASUREMENTS
from harmony_core.evaluation.latency import Call, measure, warm_up
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Shard
from harmony_core.machines import Machine, predict_seconds
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import LATENCY, read_table

CPU = torch.device("cpu")
STACKS = ([{"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}, {"kind": "mlp", "d_ff": 32}],)


def nothing(row: dict[str, Any], done: int, total: int) -> None:
    """A report that nobody reads."""


def scripted(times: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets calls take these times, the last one for ever."""
    source = itertools.chain(times, itertools.repeat(times[-1]))
    monkeypatch.setattr(module, "seconds", lambda call, device: next(source))


def test_warm_up_ends_when_times_are_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted([9.0, 5.0, 2.0, 1.0, 1.01, 1.02, 1.0], monkeypatch)
    assert warm_up(lambda: None, 60.0, CPU) == 7


def test_warm_up_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = itertools.cycle([1.0, 2.0])
    monkeypatch.setattr(module, "seconds", lambda call, device: next(turns))
    assert warm_up(lambda: None, 0.0, CPU) == 4


def candidate() -> None:
    """Stands for what is measured; `timed` says how long it takes."""


def reference() -> None:
    """Stands for what it is measured beside."""


def timed(speeds: Iterable[float], monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Lets the candidate take 2 s and the reference 3 s, times the machine's speed of that call; says who is called."""
    source, called = iter(speeds), []

    def seconds(call: Call, device: torch.device) -> float:
        called.append(call)
        return (2.0 if call is candidate else 3.0) * next(source)

    monkeypatch.setattr(module, "seconds", seconds)
    monkeypatch.setattr(module, "warm_up", lambda call, limit, device: 4)
    return called


def test_figures_are_of_calls_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    called = timed(itertools.repeat(1.0), monkeypatch)
    row = measure(candidate, reference, 10, 0.0, CPU)
    assert called == [reference, *[candidate, reference] * 10]
    assert (row["seconds_median"], row["seconds_p10"], row["seconds_p90"]) == (2.0, 2.0, 2.0)
    assert (row["relative"], row["reference_seconds_median"]) == (pytest.approx(2 / 3), 3.0)
    assert (row["repeats"], row["warmups"], row["measurements"], row["marked"]) == (10, 4, 1, False)


def test_short_calls_are_made_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(itertools.repeat(1e-3), monkeypatch)
    # 5 ms a pair, in at least 0.4 s.
    assert measure(candidate, reference, 10, 0.0, CPU)["repeats"] == 80


def test_it_is_measured_again_when_the_reference_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    # 9 calls a measurement: in the first one the machine slows down by 15%, which is too much, then by 8%.
    timed([*[1.0] * 5, *[1.15] * 4, *[1.15] * 5, *[1.24] * 4], monkeypatch)
    row = measure(candidate, reference, 4, 0.0, CPU)
    assert (row["measurements"], row["repeats"], row["marked"]) == (2, 8, False)
    assert row["reference_movement"] == pytest.approx(1.24 / 1.15 - 1)


def test_a_reference_that_never_keeps_still_marks_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(itertools.cycle([*[1.0] * 5, *[1.3] * 4]), monkeypatch)
    row = measure(candidate, reference, 4, 0.0, CPU)
    assert (row["measurements"], row["marked"]) == (MOST_MEASUREMENTS, True)
    # Its ratio is still one of neighbours.
    assert row["relative"] == pytest.approx(2 / 3, rel=0.08)


def test_measured(prepared: Callable[..., OpenedSearch], candidates: Callable[..., list[dict[str, Any]]]) -> None:
    settings = {"source": "measured", "warmup_seconds": 0.05, "repeats": 3, "modes": ["train", "prefill", "decode"]}
    setting = prepared(latency=settings)
    evaluate_shard(Latency(), Shard(setting, candidates(*STACKS), 0, 0), report=nothing, launcher=Launcher())
    rows = read_table(setting.folder.shard(0, "latency", 0), LATENCY)
    times = dict(rows.select("mode", "seconds_median").iter_rows())
    assert times.keys() == {"train", "prefill", "decode"}
    # Not which mode takes longest: raw times are the machine's too.
    assert min(times.values()) > 0
    assert rows["reference_seconds_median"].min() > 0
    assert (rows["seconds_p10"] <= rows["seconds_p90"]).all()
    seconds_at_first = setting.manifest.reference_latency
    assert seconds_at_first.keys() == times.keys()
    for row in rows.iter_rows(named=True):
        assert row["latency_seconds"] == row["relative"] * seconds_at_first[row["mode"]]
    # The reference has four times the blocks, and eight times the width of its feed-forward.
    assert rows["relative"].max() < 1
    assert set(rows["status"]) == {"ok"}
    assert rows["device"][0]


def test_predicted_is_a_function_of_the_architecture(
    prepared: Callable[..., OpenedSearch], candidates: Callable[..., list[dict[str, Any]]]
) -> None:
    setting = prepared()
    tables = []
    for shard in (0, 1):
        evaluate_shard(Latency(), Shard(setting, candidates(*STACKS), 0, shard), report=nothing, launcher=Launcher())
        tables.append(read_table(setting.folder.shard(0, "latency", shard), LATENCY).drop("shard", "started_at"))
    assert tables[0].equals(tables[1])
    assert tables[0]["source"].unique().to_list() == ["predicted:cpu"]
    assert tables[0]["latency_seconds"].equals(tables[0]["seconds_median"])
    machine, latency = Machine.from_yaml("cpu"), setting.config.latency
    stack = Architecture.from_json(candidates(*STACKS)[0]["architecture"])
    llama = with_vocab(load_preset("llama-nano"), setting.manifest.data["vocab_size"])
    for mode, seconds, relative in tables[0].select("mode", "latency_seconds", "relative").iter_rows():
        sizes = (machine, mode, latency.batch_size, latency.context, "fp32")
        assert seconds == predict_seconds(stack, *sizes)
        assert relative == pytest.approx(seconds / predict_seconds(llama, *sizes))


def test_a_candidate_that_dies_is_a_row(
    prepared: Callable[..., OpenedSearch],
    candidates: Callable[..., list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harmony_core.evaluation.evaluators.latency.LATENCY_TARGET", "tests.workers.targets:die")
    setting = prepared(latency={"source": "measured", "warmup_seconds": 0.01, "repeats": 3})
    evaluate_shard(Latency(), Shard(setting, candidates(*STACKS), 0, 0), report=nothing, launcher=Launcher())
    rows = read_table(setting.folder.shard(0, "latency", 0), LATENCY)
    assert set(rows["status"]) == {"crashed"}
    assert rows["latency_seconds"].null_count() == rows["seconds_median"].null_count() == rows.height == 3


def test_a_reference_that_the_machine_cannot_run_is_refused(prepared: Callable[..., OpenedSearch]) -> None:
    # Five gigabytes of weights, of which half a one may be had.
    latency = {"source": "measured", "reference": "llama-3.2-1b", "modes": ["prefill"]}
    with pytest.raises(UserError, match=r"^latency\.reference: llama-3\.2-1b: out_of_memory on this machine .*smaller"):
        prepared(latency=latency, execution={"memory_limit_gb": 0.5})
