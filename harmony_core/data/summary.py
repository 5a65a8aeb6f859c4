"""What a data folder has, in lines for a person, with a warning where a number measured on it would be noise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harmony_core.atomic import patiently
from harmony_core.base import Frozen
from harmony_core.data.corpus import SPLITS, LeftOut
from harmony_core.data.manifest import DataManifest
from harmony_core.data.shards import Tokens

FILE_NAME = "summary.json"
# The default sequence; windows of other lengths give about the same error, since it is that of the whole split.
WINDOW_TOKENS = 256
# More training text hardly changes how often a token is.
_COUNTED_TOKENS = 2**26
# Above these shares a person is warned. Good architectures of a search differ by a few percent.
_NOISY, _LARGE_SHARE, _MANY_BAD = 0.01, 0.1, 0.01


class Summary(Frozen):
    """What preparing found, beside what the manifest has.

    Args:
        duplicates: documents that were left out, since their text is there already.
        bad_records: records that were skipped on request.
        bits_per_byte: of the test split, by a model that knows how often each token is in training and nothing else.
        standard_error: of that, from the spread of windows; None of one window.
    """

    format_version: Literal[1] = 1
    duplicates: int = Field(ge=0)
    bad_records: int = Field(ge=0)
    bits_per_byte: float = Field(ge=0)
    standard_error: float | None = Field(ge=0)

    @property
    def relative_error(self) -> float | None:
        """The standard error as a share of the loss; None where there is none."""
        return None if self.standard_error is None else self.standard_error / self.bits_per_byte

    @classmethod
    def load(cls, folder: Path) -> Summary | None:
        """The summary of a folder; None where it has none that can be read, as before there were any."""
        try:
            return cls.model_validate(json.loads(patiently((folder / FILE_NAME).read_bytes)))
        except (OSError, ValueError, RecursionError):
            return None


def summarise(
    left_out: LeftOut, train: Iterable[Tokens], test: Iterable[Tokens], token_bytes_V: NDArray[np.int64]
) -> Summary:
    """How well the test split is known: the standard error of the plainest model's bits per byte on it.

    It is that of a ratio of two sums over windows (Cochran 1977, Sampling Techniques, section 2.11), as for a trained
    model's loss.

    Args:
        left_out: what was read and is in no split.
        train: tokens of the training split, in pieces.
        test: those of the test split, in pieces of whole windows; what is left at the end of one is a shorter window.
        token_bytes_V: bytes that each token stands for.
    """
    count_V = np.ones(len(token_bytes_V), dtype=np.int64)
    left = _COUNTED_TOKENS
    for piece in train:
        count_V += np.bincount(piece[:left], minlength=len(count_V))
        left -= min(left, len(piece))
        if not left:
            break
    bits_V = np.log2(count_V.sum() / count_V)
    sums = [(_by_window(bits_V[piece]), _by_window(token_bytes_V[piece])) for piece in test]
    bits_N, bytes_N = np.concatenate([bits for bits, _ in sums]), np.concatenate([size for _, size in sums])
    total = max(float(bytes_N.sum()), 1.0)
    ratio, windows = float(bits_N.sum()) / total, len(bits_N)
    spread = float(((bits_N - ratio * bytes_N) ** 2).sum())
    error = math.sqrt(windows / (windows - 1) * spread) / total if windows > 1 else None
    return Summary(
        duplicates=left_out.duplicates, bad_records=left_out.bad_records, bits_per_byte=ratio, standard_error=error
    )


def _by_window(value_N: NDArray[Any]) -> NDArray[np.float64]:
    """The sum over each window."""
    return np.add.reduceat(value_N, np.arange(0, len(value_N), WINDOW_TOKENS)).astype(np.float64)


def summary_lines(manifest: DataManifest, summary: Summary) -> Iterator[str]:
    """A line for each split, one for what was left out, and the standard error."""
    total = sum(split.bytes for split in manifest.splits.values())
    for name in SPLITS:
        split = manifest.splits[name]
        yield (
            f"{name}: {split.num_documents:,} document(s), {split.bytes:,} bytes ({split.bytes / total:.1%}), "
            f"{split.tokens:,} tokens"
        )
    yield f"left out: {summary.duplicates:,} duplicate(s), {summary.bad_records:,} bad record(s)"
    if summary.relative_error is not None:
        yield (
            f"standard error of the test split: {summary.relative_error:.2%} of the loss "
            f"({summary.bits_per_byte:.3f} +- {summary.standard_error:.3f} bits per byte by how often each token is)"
        )


def warning_lines(manifest: DataManifest, summary: Summary) -> Iterator[str]:
    """What of the data makes a number that is measured on it noise."""
    error = summary.relative_error
    if error is None:
        yield f"warning: the test split has no two windows of {WINDOW_TOKENS} tokens; a loss on it says nothing"
    elif error > _NOISY:
        yield (
            f"warning: by so little test text a loss is known to {2 * error:.1%} (two standard errors), and a smaller "
            "difference between two models may be noise; use more text"
        )
    total = sum(split.bytes for split in manifest.splits.values())
    for name in SPLITS[1:]:
        share = manifest.splits[name].bytes / total
        if share > _LARGE_SHARE:
            yield f"warning: the {name} split has {share:.0%} of the text, which training lacks"
    documents = sum(split.num_documents for split in manifest.splits.values())
    if summary.duplicates > documents:
        yield f"warning: most documents were duplicates; {documents:,} of {documents + summary.duplicates:,} are left"
    if summary.bad_records > _MANY_BAD * (documents + summary.duplicates):
        yield f"warning: {summary.bad_records:,} bad records were skipped; look at the first of them"
