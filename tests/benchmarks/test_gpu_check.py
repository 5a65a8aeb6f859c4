"""`benchmarks.gpu_check`: every step runs on the CPU at tiny shapes, and one that fails costs the others nothing."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks.gpu_check import device, nano, values
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.cases import blocks, cases
from benchmarks.gpu_check.clock import device_timed
from benchmarks.gpu_check.page import table
from benchmarks.gpu_check.planner import described
from benchmarks.gpu_check.result import is_good
from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.run import run
from benchmarks.gpu_check.settings import LIMIT_SECONDS, STEPS, Setting, Step
from harmony_core.architecture import block_kinds
from harmony_core.errors import UserError
from tests.waiting import SOON

SMALL = Setting(small=True)


def broken(name: str, seconds: float) -> Step:
    return Step(name, name, f"tests.benchmarks.broken_steps:{name}", seconds)


def test_the_small_run_measures_every_step_and_says_that_it_is_no_gpu(tmp_path: Path) -> None:
    out, page = tmp_path / "check.json", tmp_path / "check.html"
    code = main(["--small", "--out", str(out), "--page", str(page)])
    figures = json.loads(out.read_text())
    found = {step["name"]: step for step in figures["steps"]}
    assert list(found) == [step.name for step in STEPS]
    failed = [(name, step["error"], row) for name, step in found.items() for row in step["rows"] if "error" in row]
    assert not failed
    assert {name: step["status"] for name, step in found.items()} == dict.fromkeys(found, "done")
    assert all(step["rows"] for step in found.values())
    wrong = [row for step in found.values() for row in step["rows"] if not row.get("ok", True)]
    assert not wrong
    assert code == 0
    assert figures["small"] is True
    assert "no figure here is a GPU's" in figures["measured_on"]
    assert "<h1>GPU check, a small run on a CPU</h1>" in page.read_text()
    assert "no figure here is a GPU&#x27;s" in page.read_text()
    assert {row["kind"] for row in found["values"]["rows"]} == {*block_kinds(), "loss"}
    peers = {name for row in found["operators"]["rows"] for name in (*row["peer_over_harmony"], *row["not_measured"])}
    assert {"SDPA flash", "mamba-ssm", "flash-linear-attention", "Liger"} <= peers
    (training,) = found["training"]["rows"]
    losses = training["first_loss"]
    assert losses["harmony"] == pytest.approx(losses["transformers"], rel=1e-6)
    assert all(row["repeated_equal"] and row["resumed_equal"] for row in found["repeat"]["rows"])


def test_a_step_that_raises_dies_or_overruns_is_told_and_the_others_go_on() -> None:
    found: dict[str, dict[str, Any]] = {}
    # The first may have to wait for the process that forks them all.
    steps = [broken("fine", 120), broken("raises", 60), broken("dies", 60), broken("hangs", 5), broken("fine", 60)]
    results: list[dict[str, Any]] = []
    run(steps, SMALL, 400, results.append)
    found = {step["name"]: step for step in results[1:]}
    assert [step["status"] for step in results] == ["done", "failed", "failed", "cut short", "done"]
    assert found["raises"]["error"] == "RuntimeError: no kernel image"
    assert found["raises"]["rows"] == [{"number": 1}]
    assert "exit code 7" in found["dies"]["error"]
    assert found["dies"]["rows"] == [{"number": "nan"}]
    assert "ended after 5 s; 1 rows" in found["hangs"]["error"]
    assert found["fine"]["rows"] == [{"before": {"fine": 1, "raises": 1, "dies": 1, "hangs": 1}}]
    (hung,) = found["hangs"]["rows"]
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(hung["pid"])
        # An orphan that nobody has waited for yet stays as a zombie; one that runs on is never gone.
        assert left.status() == psutil.STATUS_ZOMBIE or left.wait(SOON) is None


def test_what_the_deadline_leaves_no_time_for_is_skipped_and_said() -> None:
    results: list[dict[str, Any]] = []
    run([broken("fine", 60)], SMALL, 4.0, results.append)
    assert [(step["status"], step["error"]) for step in results] == [("skipped", "4 s of 4 s were left")]
    assert not is_good(results[0])


def test_the_steps_fit_into_nine_minutes() -> None:
    assert sum(step.seconds for step in STEPS) <= LIMIT_SECONDS == 540


def test_without_a_gpu_it_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    out = tmp_path / "check.json"
    assert main(["--out", str(out)]) == UserError.EXIT_CODE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("GPU: none that this process may use: ")
    assert "--small" in line
    assert not out.exists()


@pytest.mark.parametrize("bad", [["--limit", "541"], ["--limit", "0"], ["--page", "."], ["--page", "/proc/check.html"]])
def test_bad_input_is_refused_before_anything_runs(
    bad: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--small", "--out", str(tmp_path / "check.json"), *bad]) == UserError.EXIT_CODE
    (line,) = capsys.readouterr().err.splitlines()
    assert bad[0] in line.split(":")[0]


def test_every_kind_comes_at_every_width_of_a_head_and_with_experts_that_have_no_token() -> None:
    assert set(blocks(256, 64)) == set(block_kinds())
    found = list(cases(Setting()))
    widths = {case.head_width for case in found if case.block["kind"] == "gqa"}
    assert {16, 32, 64, 96, 128, 192, 256} == widths
    sparse = [case for case in found if case.note]
    assert sparse
    assert all(case.batch_size * case.length * case.block["top_k"] < case.block["n_routed"] for case in sparse)
    assert all(case.length % 2 for case in found)


def test_nano_candidates_share_one_gpu_as_a_search_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its part of the memory, and MPS: else it would be another thing that is measured."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(nano, "WarmPool", lambda logs, **options: made.append(options))
    monkeypatch.setattr(nano, "run_trainings", lambda pool, trainings, *_: [{"status": "ok"}] * len(trainings))
    row = nano._measured(("llama-nano",), 4, nano.prepared(tmp_path / "data", SMALL), tmp_path, SMALL)
    assert made == [{"workers": 4, "sharers": 4}]
    assert row["candidates"] == 4


def test_values_that_differ_or_are_no_numbers_are_not_as_they_should_be() -> None:
    expected = {"output": torch.ones(4).double(), "w": torch.ones(4).double(), "decay": torch.zeros(4).double()}
    close = {name: value + 1e-5 for name, value in expected.items()}
    assert values.errors(close, expected, 1e-3)["ok"] is True
    for name, difference in (
        ("output", 0.1),
        ("w", 0.1),
        ("decay", 0.1),
        ("w", math.nan),
        ("decay", math.nan),
        ("output", math.nan),
    ):
        found = values.errors({**close, name: close[name] + difference}, expected, 1e-3)
        assert found["ok"] is False, name


def test_on_a_gpu_its_own_events_tell_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = [0.0]

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = milliseconds[0]

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    runs: list[float] = []

    def run() -> None:
        # The first one builds its kernel.
        milliseconds[0] += 4.0 if runs else 900.0
        runs.append(milliseconds[0])

    monkeypatch.setattr(torch.cuda, "Event", Event)
    seconds = device_timed(run, Setting())
    assert seconds() == pytest.approx(0.004)
    # One that builds, one that says how often, and five that take 20 ms.
    assert len(runs) == 7
    assert seconds() == pytest.approx(0.004)
    assert len(runs) == 12


def test_a_row_keeps_what_it_is_of_where_its_measurement_fails() -> None:
    def fails() -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    assert attempted({"model": "1.3B"}, fails) == {
        "model": "1.3B",
        "error": "OutOfMemoryError: CUDA out of memory",
    }


def test_the_page_has_a_column_for_whatever_any_row_has() -> None:
    spread = {"median": 2.0, "min": 1.0, "max": 3.0}
    found = table([{"a": 1024, "ms": {"ours": spread}}, {"a": 1, "ok": False, "error": "gone"}])
    assert found.headers == ("a", "ms, ours", "ok", "error")
    assert found.rows == (("1,024", "2 (1 to 3)", "-", "-"), ("1", "-", "NO", "gone"))


@pytest.mark.parametrize(("installed", "told"), [("2.9.1", True), ("2.10.0+rocm7.1", False), ("2.13.0+cpu", False)])
def test_an_older_torch_is_run_and_said(installed: str, told: bool) -> None:
    note = device.torch_note(installed)
    assert (note is not None) == told
    assert note is None or installed in note


@pytest.mark.parametrize(
    ("name", "machine"), [("NVIDIA H100 80GB HBM3", "h100"), ("AMD Instinct MI250X", "frontier"), ("Some GPU", None)]
)
def test_a_device_finds_its_description(name: str, machine: str | None) -> None:
    assert described(name, Setting()) == machine
