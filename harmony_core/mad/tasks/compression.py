"""Compression: all tokens again from the vector of the last one (Poli et al. 2024, section 3.1).

N examples, T tokens.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from harmony_core import bounds
from harmony_core.mad.draws import Numbers, below
from harmony_core.mad.examples import Examples, Split
from harmony_core.mad.task import MAX_VOCABULARY, MadTask, register


@register
class Compression(MadTask):
    """Random tokens and the one that ends them; all of them are asked, the last one too."""

    name = "compression"
    short = "C"
    number = 4
    encodes = True
    changes: ClassVar = {
        "vocab_size": (32, 64, 128),
        "length": (64, 128, 256),
        "num_train": (6400, 3200, 1600, 800),
    }
    vocab_size: int = Field(default=16, ge=2, le=MAX_VOCABULARY)
    length: int = Field(default=32, ge=2, le=bounds.SEQUENCE)

    def check(self) -> None:
        """As `MadTask.check`: two tokens to tell apart."""
        self.require("vocab_size", 3, "it takes the token that ends a sequence, and two others")

    @property
    def num_draws(self) -> int:
        """One a random token."""
        return self.length - 1

    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """As `MadTask.make`."""
        ends = self.vocab_size - 1
        tokens_NT = np.pad(below(numbers_NK, ends), ((0, 0), (0, 1)), constant_values=ends)
        return Examples(tokens_NT, tokens_NT)
