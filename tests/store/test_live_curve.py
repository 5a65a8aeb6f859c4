"""What a training tells while it runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from harmony_core.store.live_curve import LiveCurveWriter, live_curve_file, read_live_curve

KEY = "00001-0123456789abcdef-r0"


@pytest.fixture
def clock() -> list[float]:
    """The time, which tests set."""
    return [0.0]


def writer(folder: Path, clock: list[float]) -> LiveCurveWriter:
    return LiveCurveWriter(live_curve_file(folder, KEY), 100, clock=lambda: clock[0])


def test_what_is_told_is_read_and_ends_with_the_training(tmp_path: Path, clock: list[float]) -> None:
    live = writer(tmp_path, clock)
    assert read_live_curve(tmp_path, KEY) is None
    for step in range(4):
        clock[0] += 10.0
        live.tell(step, (step + 1) * 64, 5.0 - step, step * 2.0)
    told = read_live_curve(tmp_path, KEY)
    assert told is not None
    assert told.num_steps == 100
    assert told.points == tuple((step, (step + 1) * 64, 5.0 - step, step * 2.0) for step in range(4))
    assert told.tokens_per_second == 32.0
    live.close()
    assert read_live_curve(tmp_path, KEY) is None


def test_few_lines_of_many_steps(tmp_path: Path, clock: list[float]) -> None:
    """A training of a day is some hundred lines."""
    live = writer(tmp_path, clock)
    for step in range(86_400):
        clock[0] = float(step)
        live.tell(step, step, 1.0, clock[0])
    told = read_live_curve(tmp_path, KEY)
    assert told is not None
    assert 300 < len(told.points) < 800


def test_a_second_attempt_begins_anew(tmp_path: Path, clock: list[float]) -> None:
    writer(tmp_path, clock).tell(50, 1, 1.0, 1.0)
    writer(tmp_path, clock).tell(3, 1, 2.0, 1.0)
    told = read_live_curve(tmp_path, KEY)
    assert told is not None
    assert [point[0] for point in told.points] == [3]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"num_steps": "x"}\n', b"[" * 100_000, b"\xff\n"])
def test_what_is_no_curve_is_none(tmp_path: Path, content: bytes) -> None:
    file = live_curve_file(tmp_path, KEY)
    file.parent.mkdir()
    file.write_bytes(content)
    assert read_live_curve(tmp_path, KEY) is None


def test_a_torn_or_damaged_line_is_passed_over(tmp_path: Path) -> None:
    file = live_curve_file(tmp_path, KEY)
    file.parent.mkdir()
    file.write_bytes(
        b'{"num_steps": 9}\n[0, 1, 2.0, 1.0]\n[1, "x", 2.0, 1.0]\n[1, 2, NaN, 1.0]\nrubbish\n[2, 3, 1.5, 2.0]\n[3, '
    )
    told = read_live_curve(tmp_path, KEY)
    assert told is not None
    assert [point[0] for point in told.points] == [0, 2]


def test_a_training_does_not_fail_for_it(tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "live").write_text("no folder")
    live = writer(tmp_path, clock)
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            clock[0] += 10.0
            live.tell(step, step, 1.0, 1.0)
        live.close()
    assert sum("is not shown while it runs" in record.message for record in caplog.records) == 1
