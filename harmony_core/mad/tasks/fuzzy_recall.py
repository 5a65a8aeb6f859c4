"""Fuzzy in-context recall: keys and values are words of several tokens (Poli et al. 2024, section 3.1).

N examples, P pairs, S tokens of a word at most, T tokens, R numbers of a pair.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harmony_core import bounds
from harmony_core.mad.draws import Integers, Numbers, below, distinct
from harmony_core.mad.examples import IGNORED, Examples, Split, next_tokens
from harmony_core.mad.task import MAX_VOCABULARY, MadTask, register

_MAX_WORD = 16
# Keys are numbered in 64 bits.
_MOST_KEYS = 2**62


@register
class FuzzyRecall(MadTask):
    """Words of 1 to `key_length` different key tokens, each followed by the word that is its value in this sequence.

    Tests ask with keys of full length alone. The pair that the end asks for is drawn first and stands at a drawn place.
    In `faithful` that place may lie beyond the last pair, and the key be asked without having been shown, as in about
    2% of the authors' test examples. In `fixed` it never does.

    Args:
        key_length: most tokens of a key.
        value_length: most tokens of a value.
    """

    name = "fuzzy_recall"
    short = "FR"
    number = 1
    changes: ClassVar = {
        "vocab_size": (32, 64, 128),
        "length": (256, 512, 1024),
        "num_train": (6400, 3200, 1600, 800),
    }
    vocab_size: int = Field(default=16, ge=2, le=MAX_VOCABULARY)
    length: int = Field(default=128, ge=2, le=bounds.SEQUENCE)
    key_length: int = Field(default=3, ge=1, le=_MAX_WORD)
    value_length: int = Field(default=3, ge=1, le=_MAX_WORD)

    def check(self) -> None:
        """As `MadTask.check`: as many tokens as a word has, and room for one pair before the last."""
        least = 2 * max(self.key_length, self.value_length, 2) + 1
        self.require("vocab_size", least, "the tokens of a word differ, and padding is one more")
        self.require("length", 4 * self.longest, "the pair that is asked and others have to fit")
        if (self.num_keys + 1) ** self.key_length > _MOST_KEYS:
            raise self.wrong("key_length", "there are too many keys to number; use shorter ones, or fewer tokens")

    @property
    def longest(self) -> int:
        """Most tokens of a pair."""
        return self.key_length + self.value_length

    @property
    def num_keys(self) -> int:
        """Tokens of keys, the first ones."""
        return (self.vocab_size - 1) // 2

    @property
    def _per_pair(self) -> int:
        return 2 + self.longest

    @property
    def most_pairs(self) -> int:
        """Pairs that could fit."""
        return -(-self.length // 2)

    @property
    def num_draws(self) -> int:
        """Two lengths and the tokens of each pair that could fit, the pair that is asked, and its place."""
        return (self.most_pairs + 1) * self._per_pair + 1

    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """As `MadTask.make`."""
        pairs_NPR = numbers_NK[:, :-1].reshape(len(numbers_NK), -1, self._per_pair)
        sequences = _Sequences(self, self._draw(pairs_NPR[:, -1], split), numbers_NK[:, -1])
        for pair in range(self.most_pairs):
            if not sequences.open_N.any():
                break
            sequences.add(self._draw(pairs_NPR[:, pair], split))
        return sequences.finish(split)

    def _draw(self, numbers_NR: Numbers, split: Split) -> _Pairs:
        keys, values = self.key_length, self.value_length
        # Tests prompt with the longest keys alone.
        key_size_N = 1 + below(numbers_NR[:, 0], keys) if split == "train" else np.full(len(numbers_NR), keys)
        value_size_N = 1 + below(numbers_NR[:, 1], values)
        key_NS = distinct(numbers_NR[:, 2 : 2 + keys], self.num_keys)
        value_NS = self.num_keys + distinct(numbers_NR[:, 2 + keys :], self.vocab_size - 1 - self.num_keys)
        return _Pairs(_words(key_NS, key_size_N), _words(value_NS, value_size_N))

    def last_place(self, size_N: Integers) -> Integers:
        """The last token at which the pair that is asked may be drawn to stand.

        In `fixed` no pair before it is long enough to end the sequence.

        Args:
            size_N: tokens of that pair.
        """
        if self.mode == "fixed":
            return self.length - size_N - 2 * self.longest
        return self.length - 2 * size_N - 1


_NOTHING = -1


def _words(tokens_NS: Integers, size_N: Integers) -> Integers:
    """The words [N, S], `_NOTHING` after their ends."""
    words_NS: Integers = np.where(np.arange(tokens_NS.shape[1]) < size_N[:, None], tokens_NS, _NOTHING)
    return words_NS


def _first(true_PR: NDArray[np.bool_]) -> Integers:
    """The first true place of each column, all of which have one."""
    found_R: Integers = true_PR.argmax(0) if true_PR.size else np.empty(0, np.int64)
    return found_R


class _Pairs:
    """A key and a value a row, each a word."""

    def __init__(self, key_NS: Integers, value_NS: Integers) -> None:
        self.key_NS, self.value_NS = key_NS, value_NS

    @property
    def size_N(self) -> Integers:
        """Tokens of both."""
        size_N: Integers = (self.key_NS != _NOTHING).sum(1) + (self.value_NS != _NOTHING).sum(1)
        return size_N

    def where(self, chosen_N: NDArray[np.bool_], other: _Pairs) -> _Pairs:
        """Those of the chosen rows, and another's in all others."""
        chosen_N1 = chosen_N[:, None]
        key_NS = np.where(chosen_N1, self.key_NS, other.key_NS)
        return _Pairs(key_NS, np.where(chosen_N1, self.value_NS, other.value_NS))


