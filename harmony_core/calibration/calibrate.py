"""Measures this machine for the cost model: its peaks, and what each operator costs where they run one by one.

Everything is timed in one process of one thread, in rounds in which every piece has its turn; a piece's time is its
median over the rounds, in processor seconds, so that what other processes take is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harmony_core.architecture import Architecture
from harmony_core.calibration.chains import Chain, SmallModel, chains, fit_costs, small_models
from harmony_core.calibration.peaks import ON_GPU, measure_peaks, measured
from harmony_core.calibration.timing import CPU, Run, medians, timed
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

    Of a GPU these are the roofline's figures; its operators are not timed one by one, nor are its links.

    Args:
        name: what the machine is called.
        progress: is told what is being measured.
        device: that is measured.
    """
    if device.type == "cuda":
        progress("products, memory and kernels")
        return Machine.parse(
            {"name": name, "device": torch.cuda.get_device_name(device), **measure_peaks(device, ON_GPU)}
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    # oneDNN reads this at its first product. Blocks that take turns would push each other's kernels out of its cache,
    # which the blocks of one model do not.
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(_KERNELS)
    try:
        fields: dict[str, Any] = {"name": name, "device": f"one core of {cpu_name()}"}
        progress("products, memory and kernels")
        fields |= measure_peaks()
        fields["operators"] = []
        precisions: tuple[Precision, ...] = ("fp32", "bf16")
        for precision in precisions:
            progress(f"operators in {precision}")
            fields["operators"] += _operators(precision)
        return Machine.parse(fields)
    finally:
        torch.set_num_threads(threads)


def _operators(precision: Precision) -> list[dict[str, Any]]:
    """The costs of one precision, fitted to the samples of each mode."""
    samples = [sample for chain in chains() for sample in _chain_samples(chain, precision)]
    samples += [sample for model in small_models() for sample in _model_samples(model, precision)]
    seconds = medians([sample.run for sample in samples])
    found = []
    for mode in ("train", "prefill"):
        chosen = [(sample.works, took) for sample, took in zip(samples, seconds, strict=True) if sample.mode == mode]
        works = [work for parts, _ in chosen for work in parts]
        times = [one for _, took in chosen for one in took]
        costs = fit_costs(works, times)
        ratios = [sum(costs[u] * n for u, n in work.items()) / one for work, one in zip(works, times, strict=True)]
        found.append({"mode": mode, "precision": precision, "source": _source(ratios), **_rounded(costs)})
    return found


def _source(ratios: Sequence[float]) -> str:
    """How the costs were found, and how far off they are: predicted over measured seconds of the samples."""
    low, middle, high = np.percentile(ratios, [5, 50, 95])
    return (
        f"{measured()}, {len(ratios)} blocks and small models, processor seconds, least squared relative error; "
        f"predicted over measured {middle:.2f} (5% to 95%: {low:.2f} to {high:.2f})"
    )


def _chain_samples(chain: Chain, precision: Precision) -> list[Sample]:
    model = build(Architecture(d_model=chain.d_model, vocab_size=2, blocks=chain.blocks))
    shape = Shape(chain.d_model, chain.batch_size, chain.context, _TYPED_BYTES[precision])
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        # Inputs are always new, as in training, so that routers choose differently each time.
        return torch.randn(chain.batch_size, chain.context, chain.d_model, generator=generator)

    def train() -> list[float]:
        seconds = block_seconds(list(model.blocks), draw(), precision)
        model.zero_grad(set_to_none=True)
        return seconds

    def prefill() -> list[float]:
        x = draw()
        ticks = [time.process_time()]
        with torch.inference_mode(), autocast(CPU, precision):
            for block in model.blocks:
                x, _ = block(x)
                ticks.append(time.process_time())
        return _differences(ticks)

    trained, passed = ([block_work(b, shape, train=t) for b in chain.blocks] for t in (True, False))
    return [Sample("train", trained, train), Sample("prefill", passed, prefill)]


def block_seconds(blocks: Sequence[nn.Module], x_BTD: Tensor, precision: Precision) -> list[float]:
    """Processor seconds of each block's forward and backward pass, in a chain of them.

    A block by itself finds in the cache what it has just written; in a model most of that has left by the time of its
    backward pass. A block's backward pass ends when the gradient of its input is whole.

    Args:
        blocks: each takes [B, T, D] and returns as much with an auxiliary loss or None.
        x_BTD: input of the first, [B, T, D], fp32, on the CPU.
        precision: `bf16` runs them under autocast.
    """
    x, auxiliary, forward, backward = x_BTD.detach().requires_grad_(), [], [time.process_time()], []
    with autocast(CPU, precision):
        for block in blocks:
            x.register_hook(lambda _: backward.append(time.process_time()))
            x, loss = block(x)
            if loss is not None:
                auxiliary.append(loss)
            forward.append(time.process_time())
        gradients: list[Tensor | None] = [torch.ones_like(x), *(None for _ in auxiliary)]
    begin = time.process_time()
    torch.autograd.backward([x, *auxiliary], gradients)
    back = reversed(_differences([begin, *backward]))
    return [f + b for f, b in zip(_differences(forward), back, strict=True)]


def _differences(ticks: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(ticks)]


def _model_samples(small: SmallModel, precision: Precision) -> list[Sample]:
    recipe = Recipe(batch_size=small.batch_size, sequence_length=small.context, precision=precision)
    learner = Learner(small.architecture, recipe, 0, CPU)
    model, vocab_size = build(small.architecture), small.architecture.vocab_size
    rows_BT = np.random.default_rng(0).integers(0, vocab_size, (small.batch_size, small.context + 1))
    tokens_BT = torch.from_numpy(rows_BT[:, :-1])

    def prefill() -> None:
        with torch.inference_mode(), autocast(CPU, precision):
            model(tokens_BT)

    def train() -> None:
        learner.step(rows_BT, 1e-3)

    def work(train: bool) -> Work:
        parts = model_work(small.architecture, small.batch_size, small.context, _TYPED_BYTES[precision], train)
        return {unit: sum(part.get(unit, 0.0) for part in parts) for unit in {u for part in parts for u in part}}

    return [
        Sample("train", [work(train=True)], timed(train)),
        Sample("prefill", [work(train=False)], timed(prefill)),
    ]


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
