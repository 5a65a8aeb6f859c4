"""Reads prepared tokens: training batches as a function of the step alone, and windows for evaluation.

Shapes: B sequences, T tokens a sequence; a row holds T + 1 tokens, so that inputs are [:, :-1] and targets
[:, 1:].
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmony_core.data.corpus import Split
from harmony_core.data.loading import load_tokenizer
from harmony_core.data.manifest import DataManifest
from harmony_core.data.permutation import permute
from harmony_core.data.shards import open_shard
from harmony_core.data.tokenizer import Tokenizer
from harmony_core.errors import UserError


class TokenDataset:
    """One split of a prepared data folder.

    Args:
        folder: the folder that `prepare` made.
        split: which split.
        verify: compare checksums, once a process for each file; children forked later are spared it.

    Raises:
        UserError: a file is missing, truncated or corrupted.
    """

    def __init__(self, folder: Path | str, split: Split, verify: bool = True) -> None:
        self.folder, self.split = Path(folder), split
        self.manifest = DataManifest.load(folder)
        record = self.manifest.splits[split]
        dtype = self.manifest.dtype
        self._shards = [open_shard(self.folder, shard, dtype, verify) for shard in record.shards]
        self._ends = np.array(list(accumulate(shard.tokens for shard in record.shards)), dtype=np.int64)
        self.num_tokens = int(self._ends[-1])

    @property
    def vocab_size(self) -> int:
        """Tokens of the tokenizer, separator included."""
        return self.manifest.vocab_size

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer."""
        return load_tokenizer(self.folder, self.manifest)

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        """Bytes of text that each token stands for, [vocab_size]; 0 for the separator."""
        return self.tokenizer.token_bytes

    @property
    def documents(self) -> tuple[str, ...]:
        """Names of the split's documents in order, the first 1000 of them."""
        return self.manifest.splits[self.split].documents

    def num_windows(self, sequence_length: int) -> int:
        """Windows of T + 1 tokens in the split, each beginning with the last token of the one before.

        Raises:
            UserError: there is none; the text is too short.
        """
        windows = (self.num_tokens - 1) // sequence_length
        if windows < 1:
            found = f"{self.num_tokens} tokens where one sequence needs {sequence_length + 1}"
            fix = f"use more text, or a sequence_length of at most {self.num_tokens - 1}"
            raise UserError(f"{self.split} split of {self.manifest.source}", found, fix)
        return windows

    def batch(self, step: int, batch_size: int, sequence_length: int, data_seed: int) -> NDArray[np.int64]:
        """The training batch of a step: a function of the arguments and the data alone.

        Rows are numbered through all steps (row i of a step is number step x batch_size + i). Number n reads
        the n-th window of an endless order that holds every window once an epoch, each epoch shuffled anew.
        So a data-parallel rank's share is a slice of the rows, and a larger batch is smaller ones joined.

        Args:
            step: not negative.
            batch_size: B.
            sequence_length: T.
            data_seed: decides the order.

        Returns:
            [B, T + 1] int64.
        """
        windows = self.num_windows(sequence_length)
        number_B = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
        epoch_B, position_B = np.divmod(number_B, windows)
        window_B = np.empty_like(position_B)
        for epoch in np.unique(epoch_B):
            rows = epoch_B == epoch
            window_B[rows] = permute(position_B[rows], windows, data_seed, int(epoch))
        return self._rows(window_B, sequence_length)

    def evaluation_windows(self, sequence_length: int, max_tokens: int) -> NDArray[np.int64]:
        """Numbers of the windows that an evaluation reads: spread evenly over the split, always the same.

        Every document has its share of them by its length, so that a loss speaks of the whole split and not of how it
        begins. Targets never repeat.

        Args:
            sequence_length: T.
            max_tokens: no more targets than this, in whole windows.

        Returns:
            [N] int64, rising.
        """
        if max_tokens < sequence_length:
            fix = f"use at least the sequence length ({sequence_length})"
            raise UserError("tokens to evaluate", max_tokens, fix)
        windows = self.num_windows(sequence_length)
        count = min(windows, max_tokens // sequence_length)
        # Windows are the middles of equal stretches, in whole numbers.
        return (2 * np.arange(count, dtype=np.int64) + 1) * windows // (2 * count)

    def windows(self, batch_size: int, sequence_length: int, max_tokens: int) -> Iterator[NDArray[np.int64]]:
        """Evaluation batches: the rows of `evaluation_windows`, in order.

        Args:
            batch_size: B of all batches but the last, which may have fewer rows.
            sequence_length: T.
            max_tokens: no more targets than this, in whole windows.

        Yields:
            [B, T + 1] int64.
        """
        chosen_N = self.evaluation_windows(sequence_length, max_tokens)
        for start in range(0, len(chosen_N), batch_size):
            yield self._rows(chosen_N[start : start + batch_size], sequence_length)

    def documents_of(self, windows_N: NDArray[np.int64], sequence_length: int) -> NDArray[np.int64]:
        """By window number, the index [N] of the document that its middle lies in.

        A window that reaches over a document's end counts as a whole to one of the two.
        """
        middles_N = windows_N * sequence_length + sequence_length // 2
        return np.searchsorted(self._document_starts, middles_N, side="right") - 1

    @cached_property
    def _document_starts(self) -> NDArray[np.int64]:
        """Places of the separators, one before each document."""
        separator = self.manifest.separator
        firsts = (0, *self._ends[:-1].tolist())
        found = [np.flatnonzero(shard == separator) + first for shard, first in zip(self._shards, firsts, strict=True)]
        return np.concatenate(found).astype(np.int64)

    def _rows(self, window_B: NDArray[np.int64], sequence_length: int) -> NDArray[np.int64]:
        rows = [self._read(int(window) * sequence_length, sequence_length + 1) for window in window_B]
        return np.stack(rows)

    def _read(self, start: int, length: int) -> NDArray[np.int64]:
        """Tokens [start, start + length), which may lie in several shards."""
        parts: list[NDArray[np.int64]] = []
        while length:
            number = int(np.searchsorted(self._ends, start, side="right"))
            offset = start - (int(self._ends[number - 1]) if number else 0)
            part = self._shards[number][offset : offset + length].astype(np.int64)
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
