"""Measures this machine for the cost model: its peaks, and what each operator costs where they run one by one.

Everything is timed in one process, in rounds in which every piece has its turn; a piece's time is its median over the
rounds. On a CPU it is in one thread and in processor seconds, so that what other processes take is not counted; on a
GPU in seconds of its own clock. It is one code for both, which has not run on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harmony_core.architecture import Architecture
from harmony_core.calibration.chains import (
    BATCHES,
    LARGE_BATCHES,
    LARGE_FACTOR,
    Chain,
    SmallModel,
    chains,
    fit_costs,
    small_models,
)
from harmony_core.calibration.peaks import ON_CPU, ON_GPU, measure_peaks, measured
from harmony_core.calibration.timing import CPU, Marks, Run, medians, timed
from harmony_core.host import cpu_name
from harmony_core.machines.blocks import Shape, Work
from harmony_core.machines.machine import Machine, Precision
from harmony_core.machines.operator_work import block_work, model_work
from harmony_core.models import build, keep_freed_memory
from harmony_core.training.learner import Learner
from harmony_core.training.precision import autocast
from harmony_core.training.recipe import Recipe

_KERNELS = 1 << 15
_TYPED_BYTES: Mapping[Precision, int] = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Sample:
    """Pieces of work in one mode, and how to do them once, one after the other."""

    mode: str
    works: Sequence[Work]
    run: Run


def calibrate(name: str, progress: Callable[[str], None], device: torch.device = CPU) -> Machine:
    """A description of this machine, of one core or one GPU of it, measured in one to two minutes.

    Links between devices are not measured.

    Args:
        name: what the machine is called.
        progress: is told what is being measured.
        device: that is measured.

    Raises:
        UserError: a GPU's kernel is missing that a block asks for, and not waived.
    """
    on_cpu = device.type == "cpu"
    with _one_core() if on_cpu else _whole_device(device):
        described = f"one core of {cpu_name()}" if on_cpu else torch.cuda.get_device_name(device)
        fields: dict[str, Any] = {"name": name, "device": described}
        progress("products, memory and kernels")
        fields |= measure_peaks(device, ON_CPU if on_cpu else ON_GPU)
        fields["operators"] = []
        pieces = chains(BATCHES) if on_cpu else chains(BATCHES) + chains(LARGE_BATCHES, LARGE_FACTOR)
        precisions: tuple[Precision, ...] = ("fp32", "bf16")
        for precision in precisions:
            progress(f"operators in {precision}")
            fields["operators"] += _operators(precision, pieces, device)
        return Machine.parse(fields)


@contextmanager
def _one_core() -> Iterator[None]:
    """One thread, and what it needs to measure as a training runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    # oneDNN reads this at its first product. Blocks that take turns would push each other's kernels out of its cache,
    # which the blocks of one model do not.
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(_KERNELS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _whole_device(device: torch.device) -> Iterator[None]:
    """The device that events are recorded on."""
    with torch.cuda.device(device):
        yield


def _operators(precision: Precision, pieces: Sequence[Chain], device: torch.device) -> list[dict[str, Any]]:
    """The costs of one precision, fitted to the samples of each mode."""
    samples = [sample for chain in pieces for sample in _chain_samples(chain, precision, device)]
    samples += [sample for model in small_models() for sample in _model_samples(model, precision, device)]
    seconds = medians([sample.run for sample in samples])
    found = []
    for mode in ("train", "prefill"):
        chosen = [(sample.works, took) for sample, took in zip(samples, seconds, strict=True) if sample.mode == mode]
        works = [work for parts, _ in chosen for work in parts]
        times = [one for _, took in chosen for one in took]
        costs = fit_costs(works, times)
        ratios = [sum(costs[u] * n for u, n in work.items()) / one for work, one in zip(works, times, strict=True)]
        found.append({"mode": mode, "precision": precision, "source": _source(ratios, device), **_rounded(costs)})
    return found


def _source(ratios: Sequence[float], device: torch.device) -> str:
    """How the costs were found, and how far off they are: predicted over measured seconds of the samples."""
    low, middle, high = np.percentile(ratios, [5, 50, 95])
    seconds = "processor seconds" if device.type == "cpu" else "seconds between events"
    return (
        f"{measured(device)}, {len(ratios)} blocks and small models, {seconds}, least squared relative error; "
        f"predicted over measured {middle:.2f} (5% to 95%: {low:.2f} to {high:.2f})"
    )


def _chain_samples(chain: Chain, precision: Precision, device: torch.device) -> list[Sample]:
    model = build(Architecture(d_model=chain.d_model, vocab_size=2, blocks=chain.blocks)).to(device)
    shape = Shape(chain.d_model, chain.batch_size, chain.context, _TYPED_BYTES[precision])
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        # Inputs are always new, as in training, so that routers choose differently each time.
        return torch.randn(chain.batch_size, chain.context, chain.d_model, generator=generator).to(device)

    def train() -> list[float]:
        seconds = block_seconds(list(model.blocks), draw(), precision)
        model.zero_grad(set_to_none=True)
        return seconds

    def prefill() -> list[float]:
        x, marks = draw(), Marks(device)
        marks.mark()
        with torch.inference_mode(), autocast(device, precision):
            for block in model.blocks:
                x, _ = block(x)
                marks.mark()
        return marks.seconds()

    trained, passed = ([block_work(b, shape, train=t) for b in chain.blocks] for t in (True, False))
    return [Sample("train", trained, train), Sample("prefill", passed, prefill)]


def block_seconds(blocks: Sequence[nn.Module], x_BTD: Tensor, precision: Precision) -> list[float]:
    """Seconds of each block's forward and backward pass, in a chain of them, by the clock of the input's device.

    A block by itself finds in the cache what it has just written; in a model most of that has left by the time of its
    backward pass. A block's backward pass ends when the gradient of its input is whole.

    Args:
        blocks: each takes [B, T, D] and returns as much with an auxiliary loss or None.
        x_BTD: input of the first, [B, T, D], fp32.
        precision: `bf16` runs them under autocast.
    """
    device = x_BTD.device
    x, auxiliary, forward = x_BTD.detach().requires_grad_(), [], Marks(device)
    backward = Marks(device)
    forward.mark()
    with autocast(device, precision):
        for block in blocks:
            x.register_hook(lambda _: backward.mark())
            x, loss = block(x)
            if loss is not None:
                auxiliary.append(loss)
            forward.mark()
        gradients: list[Tensor | None] = [torch.ones_like(x), *(None for _ in auxiliary)]
    backward.mark()
    torch.autograd.backward([x, *auxiliary], gradients)
    return [f + b for f, b in zip(forward.seconds(), reversed(backward.seconds()), strict=True)]


def _model_samples(small: SmallModel, precision: Precision, device: torch.device) -> list[Sample]:
    recipe = Recipe(batch_size=small.batch_size, sequence_length=small.context, precision=precision)
    learner = Learner(small.architecture, recipe, 0, device)
    model, vocab_size = build(small.architecture).to(device), small.architecture.vocab_size
    rows_BT = np.random.default_rng(0).integers(0, vocab_size, (small.batch_size, small.context + 1))
    tokens_BT = torch.from_numpy(rows_BT[:, :-1]).to(device)

    def prefill() -> None:
        with torch.inference_mode(), autocast(device, precision):
            model(tokens_BT)

    def train() -> None:
        learner.step(rows_BT, 1e-3)

    def work(train: bool) -> Work:
        parts = model_work(small.architecture, small.batch_size, small.context, _TYPED_BYTES[precision], train)
        return {unit: sum(part.get(unit, 0.0) for part in parts) for unit in {u for part in parts for u in part}}

    return [
        Sample("train", [work(train=True)], timed(train, device)),
        Sample("prefill", [work(train=False)], timed(prefill, device)),
    ]


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
