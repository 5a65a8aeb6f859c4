"""A training by hand leaves a row and a curve of every rung, and remembers how the last one ended."""

from __future__ import annotations

from pathlib import Path

from harmony_core.architecture.presets import load_preset
from harmony_core.evaluation.run_config import run_config
from harmony_core.evaluation.single_run import SingleRun
from harmony_core.machines import Layout
from harmony_core.store import curves, training
from harmony_core.training.curve import CurvePoint
from harmony_core.training.result import TrainingResult
from harmony_core.training.status import Status
from tests.evaluation.conftest import CONFIG


def ended(steps: int, status: Status = Status.OK) -> TrainingResult:
    curve = [CurvePoint(step, 256 * (step + 1), 3.0, 1e-3, 0.1, 0.5 * (step + 1)) for step in range(steps)]
    return TrainingResult(status=status, steps=steps, tokens=256 * steps, seconds=0.5 * steps, curve=curve)


def test_rungs_are_kept(tmp_path: Path) -> None:
    sections = {"recipe": {**CONFIG["recipe"], "rungs": [512]}, "data": CONFIG["data"]}
    config = run_config("mine", 0, sections, Layout(), "cpu")
    path = tmp_path / "results" / "mine"
    run = SingleRun.open(path, load_preset("llama-nano"), "llama-nano", config, lambda line: None)
    assert run.order.ended is None
    last = ended(4, Status.DIVERGED)
    last.earlier = [ended(2)]
    row = run.write(last, Layout())
    rows = training(path).sort("rung").collect()
    assert rows.select("rung", "tokens", "status").rows() == [(0, 512, "ok"), (1, 1024, "diverged")]
    assert rows["device_seconds"].to_list() == [0.0, row["device_seconds"]]
    assert curves(path).collect().group_by("rung").len().sort("rung").rows() == [(0, 2), (1, 4)]
    assert run.order.ended == "diverged"
