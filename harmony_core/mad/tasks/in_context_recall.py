"""In-context recall: which value followed this key before? (Poli et al. 2024, section 3.1).

N examples, P pairs of a key and its value, M keys of the vocabulary, T tokens.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from harmony_core import bounds
from harmony_core.mad.draws import Integers, Numbers, below
from harmony_core.mad.examples import IGNORED, Examples, Split, next_tokens
from harmony_core.mad.task import MAX_VOCABULARY, MadTask, register


class Recall(MadTask):
    """Pairs of a key and the value that it has in this sequence; the last key was there before."""

    length: int = Field(default=128, ge=2, le=bounds.SEQUENCE)

    def check(self) -> None:
        """As `MadTask.check`: two keys and two values, and a pair before the last one."""
        self.require("length", 4, "a pair, and the same key asked again, are four tokens")
        if self.length % 2:
            raise self.wrong("length", "pairs are two tokens each; use an even number")
        self.require("vocab_size", 4 + self.noise_tokens, "it takes two keys and two values")

    @property
    def noise_tokens(self) -> int:
        """Tokens that are neither keys nor values."""
        return 0

    @property
    def num_keys(self) -> int:
        """Keys, the first tokens; all others that are no noise are values."""
        return (self.vocab_size - self.noise_tokens) // 2

    @property
    def num_values(self) -> int:
        """Values, the tokens after the keys."""
        return self.vocab_size - self.noise_tokens - self.num_keys

    @property
    def num_pairs(self) -> int:
        """Pairs before the last one."""
        return self.length // 2 - 1

    @property
    def num_tokens(self) -> int:
        """The sequence but for its last token, which is a target alone."""
        return self.length - 1

    @property
    def num_draws(self) -> int:
        """A key a pair, a value a key of the vocabulary, and which key is asked last."""
        return self.num_pairs + self.num_keys + 1

    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """As `MadTask.make`."""
        keys_NP = below(numbers_NK[:, : self.num_pairs], self.num_keys)
        return self.pairs(keys_NP, numbers_NK[:, self.num_pairs :], split)

    def pairs(
        self, keys_NP: Integers, numbers_NK: Numbers, split: Split, noise_NP2: Integers | None = None
    ) -> Examples:
        """Sequences with these keys.

        Args:
            keys_NP: of the pairs before the last one; -1 is noise.
            numbers_NK: for the values, and for which of the keys that were shown is asked last.
            split: says what is asked.
            noise_NP2: the two tokens of each pair that is noise.
        """
        rows_N, num_pairs = np.arange(len(keys_NP)), keys_NP.shape[1]
        values_NM = self.num_keys + below(numbers_NK[:, : self.num_keys], self.num_values)
        seen_NM = np.zeros((len(keys_NP), self.num_keys), bool)
        tokens_NT = np.empty((len(keys_NP), 2 * num_pairs + 2), np.int64)
        asked_NT = np.full_like(tokens_NT, IGNORED)
        for pair, key_N in enumerate(keys_NP.T):
            is_key_N = key_N >= 0
            value_N = values_NM[rows_N, key_N]
            tokens_NT[:, 2 * pair], tokens_NT[:, 2 * pair + 1] = key_N, value_N
            asked_NT[:, 2 * pair + 1] = np.where(is_key_N & seen_NM[rows_N, key_N], value_N, IGNORED)
            seen_NM[rows_N[is_key_N], key_N[is_key_N]] = True
            if noise_NP2 is not None:
                tokens_NT[~is_key_N, 2 * pair : 2 * pair + 2] = noise_NP2[~is_key_N, pair]
        asked_N = _one_of(seen_NM, numbers_NK[:, self.num_keys])
        tokens_NT[:, -2], tokens_NT[:, -1] = asked_N, values_NM[rows_N, asked_N]
        asked_NT[:, -1] = tokens_NT[:, -1]
        return next_tokens(tokens_NT, asked_NT, split)


def _one_of(allowed_NM: np.ndarray, numbers_N: Numbers) -> Integers:
    """The number of one of the allowed places of each row, each as likely."""
    chosen_N = below(numbers_N, allowed_NM.sum(1))
    found_N: Integers = (allowed_NM.cumsum(1) > chosen_N[:, None]).argmax(1)
    return found_N


@register
class InContextRecall(Recall):
    """Every token is a key or a value."""

    name = "in_context_recall"
    short = "CR"
    number = 0
    changes: ClassVar = {
        "vocab_size": (32, 64, 128),
        "length": (256, 512, 1024),
        "num_train": (6400, 3200, 1600, 800),
    }
    vocab_size: int = Field(default=16, ge=2, le=MAX_VOCABULARY)
