"""An estimate needs evidence, and a clock of its own alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harmony_core.progress import GenerationProgress, Pace, SearchProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(done: float, left: float, running: int | None = None, mean: float | None = None) -> SearchProgress:
    fields: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(GenerationProgress))
    generation = GenerationProgress(**{**fields, "running": running, "finished": False})
    return SearchProgress(None, (generation,), work_done=done, work_left=left, mean_seconds=mean)


def test_done_per_second_of_this_process() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_left(progress(40, 60)) is None
    clock.now += 50
    assert pace.seconds_left(progress(45, 55)) == pytest.approx(550)
    clock.now += 50
    assert pace.seconds_left(progress(60, 40)) == pytest.approx(40 * 100 / 20)


def test_nothing_is_said_before_a_wave_has_ended() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.seconds_left(progress(0, 100, running=10))
    clock.now += 10
    assert pace.seconds_left(progress(9, 91, running=10)) is None
    assert pace.seconds_left(progress(10, 90, running=10)) == pytest.approx(90)
    assert pace.seconds_left(progress(2, 98, running=1)) is None


def test_until_then_mean_time_over_the_number_running() -> None:
    pace = Pace(Clock())
    assert pace.seconds_left(progress(5, 30, running=3, mean=20.0)) == pytest.approx(200)
    assert pace.seconds_left(progress(5, 30, running=0, mean=20.0)) is None
    assert pace.seconds_left(progress(5, 30, running=None, mean=20.0)) is None


def test_nothing_is_left_and_nothing_has_begun() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_left(SearchProgress(None)) is None
    clock.now += 1000
    pace.seconds_left(progress(0, 10))
    clock.now += 10
    # The time before the first generation was no training's.
    assert pace.seconds_left(progress(5, 5)) == pytest.approx(10)
    assert pace.seconds_left(progress(10, 0)) is None
