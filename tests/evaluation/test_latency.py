"""Latency is measured warm, in every mode, beside a reference; predicted latency needs no clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harmony_core.evaluation import latency as module
from harmony_core.evaluation.latency import measure, warm_up
from harmony_core.evaluation.latency_shard import benchmark_shard
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.setting import Setting
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


def test_figures_are_of_the_candidate_and_not_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    candidate, reference = (lambda: None), (lambda: None)
    monkeypatch.setattr(module, "seconds", lambda call, device: 2.0 if call is candidate else 3.0)
    row = measure(candidate, reference, 10, 0.0, CPU)
    assert (row["seconds_median"], row["seconds_p10"], row["seconds_p90"]) == (2.0, 2.0, 2.0)
    assert row["reference_seconds_median"] == 3.0
    assert (row["repeats"], row["warmups"]) == (10, 4)


def test_measured(prepared: Callable[..., Setting], candidates: Callable[..., list[dict[str, Any]]]) -> None:
    settings = {"source": "measured", "warmup_seconds": 0.05, "repeats": 3, "modes": ["train", "prefill", "decode"]}
    setting = prepared(latency=settings)
    benchmark_shard(setting, candidates(*STACKS), 0, 0, report=nothing, launcher=Launcher())
    rows = read_table(setting.folder.latency(0, 0), LATENCY)
    times = dict(rows.select("mode", "seconds_median").iter_rows())
    assert times.keys() == {"train", "prefill", "decode"}
    assert times["train"] > times["prefill"] > 0
    assert times["decode"] > 0
    assert rows["reference_seconds_median"].min() > 0
    assert (rows["seconds_p10"] <= rows["seconds_p90"]).all()
    assert set(rows["status"]) == {"ok"}
    assert rows["device"][0]


def test_predicted_is_a_function_of_the_architecture(
    prepared: Callable[..., Setting], candidates: Callable[..., list[dict[str, Any]]]
) -> None:
    setting = prepared()
    tables = []
    for shard in (0, 1):
        benchmark_shard(setting, candidates(*STACKS), 0, shard, report=nothing, launcher=Launcher())
        tables.append(read_table(setting.folder.latency(0, shard), LATENCY).drop("shard", "started_at"))
    assert tables[0].equals(tables[1])
    assert tables[0]["source"].unique().to_list() == ["predicted:cpu"]


def test_a_candidate_that_dies_is_a_row(
    prepared: Callable[..., Setting],
    candidates: Callable[..., list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harmony_core.evaluation.latency_shard.TARGET", "tests.workers.targets:die")
    setting = prepared(latency={"source": "measured", "warmup_seconds": 0.01, "repeats": 3})
    benchmark_shard(setting, candidates(*STACKS), 0, 0, report=nothing, launcher=Launcher())
    rows = read_table(setting.folder.latency(0, 0), LATENCY)
    assert set(rows["status"]) == {"crashed"}
    assert rows["seconds_median"].null_count() == rows.height == 3
