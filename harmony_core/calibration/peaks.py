"""What the roofline asks of a machine, measured: peaks of products, shares of them, memory, an operation's cost."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import psutil
import torch

from harmony_core.calibration.timing import medians, timed
from harmony_core.host import usable_cores
from harmony_core.models.ops.attention.attention import attend
from harmony_core.models.ops.matmul import product
from harmony_core.models.ops.rms_norm import rms_norm

_CALLS = 10_000


def measure_peaks() -> dict[str, Any]:
    """The fields of a `Machine` but for its name, in one thread."""
    stream = torch.ones(1 << 26)
    wide, ones, small = torch.ones(1 << 17, 128), torch.ones(128), torch.ones(8)
    target = torch.empty_like(stream)

    def start_many() -> None:
        for _ in range(_CALLS):
            small.add_(1.0)

    def norm() -> None:
        with torch.inference_mode():
            rms_norm(wide, ones, 1e-6)

    runs = [timed(run) for run in (lambda: target.copy_(stream), norm, start_many)]
    (copy,), (normed,), (calls,) = medians(runs)
    bandwidth = 2 * stream.nbytes / copy
    cores = usable_cores()
    return {
        "bf16": _compute(torch.bfloat16),
        "fp32": _compute(torch.float32),
        "memory_bandwidth": _figure(bandwidth, "copy of 256 MB, read and write counted"),
        "memory_bytes": _figure(psutil.virtual_memory().total / cores, f"the system's memory over {cores} cores"),
        "bandwidth_efficiency": _figure(
            2 * wide.nbytes / normed / bandwidth, "RMSNorm of 64 MB, one read and one write"
        ),
        "kernel_seconds": _figure(calls / _CALLS, "an addition in place to 8 elements"),
    }


def _compute(dtype: torch.dtype) -> dict[str, Any]:
    """Of one type: a large product, one of a nano model's shape, and attention forward and backward."""
    tokens, heads, width, sequences, length = 4096, 4, 32, 16, 256
    large, shaped = ((tokens, 256, 1024), (tokens, 128, 704))
    operands = [(torch.ones(m, k, dtype=dtype), torch.ones(n, k, dtype=dtype)) for m, k, n in (large, shaped)]
    q, k, v = (torch.ones(sequences, length, heads, width, dtype=dtype, requires_grad=True) for _ in range(3))
    ones = torch.ones(sequences, length, heads, width, dtype=dtype)

    def attention() -> None:
        torch.autograd.grad(attend(q, k, v, 1.0), (q, k, v), ones)

    runs = [lambda: product(*operands[0]), lambda: product(*operands[1]), attention]
    seconds = [took for (took,) in medians([timed(run) for run in runs])]
    peak, at_shape = (2 * math.prod(shape) / took for shape, took in zip((large, shaped), seconds, strict=False))
    # A causal score takes four FLOPs for each element of the head forwards, and twice as many backwards.
    mixing = 3 * 4 * sequences * heads * width * length * (length + 1) / 2 / seconds[2]
    return {
        "peak_flops": _figure(peak, "x".join(map(str, large)) + " product"),
        "matrix_efficiency": _figure(min(1.0, at_shape / peak), "x".join(map(str, shaped)) + " product"),
        "mixing_efficiency": _figure(mixing / peak, "attention and its gradients, 16 x 4 heads of 32, 256 tokens"),
    }


def _figure(value: float, what: str) -> dict[str, Any]:
    return {"value": float(f"{value:.4g}"), "source": f"{measured()}, {what}"}


def measured() -> str:
    """How a figure's source begins."""
    return f"measured: {datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, one thread"
