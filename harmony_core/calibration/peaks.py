"""What the roofline asks of a machine, measured: peaks of products, shares of them, memory, an operation's cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import torch

from harmony_core.calibration.timing import CPU, medians, timed
from harmony_core.host import usable_cores
from harmony_core.models.ops.attention.attention import attend
from harmony_core.models.ops.matmul import product
from harmony_core.models.ops.rms_norm import rms_norm

_CALLS = 10_000


@dataclass(frozen=True)
class Shapes:
    """What is computed to find a device's figures.

    Args:
        copied: fp32 elements that are copied.
        normed: rows and width of what is normed.
        large: rows, inner and outer width of the product at whose rate the peak is read.
        shaped: the same of a product as models have it.
        attention: sequences, tokens, heads and width of a head.
    """

    copied: int
    normed: tuple[int, int]
    large: tuple[int, int, int]
    shaped: tuple[int, int, int]
    attention: tuple[int, int, int, int]


# A nano model's on a core; on a GPU those of a layer of about a billion parameters.
ON_CPU = Shapes(1 << 26, (1 << 17, 128), (4096, 256, 1024), (4096, 128, 704), (16, 256, 4, 32))
ON_GPU = Shapes(1 << 28, (1 << 15, 4096), (8192, 8192, 8192), (8192, 2048, 5632), (8, 2048, 16, 128))


def measure_peaks(device: torch.device = CPU, shapes: Shapes = ON_CPU) -> dict[str, Any]:
    """The fields of a `Machine` but for its name; of a CPU one core's, in one thread.

    Args:
        device: that is measured.
        shapes: what is computed there.
    """
    stream = torch.ones(shapes.copied, device=device)
    wide, ones = torch.ones(shapes.normed, device=device), torch.ones(shapes.normed[1], device=device)
    small, target = torch.ones(8, device=device), torch.empty_like(stream)

    def start_many() -> None:
        for _ in range(_CALLS):
            small.add_(1.0)

    def norm() -> None:
        with torch.inference_mode():
            rms_norm(wide, ones, 1e-6)

    runs = [timed(run, device) for run in (lambda: target.copy_(stream), norm, start_many)]
    (copy,), (normed,), (calls,) = medians(runs)
    bandwidth = 2 * stream.nbytes / copy
    said = f"copy of {stream.nbytes >> 20} MB, read and write counted"
    share = min(1.0, 2 * wide.nbytes / normed / bandwidth)
    return {
        "bf16": _compute(torch.bfloat16, device, shapes),
        "fp32": _compute(torch.float32, device, shapes),
        "memory_bandwidth": _figure(bandwidth, said, device),
        "bandwidth_efficiency": _figure(share, f"RMSNorm of {wide.nbytes >> 20} MB, one read and one write", device),
        "kernel_seconds": _figure(calls / _CALLS, "an addition in place to 8 elements", device),
        **_memory(device),
    }


def _memory(device: torch.device) -> dict[str, Any]:
    if device.type == "cpu":
        cores, total = usable_cores(), psutil.virtual_memory().total
        return {"memory_bytes": _figure(total / cores, f"the system's memory over {cores} cores", device)}
    free, total = torch.cuda.mem_get_info(device)
    # What is neither free nor the allocator's belongs to contexts: this one's, and others'.
    context = max(1.0, total - free - torch.cuda.memory_reserved(device))
    return {
        "memory_bytes": _figure(total, "of the device", device),
        "reserved_memory_bytes": _figure(context, "contexts and libraries, no communication", device),
    }


def _compute(dtype: torch.dtype, device: torch.device, shapes: Shapes) -> dict[str, Any]:
    """Of one type: a large product, one as models have it, and attention forward and backward."""
    large, shaped, (sequences, length, heads, width) = shapes.large, shapes.shaped, shapes.attention

    def ones(*size: int, learned: bool = False) -> torch.Tensor:
        return torch.ones(size, dtype=dtype, device=device, requires_grad=learned)

    operands = [(ones(m, k), ones(n, k)) for m, k, n in (large, shaped)]
    q, k, v = (ones(sequences, length, heads, width, learned=True) for _ in range(3))
    gradient = ones(sequences, length, heads, width)

    def attention() -> None:
        torch.autograd.grad(attend(q, k, v, 1.0), (q, k, v), gradient)

    runs = [lambda: product(*operands[0]), lambda: product(*operands[1]), attention]
    seconds = [took for (took,) in medians([timed(run, device) for run in runs])]
    peak, at_shape = (2 * math.prod(shape) / took for shape, took in zip((large, shaped), seconds, strict=False))
    # A causal score takes four FLOPs for each element of the head forwards, and twice as many backwards.
    mixing = 3 * 4 * sequences * heads * width * length * (length + 1) / 2 / seconds[2]
    said = f"attention and its gradients, {sequences} x {heads} heads of {width}, {length} tokens"
    return {
        "peak_flops": _figure(peak, "x".join(map(str, large)) + " product", device),
        "matrix_efficiency": _figure(min(1.0, at_shape / peak), "x".join(map(str, shaped)) + " product", device),
        "mixing_efficiency": _figure(min(1.0, mixing / peak), said, device),
    }


def _figure(value: float, what: str, device: torch.device) -> dict[str, Any]:
    return {"value": float(f"{value:.4g}"), "source": f"{measured(device)}, {what}"}


def measured(device: torch.device = CPU) -> str:
    """How a figure's source begins."""
    how = "one thread" if device.type == "cpu" else f"on {torch.cuda.get_device_name(device)}"
    return f"measured: {datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, {how}"
