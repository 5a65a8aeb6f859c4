"""The loss over a large vocabulary, forward and backward: how many rows of the logits are computed together.

Ours; ours as it was, with slices of 2^19 logits; with as many rows as Liger-Kernel's fused loss takes (Hsu et al. 2024,
arXiv:2410.10989, section 3.2: the logits then take what the hidden states take); and PyTorch's, all logits at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import write_result
from benchmarks.operators.isolation import fresh
from benchmarks.operators.memory import MIB, allocated_peak, return_freed_memory
from benchmarks.operators.timing import interleaved, ratios, spread, timed
from harmony_core import tiling
from harmony_core.models import keep_freed_memory
from harmony_core.models.ops.cross_entropy import cross_entropy_reference, linear_cross_entropy

VOCABULARIES = (32_000, 128_256)
D_MODEL, NUM_ROWS, ROUNDS = 256, 1024, 5
TOLERANCE = 1e-4
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@contextmanager
def slices_of(rows: int) -> Iterator[None]:
    """Slices of the logits have so many rows."""
    before = tiling.logits_rows
    tiling.logits_rows = lambda *_: rows
    try:
        yield
    finally:
        tiling.logits_rows = before


def with_rows(rows: int) -> Loss:
    """Our loss over slices of so many rows."""

    def loss(hidden_RD: Tensor, head_VD: Tensor, targets_R: Tensor) -> Tensor:
        with slices_of(rows):
            return linear_cross_entropy(hidden_RD, head_VD, targets_R)

    return loss


def sides(vocab_size: int) -> dict[str, Loss]:
    """The losses that are compared."""
    quotient = math.ceil(NUM_ROWS / math.ceil(vocab_size / D_MODEL))
    return {
        "harmony": linear_cross_entropy,
        "slices of 2^19 logits": with_rows(max(1, tiling.LOGITS_SLICE // vocab_size)),
        "Liger's rows": with_rows(1 << (quotient - 1).bit_length()),
        "all logits": cross_entropy_reference,
    }


def passes(loss: Loss, vocab_size: int) -> Callable[[], Sequence[Tensor]]:
    """A forward and a backward pass of one loss; both gradients."""
    generator = torch.Generator().manual_seed(0)
    hidden_RD = torch.randn(NUM_ROWS, D_MODEL, generator=generator).requires_grad_()
    head_VD = (0.05 * torch.randn(vocab_size, D_MODEL, generator=generator)).requires_grad_()
    targets_R = torch.randint(0, vocab_size, (NUM_ROWS,), generator=generator)
    return lambda: torch.autograd.grad(loss(hidden_RD, head_VD, targets_R), (hidden_RD, head_VD))


def measure_time(vocab_size: int) -> dict[str, Any]:
    """Seconds of each side in turns; to be run in a process of its own."""
    torch.set_num_threads(1)
    keep_freed_memory()
    runs = {name: passes(loss, vocab_size) for name, loss in sides(vocab_size).items()}
    check_equal({name: run() for name, run in runs.items()})
    seconds = interleaved({name: timed(run) for name, run in runs.items()}, ROUNDS)
    return {
        "seconds": {name: spread(each) for name, each in seconds.items()},
        "over_harmony": {name: ratios(each, seconds["harmony"]) for name, each in seconds.items() if name != "harmony"},
    }


def check_equal(gradients: Mapping[str, Sequence[Tensor]]) -> None:
    """Raises RuntimeError where two sides do not have the same gradients."""
    for name, found in gradients.items():
        for one, other in zip(found, gradients["all logits"], strict=True):
            worst = float((one - other).abs().max() / other.abs().max())
            if worst > TOLERANCE:
                raise RuntimeError(f"{name} differs by {worst:.1e} of the largest gradient")


def measure_memory(vocab_size: int, name: str) -> dict[str, float]:
    """MiB that tensors of one side take at the highest point; to be run in a process of its own."""
    return_freed_memory()
    return {"mib": round(allocated_peak(passes(sides(vocab_size)[name], vocab_size)) / MIB, 1)}


def main() -> int:
    rows = []
    for vocab_size in VOCABULARIES:
        peaks = {name: fresh(measure_memory, vocab_size, name) for name in sides(vocab_size)}
        rows.append({"vocab_size": vocab_size, **fresh(measure_time, vocab_size), "peak": peaks})
        print(rows[-1])
    write_result("head", {"d_model": D_MODEL, "rows": NUM_ROWS, "rounds": ROUNDS, "by_vocabulary": rows})
    return int(any("error" in one for row in rows for one in (row, *row["peak"].values())))


if __name__ == "__main__":
    sys.exit(main())
