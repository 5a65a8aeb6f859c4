"""The short measurement, made shorter: what it times, and the machine that it writes."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harmony_core.architecture.presets import load_preset
from harmony_core.calibration import calibrate, chains, peaks, timing
from harmony_core.machines import Machine, predict_seconds
from harmony_core.machines.operator_costs import UNITS


class Slow(nn.Module):
    """A block that works for a known time, forwards and backwards."""

    def __init__(self, forward: float, backward: float) -> None:
        super().__init__()
        self.times = (forward, backward)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Work.apply(x, *self.times), None


class _Work(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, forward, backward):
        _spend(forward)
        ctx.seconds = backward
        return x * 1.0

    @staticmethod
    def backward(ctx, dy):
        _spend(ctx.seconds)
        return dy, None, None


def _spend(seconds: float) -> None:
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        math.sqrt(2.0)


def test_each_block_of_a_chain_has_its_own_seconds() -> None:
    blocks = [Slow(0.01, 0.03), Slow(0.04, 0.02), Slow(0.005, 0.08)]
    # A process's first backward pass loads what it needs.
    calibrate.block_seconds([Slow(0, 0)], torch.zeros(1, 2, 3), "fp32")
    found = calibrate.block_seconds(blocks, torch.zeros(1, 2, 3), "fp32")
    assert found == pytest.approx([0.04, 0.06, 0.085], abs=0.008)


def test_a_gpus_figures_are_those_of_a_roofline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code at small shapes on the CPU, since there is no GPU here."""
    small = peaks.Shapes(1 << 12, (64, 32), (32, 32, 32), (32, 16, 24), (2, 16, 2, 16))
    monkeypatch.setattr(peaks, "_CALLS", 10)
    asked: list[torch.device] = []

    def measure(device: torch.device, shapes: peaks.Shapes) -> dict[str, Any]:
        asked.append(device)
        assert shapes is peaks.ON_GPU
        return peaks.measure_peaks(torch.device("cpu"), small)

    monkeypatch.setattr(calibrate, "measure_peaks", measure)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "AMD Instinct MI250X")
    gpu = torch.device("cuda", 0)
    machine = calibrate.calibrate("mine", lambda line: None, gpu)
    assert (machine.name, machine.device, asked) == ("mine", "AMD Instinct MI250X", [gpu])
    assert machine.operators == ()
    assert predict_seconds(load_preset("llama-nano"), machine, "train", 1, 64, "bf16") > 0


def test_a_run_on_a_gpu_is_timed_from_idle_to_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append("wait"))
    (seconds,) = timing.timed(lambda: order.append("run"), torch.device("cuda", 0))()
    assert order == ["wait", "run", "wait"]
    assert seconds >= 0


def test_a_machine_is_measured_and_read_again(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chains, "BATCHES", ((2, 64),))
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "WARM_UP_ROUNDS", 1)
    threads, told = torch.get_num_threads(), []
    machine = calibrate.calibrate("here", told.append)
    assert torch.get_num_threads() == threads
    assert len(told) == 3
    assert [(c.mode, c.precision) for c in machine.operators] == [
        (mode, precision) for precision in ("fp32", "bf16") for mode in ("train", "prefill")
    ]
    figures = (machine.memory_bandwidth, machine.kernel_seconds, machine.fp32.peak_flops, *machine.operators)
    assert all(figure.source.startswith("measured: ") for figure in figures)
    # Of one round on one batch, beside whatever else runs, the fit may call any one unit free, and not all of them.
    assert all(any(getattr(costs, unit) > 0 for unit in UNITS) for costs in machine.operators)
    assert Machine.parse(machine.model_dump(mode="json")) == machine
    assert predict_seconds(load_preset("jamba-nano"), machine, "train", 4, 64, "bf16") > 0


@pytest.mark.parametrize(("output", "told"), [("here.json", "ends in .yaml"), ("nowhere/here.yaml", "folder")])
def test_a_wrong_file_is_told_before_anything_is_measured(output: str, told: str, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "harmony_core", "calibrate", "-o", output]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
