"""Memorisation: a map from keys to values that only the weights can hold (Poli et al. 2024, section 3.1).

N examples, P pairs, T tokens, M keys.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from harmony_core import bounds
from harmony_core.mad.draws import Integers, Numbers, below
from harmony_core.mad.examples import IGNORED, Examples, Split
from harmony_core.mad.task import MAX_EXAMPLES, MAX_VOCABULARY, MadTask, register

# Beside the numbers of the splits, so that the map shares none with any example.
_OF_THE_MAP = 3


@register
class Memorisation(MadTask):
    """Keys, each followed by the token at which its value is asked; all splits share the map."""

    name = "memorisation"
    short = "M"
    number = 5
    changes: ClassVar = {"vocab_size": (512, 1024, 2048, 4096, 8192)}
    vocab_size: int = Field(default=256, ge=2, le=MAX_VOCABULARY)
    length: int = Field(default=32, ge=2, le=bounds.SEQUENCE)
    num_train: int = Field(default=256, ge=1, le=MAX_EXAMPLES)

    def check(self) -> None:
        """As `MadTask.check`: two keys with values."""
        self.require("vocab_size", 5, "it takes the token that asks, two keys and two values")
        if self.length % 2:
            raise self.wrong("length", "a key and the token that asks are two; use an even number")

    @property
    def num_keys(self) -> int:
        """Keys, the first tokens; the others but the last are values."""
        return (self.vocab_size - 1) // 2

    @property
    def num_draws(self) -> int:
        """A key a pair."""
        return self.length // 2

    def values(self, seed: int) -> Integers:
        """The value of each key [M], no two alike."""
        generator = np.random.default_rng(np.random.SeedSequence((seed, self.number, _OF_THE_MAP)))
        others = np.arange(self.num_keys, self.vocab_size - 1)
        return generator.permutation(others)[: self.num_keys]

    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """As `MadTask.make`."""
        keys_NP = below(numbers_NK, self.num_keys)
        inputs_NT = np.full((len(keys_NP), self.length), self.vocab_size - 1)
        targets_NT = np.full_like(inputs_NT, IGNORED)
        inputs_NT[:, ::2] = keys_NP
        targets_NT[:, 1::2] = self.values(seed)[keys_NP]
        return Examples(inputs_NT, targets_NT)
