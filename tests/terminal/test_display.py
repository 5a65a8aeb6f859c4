"""What a person sees: what is finished stays, what is open moves on a terminal and is rare elsewhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from harmony_core.progress import ProgressReader
from harmony_core.store import POPULATION, Run, read_table
from harmony_core.store.live_curve import live_curve_file
from harmony_core.terminal.display import Display
from harmony_core.terminal.progress_lines import duration
from tests.progress.searches import MadeUpSearch

VALUES: dict[int, tuple[float | None, float]] = {number: (3.0 + number, 0.01 * (number + 1)) for number in range(8)}
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A display, and what it wrote since the last look."""

    def __init__(self, search: MadeUpSearch, terminal: bool) -> None:
        self.file, self.clock = io.StringIO(), Clock()
        console = Console(file=self.file, force_terminal=terminal, width=80, no_color=True)
        self.display = Display(ProgressReader(search.folder), console, clock=self.clock)

    def update(self, seconds: float = 0.0) -> str:
        self.clock.now += seconds
        self.display.update()
        return self.new()

    def new(self) -> str:
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text


@pytest.fixture
def search(tmp_path: Path) -> Iterator[MadeUpSearch]:
    made = MadeUpSearch(tmp_path)
    made.prepare()
    yield made
    made.end()


def test_in_a_file_what_is_open_is_a_line_a_minute_and_only_when_it_has_changed(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=False)
    assert screen.update() == "search toy: seed 1, shakespeare, vocabulary 256, fp32 on a CPU\n"
    search.breed(0)
    search.open(0)
    search.begin(0, 0)
    assert screen.update(59) == ""
    assert screen.update(1) == "generation 0: 0/8 done, 1 running, 7 queued, 0 failed, nothing evaluated yet\n"
    assert screen.update(300) == ""
    search.train(0, 0, 3.0)
    # Its latency is not known yet: the loss is told alone.
    line = "generation 0: 1/8 done, 0 running, 7 queued, 0 failed, best 3.000 bits/byte"
    assert screen.update(1).startswith(line)
    search.begin(0, 1)
    assert screen.update(59) == ""


def running(search: MadeUpSearch, number: int, *points: tuple[int, int, float, float]) -> None:
    """A training under way that has told of these steps."""
    search.begin(0, number)
    architecture_id = read_table(search.folder.population(0), POPULATION)["architecture_id"][number]
    shard = search.journal("training", 0, 0).path.parent
    path = live_curve_file(shard, Run().name(architecture_id, number))
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(line) for line in ({"num_steps": 500}, *points)) + "\n[12")


def test_candidates_under_way_are_shown_with_step_loss_and_speed(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=True)
    search.breed(0)
    search.open(0)
    running(search, 0, (99, 102_400, 4.5, 10.0), (119, 122_880, 4.25, 11.0))
    running(search, 1, (9, 10_240, 5.5, 1.0))
    search.begin(0, 2)
    shown = screen.update()
    assert re.search(r"  candidate 0 \(\w{8}\): step 120/500, loss 4\.250, 20\.5K tokens/s", shown)
    assert re.search(r"  candidate 1 \(\w{8}\): step 10/500, loss 5\.500 *\n", shown)
    assert re.search(r"  candidate 2 \(\w{8}\): starting", shown)
    # An ended one is shown no more, whatever it left behind.
    search.train(0, 0, 3.0)
    assert "candidate 0" not in screen.update()


