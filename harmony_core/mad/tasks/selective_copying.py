"""Selective copying: say again, in order, what stood between blanks (Poli et al. 2024, section 3.1).

N examples, C tokens to copy, T tokens.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from harmony_core import bounds
from harmony_core.mad.draws import Numbers, below
from harmony_core.mad.examples import IGNORED, Examples, Split
from harmony_core.mad.task import MAX_VOCABULARY, MadTask, register


@register
class SelectiveCopying(MadTask):
    """Tokens among blanks, the token that asks for them, and a blank for each of them to be said at.

    A blank stands before each token to copy as likely as before any other, and never after the last one, as the
    authors' do; theirs come from a generator of numpy's that nothing seeds by example, ours from the example's numbers.

    Args:
        num_copied: tokens to copy.
    """

    name = "selective_copying"
    short = "SC"
    number = 3
    changes: ClassVar = {
        "vocab_size": (32, 64, 128),
        "length": (512, 1024),
        "num_train": (6400, 3200, 1600, 800),
        "num_copied": (32, 64, 96),
    }
    vocab_size: int = Field(default=16, ge=2, le=MAX_VOCABULARY)
    length: int = Field(default=256, ge=2, le=bounds.SEQUENCE)
    num_copied: int = Field(default=16, ge=1, le=bounds.SEQUENCE)

    def check(self) -> None:
        """As `MadTask.check`: two tokens to tell apart, and room for a blank among them."""
        self.require("vocab_size", 4, "it takes a blank, the token that asks, and two to copy")
        if self.num_blanks < 1:
            fix = f"copying {self.num_copied} tokens takes {2 * self.num_copied + 2} at least; use that, or copy fewer"
            raise self.wrong("length", fix)

    @property
    def num_blanks(self) -> int:
        """Blanks among the tokens to copy."""
        return self.length - 2 * self.num_copied - 1

    @property
    def num_draws(self) -> int:
        """A token for each to copy, a place for each blank."""
        return self.num_copied + self.num_blanks

    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """As `MadTask.make`."""
        blank, asks = self.vocab_size - 2, self.vocab_size - 1
        rows_N1, copied = np.arange(len(numbers_NK))[:, None], self.num_copied
        tokens_NC = below(numbers_NK[:, :copied], blank)
        before_NB = below(numbers_NK[:, copied:], copied)
        counted = np.bincount((before_NB + rows_N1 * copied).ravel(), minlength=len(numbers_NK) * copied)
        places_NC = np.arange(copied) + counted.reshape(-1, copied).cumsum(1)
        inputs_NT = np.full((len(numbers_NK), self.length), blank)
        inputs_NT[rows_N1, places_NC] = tokens_NC
        inputs_NT[:, -copied - 1] = asks
        targets_NT = np.full_like(inputs_NT, IGNORED)
        targets_NT[:, -copied:] = tokens_NC
        return Examples(inputs_NT, targets_NT)
