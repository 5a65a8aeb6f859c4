"""Resolves `precision: auto` for a machine, once, by measuring the operation that decides it."""

from __future__ import annotations

import statistics
import time

import torch

from harmony_core.training.recipe import Precision, ResolvedPrecision

# bf16 pays only when the processor multiplies it natively: matrix products then run several times
# faster than in fp32 (AMX, AVX512-BF16: 4 to 9 times), and slower where they are emulated.
SPEEDUP_NEEDED = 2.0


def resolve_precision(precision: Precision, device: torch.device) -> ResolvedPrecision:
    """`fp32` or `bf16`; a request other than `auto` is kept as it is."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if bf16_speedup() >= SPEEDUP_NEEDED else "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context that a forward pass runs in: bf16 autocast over fp32 weights, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def bf16_speedup(rounds: int = 7) -> float:
    """Median ratio of fp32 to bf16 time of a training-sized matrix product on one CPU thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        operands = {
            dtype: (torch.ones(2048, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype))
            for dtype in (torch.float32, torch.bfloat16)
        }
        for a, b in operands.values():
            a @ b
        ratios = [_seconds(*operands[torch.float32]) / _seconds(*operands[torch.bfloat16]) for _ in range(rounds)]
        return statistics.median(ratios)
    finally:
        torch.set_num_threads(threads)


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    begin = time.perf_counter()
    for _ in range(4):
        a @ b
    return time.perf_counter() - begin
