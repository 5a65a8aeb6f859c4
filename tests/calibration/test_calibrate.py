"""The short measurement, made shorter: what it times, and the machine that it writes."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.calibration import calibrate, chains, peaks, timing
from harmony_core.machines import Machine, predict_seconds
from harmony_core.machines.blocks import Shape
from harmony_core.machines.operator_costs import UNITS
from harmony_core.machines.operator_work import block_work


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


class Event:
    """A GPU's event, by the wall clock of this host, in milliseconds as CUDA's is."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, other: Event) -> float:
        return (other.at - self.at) * 1e3


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Devices that were waited for, where events are this host's."""
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    return asked


GPU = torch.device("cuda", 0)


def test_a_run_on_a_gpu_is_timed_by_events_from_idle_on(waits: list[torch.device]) -> None:
    def run() -> None:
        # The host has waited once, before the first event, and again only when it asks for the seconds.
        assert waits == [GPU]
        time.sleep(0.02)

    (seconds,) = timing.timed(run, GPU)()
    assert waits == [GPU, GPU]
    assert 0.02 <= seconds < 0.2


def test_each_block_has_its_own_seconds_by_a_gpus_events_too(
    waits: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "Marks", lambda device: timing.Marks(GPU))
    calibrate.block_seconds([Slow(0, 0)], torch.zeros(1, 2, 3), "fp32")
    found = calibrate.block_seconds([Slow(0.05, 0.1), Slow(0.2, 0.15)], torch.zeros(1, 2, 3), "fp32")
    assert found[0] >= 0.15
    assert found[1] >= 0.35
    assert found[1] > found[0]


def test_a_gpu_is_measured_as_a_core_is_with_wider_blocks_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code at small shapes on the CPU, since there is no GPU here."""
    small = peaks.Shapes(1 << 12, (64, 32), (32, 32, 32), (32, 16, 24), (2, 16, 2, 16))
    monkeypatch.setattr(peaks, "_CALLS", 10)
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "WARM_UP_ROUNDS", 1)
    cpu, operators, asked = torch.device("cpu"), calibrate._operators, []

    def measure(device: torch.device, shapes: peaks.Shapes) -> dict[str, Any]:
        asked.append((device, shapes))
        return peaks.measure_peaks(cpu, small)

    def measure_operators(precision: Any, pieces: Any, device: torch.device) -> list[dict[str, Any]]:
        asked.append((device, len(pieces)))
        return operators(precision, chains.chains(((2, 64),), 2), cpu)

    monkeypatch.setattr(calibrate, "measure_peaks", measure)
    monkeypatch.setattr(calibrate, "_operators", measure_operators)
    monkeypatch.setattr(calibrate, "_whole_device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "AMD Instinct MI250X")
    machine = calibrate.calibrate("mine", lambda line: None, GPU)
    assert (machine.name, machine.device) == ("mine", "AMD Instinct MI250X")
    assert asked == [(GPU, peaks.ON_GPU), (GPU, 3 * 6), (GPU, 3 * 6)]
    assert [(c.mode, c.precision) for c in machine.operators] == [
        (mode, precision) for precision in ("fp32", "bf16") for mode in ("train", "prefill")
    ]
    assert predict_seconds(load_preset("llama-nano"), machine, "train", 1, 64, "bf16") > 0


def test_wider_blocks_are_of_the_same_kinds_with_as_much_more_work() -> None:
    for one, wide in zip(chains.chains(((4, 512),)), chains.chains(((4, 512),), 8), strict=True):
        assert wide.d_model == 8 * one.d_model
        assert [block.kind for block in wide.blocks] == [block.kind for block in one.blocks]
        made = [Architecture(d_model=c.d_model, vocab_size=2, blocks=c.blocks) for c in (one, wide)]
        assert made[1].num_params() > 16 * made[0].num_params()
        for narrow, block in zip(one.blocks, wide.blocks, strict=True):
            shapes = (Shape(d_model, 4, 512, 4) for d_model in (one.d_model, wide.d_model))
            less, more = (block_work(b, s, train=True) for b, s in zip((narrow, block), shapes, strict=True))
            assert more.get("product", 1.0) >= 8 * less.get("product", 0.0)


def test_a_machine_is_measured_and_read_again(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calibrate, "BATCHES", ((2, 64),))
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
