"""Noisy in-context recall: the same with tokens between that mean nothing (Poli et al. 2024, section 3.1).

N examples, P pairs, K numbers.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from harmony_core.mad.draws import Numbers, below
from harmony_core.mad.examples import Examples, Split
from harmony_core.mad.task import MAX_VOCABULARY, register
from harmony_core.mad.tasks.in_context_recall import Recall


@register
class NoisyRecall(Recall):
    """Each pair is two tokens of noise with a fixed probability, but for one that is kept.

    `faithful` may name the pair that asks as the one that is kept, and then all others may be noise, as the authors'
    does; the first pair is kept where they all are, where the authors' fails.

    Args:
        num_noise: tokens of noise, the last ones of the vocabulary.
        noise_share: probability that a pair is noise.
    """

    name = "noisy_recall"
    short = "NR"
    number = 2
    changes: ClassVar = {
        "vocab_size": (48, 80, 144),
        "length": (256, 512, 1024),
        "num_train": (6400, 3200, 1600, 800),
        "noise_share": (0.4, 0.6, 0.8),
    }
    vocab_size: int = Field(default=32, ge=2, le=MAX_VOCABULARY)
    num_noise: int = Field(default=16, ge=1, le=MAX_VOCABULARY)
    noise_share: float = Field(default=0.2, ge=0, lt=1)

    @property
    def noise_tokens(self) -> int:
        """As `Recall.noise_tokens`."""
        return self.num_noise

    @property
    def num_draws(self) -> int:
        """As for plain recall; whether a pair is noise and its two tokens; and which pair is kept."""
        return super().num_draws + 3 * self.num_pairs + 1

    def make(self, numbers_NK: Numbers, split: Split, seed: int) -> Examples:
        """As `MadTask.make`."""
        pairs, rows_N = self.num_pairs, np.arange(len(numbers_NK))
        plain_NK, noise_NK = np.split(numbers_NK, [super().num_draws], axis=1)
        is_noise_NP = noise_NK[:, :pairs] < self.noise_share
        kept_N = below(noise_NK[:, -1], pairs if self.mode == "fixed" else pairs + 1)
        kept_N = np.where((kept_N == pairs) & is_noise_NP.all(1), 0, kept_N)
        inside_N = kept_N < pairs
        is_noise_NP[rows_N[inside_N], kept_N[inside_N]] = False
        keys_NP = np.where(is_noise_NP, -1, below(plain_NK[:, :pairs], self.num_keys))
        noise_NP2 = self.vocab_size - self.num_noise + below(noise_NK[:, pairs:-1], self.num_noise)
        return self.pairs(keys_NP, plain_NK[:, pairs:], split, noise_NP2.reshape(-1, pairs, 2))
