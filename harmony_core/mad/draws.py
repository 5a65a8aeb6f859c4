"""Uniform numbers that belong to an example, and what tasks make of them, for all examples at once.

N examples, K numbers of each, S places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]

# The generator counts in blocks of four 64-bit words, so an example begins with a block of its own.
_BLOCK = 4


def uniforms(entropy: tuple[int, ...], first: int, count: int, width: int) -> Numbers:
    """Numbers [count, width] in [0, 1): row n belongs to example `first` + n, whatever else is drawn.

    Philox (Salmon et al. 2011) is a function of key and counter, so any row is reached at once.

    Args:
        entropy: what the key is made of: seed, task, split.
        first: number of the first example.
        count: how many examples.
        width: numbers of each.
    """
    blocks = -(-width // _BLOCK)
    generator = np.random.Philox(key=np.random.SeedSequence(entropy).generate_state(2, np.uint64))
    generator.advance(first * blocks)
    return np.random.Generator(generator).random((count, blocks * _BLOCK))[:, :width]


def below(numbers: Numbers, bound: int | Integers) -> Integers:
    """Whole numbers from 0 to `bound` - 1, each as likely."""
    return (numbers * bound).astype(np.int64)


def distinct(numbers_NS: Numbers, bound: int) -> Integers:
    """S different whole numbers below `bound` in order [N, S], each arrangement as likely.

    The j-th is drawn from the bound - j that are left, counted past those that are taken.
    """
    found_NS = np.empty(numbers_NS.shape, np.int64)
    for place in range(numbers_NS.shape[1]):
        value_N = below(numbers_NS[:, place], bound - place)
        for taken_N in np.sort(found_NS[:, :place], axis=1).T:
            value_N += value_N >= taken_N
        found_NS[:, place] = value_N
    return found_NS
