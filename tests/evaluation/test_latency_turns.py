"""Promotion measures in turns: each candidate once, then each again; a row says what all its turns said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluators import Latency
from harmony_core.evaluation.latency_row import NOT_MEASURED, over_turns
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Shard
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import LATENCY, read_table
from harmony_core.workers import Outcome, Task, WorkInterrupted

MIXERS = [{"kind": "gqa", "num_heads": 2, "num_kv_heads": heads, "head_dim": 16} for heads in (1, 2)]
STACKS = [[mixer, {"kind": "mlp", "d_ff": 32}] for mixer in MIXERS]
# What each candidate's ratio is in each turn; one turn of the second was struck by something.
RATIOS = {0: (1.0, 1.2, 1.1), 1: (2.0, 9.0, 2.2)}


def nothing(row: dict[str, Any], done: int, total: int) -> None:
    """A report that nobody reads."""


def measured_row(ratio: float, **values: Any) -> dict[str, Any]:
    figures = {"seconds_median": ratio, "seconds_p10": ratio, "seconds_p90": ratio, "reference_seconds_median": 1.0}
    told = {"relative": ratio, "reference_movement": 0.0, "marked": False, "repeats": 4, "warmups": 2}
    ended = {"status": "ok", "error": None, "kernel_paths": "", "seconds": 1.0, "measurements": 1}
    where = {"device": "abacus", "host": "here", "started_at": "2026-01-01T00:00:00+00:00", "mode": "prefill"}
    return {**NOT_MEASURED, **figures, **told, **ended, **where, **values}


class ScriptedPool:
    """Answers every task by `RATIOS`, in the order of the keys as other pools do; may be taken away."""

    def __init__(self, last: int = 10**9) -> None:
        self.begun: list[str] = []
        self._last = last

    def run(
        self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], None], on_begin: Callable[[Task, int], None]
    ) -> None:
        for task in sorted(tasks, key=lambda task: task.key):
            if len(self.begun) == self._last:
                raise WorkInterrupted("the machine is taken away")
            self.begun.append(task.key)
            on_begin(task, 1)
            turn, candidate = int(task.key[4:7]), task.payload["row"]["candidate"]
            row = {**task.payload["row"], **measured_row(RATIOS[candidate][turn])}
            on_outcome(Outcome(task, 1, {"rows": [row]}, device_seconds=1.0))


class ScriptedLauncher(Launcher):
    """Measures with a given pool."""

    def __init__(self, pool: ScriptedPool) -> None:
        super().__init__()
        object.__setattr__(self, "pool", pool)

    @contextmanager
    def measuring(self, *_: Any, **__: Any) -> Iterator[Any]:
        yield self.__dict__["pool"]


@pytest.fixture
def setting(prepared: Callable[..., OpenedSearch]) -> OpenedSearch:
    """A search whose reference took half a second at first, measured from here on."""
    predicted = prepared(latency={"modes": ["prefill"]})
    latency = predicted.config.latency.model_copy(update={"source": "measured"})
    config = predicted.config.model_copy(update={"latency": latency})
    manifest = predicted.manifest.model_copy(update={"reference_latency": {"prefill": 0.5}})
    return OpenedSearch(predicted.folder, manifest, config)


def test_turns_alternate_between_candidates_and_resume(
    setting: OpenedSearch, candidates: Callable[..., list[dict[str, Any]]]
) -> None:
    shard = Shard(setting, candidates(*STACKS), None, 0)
    first, second = ScriptedPool(last=3), ScriptedPool()
    with pytest.raises(WorkInterrupted):
        evaluate_shard(Latency(turns=3), shard, report=nothing, launcher=ScriptedLauncher(first))
    evaluate_shard(Latency(turns=3), shard, report=nothing, launcher=ScriptedLauncher(second))
    begun = [key.split("-")[:2] for key in first.begun + second.begun]
    assert begun == [[f"turn{turn:03d}", f"{number:05d}"] for turn in range(3) for number in (0, 1)]
    rows = read_table(setting.folder.shard(None, "latency", 0), LATENCY)
    assert rows["candidate"].to_list() == [0, 1]
    assert rows["relative"].to_list() == [1.1, 2.2]
    assert rows["latency_seconds"].to_list() == pytest.approx([0.55, 1.1])
    assert rows["repeats"].to_list() == [12, 12]
    assert rows["device_seconds"].to_list() == [3.0, 3.0]


def test_a_row_is_marked_where_most_of_its_turns_are() -> None:
    turns = [measured_row(1.0, marked=marked, device_seconds=0.0, latency_seconds=1.0) for marked in (True, False)]
    assert not over_turns([*turns, turns[1]])["marked"]
    assert over_turns([*turns, turns[0]])["marked"]


def test_a_turn_that_failed_is_the_candidates_failure() -> None:
    fine = measured_row(1.0, device_seconds=1.0, latency_seconds=1.0)
    died = {**fine, **NOT_MEASURED, "status": "crashed", "error": "gone"}
    row = over_turns([fine, died, fine])
    assert (row["status"], row["latency_seconds"], row["device_seconds"]) == ("crashed", None, 3.0)