class _Sequences:
    """Sequences that grow by a pair at a time, each to its own length.

    Args:
        task: its lengths.
        asked: the pair that the end asks for.
        place_N: number in [0, 1) of the place at which it stands.
    """

    def __init__(self, task: FuzzyRecall, asked: _Pairs, place_N: Numbers) -> None:
        shape = (len(place_N), task.length + 1)
        self._tokens_NT = np.full(shape, task.vocab_size - 1)
        self._asked_NT = np.full(shape, IGNORED)
        self._used_N = np.zeros(len(place_N), np.int64)
        self._pair = asked
        self._place_N = below(place_N, task.last_place(asked.size_N) + 1)
        self._limit_N = task.length - asked.size_N - task.longest
        self._shown_N = np.zeros(len(place_N), bool)
        # A key's code says which word it is, so that earlier pairs are compared in one number each.
        self._code_S = (task.num_keys + 1) ** np.arange(task.key_length)
        self._codes_PN = np.zeros((task.most_pairs, len(place_N)), np.int64)
        self._values_PNS = np.zeros((task.most_pairs, *asked.value_NS.shape), np.int64)
        self._num_pairs = 0

    @property
    def open_N(self) -> NDArray[np.bool_]:
        """Which of them take another pair."""
        return self._used_N < self._limit_N

    def add(self, drawn: _Pairs) -> None:
        """One more pair where there is room: the asked one in its place, else the drawn key with the value it has."""
        open_N = self.open_N
        drawn = self._pair.where((self._used_N >= self._place_N) & ~self._shown_N, drawn)
        is_asked_N = (drawn.key_NS == self._pair.key_NS).all(1)
        value_NS = np.where(is_asked_N[:, None], self._pair.value_NS, drawn.value_NS)
        code_N = (drawn.key_NS + 1) @ self._code_S
        same_PN = self._codes_PN[: self._num_pairs] == code_N
        seen_N = same_PN.any(0)
        rows = np.nonzero(seen_N)[0]
        value_NS[rows] = self._values_PNS[_first(same_PN[:, rows]), rows]
        self._shown_N |= open_N & is_asked_N
        self._codes_PN[self._num_pairs], self._values_PNS[self._num_pairs] = code_N, value_NS
        self._num_pairs += 1
        self._write(drawn.key_NS, open_N, np.zeros_like(open_N))
        self._write(value_NS, open_N, seen_N)

    def finish(self, split: Split) -> Examples:
        """Asks for the pair, and pads on the left."""
        every_N = np.ones(len(self._used_N), bool)
        self._write(self._pair.key_NS, every_N, ~every_N)
        self._write(self._pair.value_NS, every_N, every_N)
        width = self._tokens_NT.shape[1]
        # What lies beyond the end is padding already, so that it is turned to the front.
        places_NT = (np.arange(width) + self._used_N[:, None]) % width
        tokens_NT, asked_NT = (np.take_along_axis(one_NT, places_NT, 1) for one_NT in (self._tokens_NT, self._asked_NT))
        return next_tokens(tokens_NT, asked_NT, split)

    def _write(self, word_NS: Integers, rows_N: NDArray[np.bool_], asked_N: NDArray[np.bool_]) -> None:
        for token_N in word_NS.T:
            writes_N = rows_N & (token_N != _NOTHING)
            rows, places = np.nonzero(writes_N)[0], self._used_N[writes_N]
            self._tokens_NT[rows, places] = token_N[writes_N]
            self._asked_NT[rows, places] = np.where(asked_N[writes_N], token_N[writes_N], IGNORED)
            self._used_N += writes_N