def test_of_many_under_way_the_first_are_shown_and_the_others_counted(
    search: MadeUpSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmony_core.progress.generation.MOST_UNDER_WAY", 2)
    screen = Screen(search, terminal=True)
    search.breed(0)
    search.open(0)
    for number in range(4):
        search.begin(0, number)
    shown = screen.update()
    assert shown.count(": starting") == 2
    assert "  ... and 2 more" in shown


def test_in_a_file_a_finished_generation_is_one_line_at_once(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=False)
    screen.update()
    summary = search.finish(0, VALUES)
    (line,) = screen.update().splitlines()
    assert line.startswith("generation 0: 8 evaluated, 0 failed, best 3.000 bits/byte, fastest prefill 10 ms, least ")
    assert line.endswith(f" active, front of {summary.front_size}, hypervolume {summary.hypervolume:.4f}")
    assert screen.update(600) == ""


SMALLER = "5 left out: budget of 11 GPU-hours: 8 spent, 1 a candidate"
CLOSED = "generation 2: closed, 8 left out: budget of 11 GPU-hours: 11 spent, 1 a candidate\n"


@pytest.fixture
def bounded(tmp_path: Path) -> MadeUpSearch:
    """A search whose budget pays for eleven candidates of an hour; its first generation of eight is finished."""
    search = MadeUpSearch(tmp_path, {"budget": {"gpu_hours": 11}}, generations=3)
    search.prepare()
    search.finish(0, VALUES, cost=3600.0)
    return search


def test_what_the_budget_leaves_out_is_told(bounded: MadeUpSearch) -> None:
    screen = Screen(bounded, terminal=False)
    assert "left out" not in screen.update()
    bounded.breed(1)
    assert re.fullmatch(rf"generation 1: 0/3 done, .*, {SMALLER}\n", screen.update(60))
    bounded.finish(1, {number: VALUES[number] for number in range(3)}, cost=3600.0)
    assert re.fullmatch(rf"generation 1: 3 evaluated, 0 failed, .*, {SMALLER}\n", screen.update())
    bounded.breed(2)
    assert screen.update() == CLOSED
    bounded.finish(2, {})
    assert screen.update(60) == ""


def test_what_the_budget_left_out_is_told_afterwards(bounded: MadeUpSearch) -> None:
    bounded.finish(1, {number: VALUES[number] for number in range(3)}, cost=3600.0)
    bounded.finish(2, {})
    _, whole, smaller, closed = Screen(bounded, terminal=False).update().splitlines(keepends=True)
    assert "left out" not in whole
    assert smaller.endswith(f", {SMALLER}\n")
    assert closed == CLOSED


def test_what_is_open_is_told_once_more_at_the_end(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=False)
    search.breed(0)
    screen.update()
    screen.display.close()
    assert screen.new().startswith("generation 0: 0/8 done, 0 running, 8 queued")
    screen.display.close()
    assert screen.new() == ""


def test_a_long_line_is_not_folded_in_a_file(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=False)
    search.breed(0)
    screen.update()
    error = "CUDA error: " + "an illegal memory access was encountered " * 20
    search.train(0, 3, None, error=error)
    (line,) = screen.update().splitlines()
    assert re.match(r"generation 0, candidate 3 \(\w{8}\): training diverged: CUDA error: an illegal", line)
    assert line.count("illegal memory access") == 20


def test_a_flood_of_failures_is_cut_and_counted(search: MadeUpSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmony_core.terminal.display.MOST_FAILURES", 3)
    search.breed(0)
    screen = Screen(search, terminal=False)
    screen.update()
    for number in range(8):
        search.train(0, number, None)
    lines = screen.update().splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == ["generation 0"] * 3
    assert lines[3:] == ["... and 5 more that failed"]


def test_an_error_with_brackets_is_text(search: MadeUpSearch) -> None:
    search.breed(0)
    screen = Screen(search, terminal=False)
    search.train(0, 0, None, error="size mismatch [/red] [4, 5]")
    assert "size mismatch [/red] [4, 5]\n" in screen.update()


def test_data_in_place_of_what_was_asked_for_is_told(tmp_path: Path) -> None:
    search = MadeUpSearch(tmp_path)
    search.prepare("installed-python")
    assert "(installed-python in place of shakespeare)\n" in Screen(search, terminal=False).update()


def test_on_a_terminal_what_is_open_moves_and_what_is_finished_stays(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=True)
    search.breed(0)
    assert HIDE in screen.update()
    search.train(0, 0, 3.0)
    update = screen.update()
    # The region's lines are cleared before they are written again.
    assert update.index("\x1b[2K") < update.index("generation 0: 1/8 done")
    search.finish(0, VALUES)
    update = screen.update()
    assert "generation 0: 8 evaluated" in update
    # Nothing is open: the region is gone, and the cursor back.
    assert update.rstrip().endswith("\x1b[2K")
    assert SHOW in update
    screen.display.close()
    assert screen.new() == ""


def test_a_line_above_leaves_the_region_folded_and_whole(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=True)
    search.breed(0)
    search.train(0, 0, 3.0)
    search.measure(0, 0, 0.01)
    assert "hypervolume" in screen.update()
    screen.display.print("a note " + "of 140 columns " * 9 + "whole")
    text = screen.new()
    assert "of 140 columns of 140 columns whole\n" in text
    assert "hypervolume" in text


def test_an_estimate_alone_is_no_news_in_a_file_and_none_is_left_behind(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=False)
    search.breed(0)
    screen.update()
    for number in range(3):
        search.train(0, number, 3.0)
    assert screen.update(60).endswith(f", ETA {round(13 * 60 / 3 / 60)} min\n")
    assert screen.update(600) == ""
    search.train(0, 3, 3.0)
    screen.update(1)
    screen.new()
    search.train(0, 4, 3.0)
    screen.update(1)
    screen.display.close()
    text = screen.new()
    assert text.startswith("generation 0: 5/8 done")
    assert "ETA" not in text


def test_a_terminal_is_left_as_it_was(search: MadeUpSearch) -> None:
    screen = Screen(search, terminal=True)
    search.breed(0)
    with screen.display as display:
        display.update()
        screen.new()
    text = screen.new()
    assert SHOW in text
    assert text.splitlines()[-1].endswith("nothing evaluated yet")


def test_before_there_is_a_manifest_a_terminal_says_what_is_going_on(tmp_path: Path) -> None:
    search = MadeUpSearch(tmp_path)
    assert "search toy: preparing data" in Screen(search, terminal=True).update()
    assert Screen(search, terminal=False).update(600) == ""


def test_a_slow_file_system_is_asked_less_often(search: MadeUpSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(search, terminal=False)
    screen.update()
    assert (screen.display.pause, screen.display.least_pause) == (2.0, 0.0)
    read = ProgressReader.read

    def slowly(reader: ProgressReader) -> object:
        screen.clock.now += 3.0
        return read(reader)

    monkeypatch.setattr(ProgressReader, "read", slowly)
    screen.update()
    assert screen.display.pause == pytest.approx(60.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "10 s"), (44, "40 s"), (59, "60 s"), (60, "1 min"), (720, "12 min"), (5400, "1.5 h"), (180_000, "2.1 days")],
)
def test_durations_are_as_exact_as_an_estimate(seconds: float, text: str) -> None:
    assert duration(seconds) == text
