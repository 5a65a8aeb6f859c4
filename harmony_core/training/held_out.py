"""The loss on a held-out split: its mean, how far it may be off, and what each work of the split had."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A split of more documents (lines of JSONL, say) is no list of works.
MAX_WORKS = 64


@dataclasses.dataclass(frozen=True)
class WorkLoss:
    """What one document of a split had.

    Args:
        work: its name in the data's manifest.
        bytes: of text that was predicted.
        bits_per_byte: of them.
    """

    work: str
    bytes: int
    bits_per_byte: float


@dataclasses.dataclass(frozen=True)
class HeldOutLoss:
    """The loss over the windows of a split.

    Args:
        loss: mean in nats per token.
        bits_per_byte: all nats as bits over all bytes.
        standard_error: of `bits_per_byte`, from the spread of windows, in bits per byte; None of one window.
        works: by document, in the split's order, those that had a window; None where there are too many.
    """

    loss: float
    bits_per_byte: float
    standard_error: float | None
    works: tuple[WorkLoss, ...] | None


def summarise(
    nats_N: NDArray[np.float64],
    bytes_N: NDArray[np.int64],
    tokens: int,
    documents_N: NDArray[np.int64],
    names: Sequence[str],
) -> HeldOutLoss:
    """What N windows say together.

    The standard error is that of a ratio of two sums over windows that are taken as drawn independently (Cochran 1977,
    Sampling Techniques, section 2.11); spread evenly, they vary rather less.

    Args:
        nats_N: of each window.
        bytes_N: of text that each window's targets stand for.
        tokens: targets of one window.
        documents_N: index of each window's document.
        names: of the split's documents, in order; a split of more than `MAX_WORKS` has no table of works.
    """
    bits_N = nats_N / math.log(2)
    num_bytes = int(bytes_N.sum())
    ratio = float(bits_N.sum()) / num_bytes
    return HeldOutLoss(
        loss=float(nats_N.sum()) / (len(nats_N) * tokens),
        bits_per_byte=ratio,
        standard_error=_standard_error(bits_N - ratio * bytes_N, num_bytes),
        works=_works(bits_N, bytes_N, documents_N, names) if len(names) <= MAX_WORKS else None,
    )


def _standard_error(residuals_N: NDArray[np.float64], num_bytes: int) -> float | None:
    count = len(residuals_N)
    if count < 2:
        return None
    return math.sqrt(count / (count - 1) * float((residuals_N**2).sum())) / num_bytes


def _works(
    bits_N: NDArray[np.float64], bytes_N: NDArray[np.int64], documents_N: NDArray[np.int64], names: Sequence[str]
) -> tuple[WorkLoss, ...]:
    found = []
    for document in np.unique(documents_N):
        of_it = documents_N == document
        # A window of separators alone holds no text.
        if num_bytes := int(bytes_N[of_it].sum()):
            found.append(WorkLoss(names[document], num_bytes, float(bits_N[of_it].sum()) / num_bytes))
    return tuple(found)
