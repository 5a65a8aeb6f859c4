"""A random order of any length that is computed, not stored."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8


def permute(index_N: NDArray[np.int64], size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Where a permutation of range(size), one for each (seed, epoch), sends `index_N`.

    A Feistel network permutes the next power of four; what lands outside is sent on until it lands inside
    (cycle walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). Takes no memory
    for the order and at most four rounds trips on average, so corpora of any size are shuffled exactly.

    Args:
        index_N: numbers in range(size).
        size: at least 1, below 2**62.
        seed: not negative.
        epoch: not negative.

    Returns:
        Numbers in range(size), [N].
    """
    half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    keys = _round_keys(seed, epoch)
    result_N = _feistel(index_N.astype(np.uint64), half_bits, keys)
    while (outside_N := result_N >= size).any():
        result_N[outside_N] = _feistel(result_N[outside_N], half_bits, keys)
    return result_N.astype(np.int64)


def _feistel(value_N: NDArray[np.uint64], half_bits: np.uint64, keys: tuple[int, ...]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left_N, right_N = value_N >> half_bits, value_N & mask
    for key in keys:
        left_N, right_N = right_N, left_N ^ (_mix(right_N ^ np.uint64(key)) & mask)
    return (left_N << half_bits) | right_N


def _mix(value_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014); arrays of uint64 wrap around."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_N = (value_N ^ (value_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value_N ^ (value_N >> np.uint64(31))


@lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    words = np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint64)
    return tuple(int(word) for word in words)
