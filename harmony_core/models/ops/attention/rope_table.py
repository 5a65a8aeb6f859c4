"""Rotary frequencies, and the tables of turns that are made of them once and sliced ever after.

J pairs of elements of a head that turn, T positions.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from harmony_core.architecture import RopeScaling


def rotary_frequencies(width: int, base: float, scaling: RopeScaling | None = None, length: int = 1) -> Tensor:
    """Angle a position, fp64 [J] with J = width / 2 (Su et al. 2021, arXiv:2104.09864, equation 15).

    Args:
        width: elements of a head that turn, even.
        base: the base of the frequencies.
        scaling: how they are changed for long contexts.
        length: tokens of the sequence, of which `dynamic` and `longrope` ask.
    """
    if scaling is not None and scaling.method == "dynamic":
        seen, context = max(length, _original_context(scaling)), _original_context(scaling)
        # The base at which the lowest frequency is what `factor` makes of it (section 3.3).
        base *= (scaling.factor * seen / context - (scaling.factor - 1)) ** (width / (width - 2))
        scaling = None
    plain_J = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    if scaling is None:
        return plain_J
    if scaling.method == "linear":
        return plain_J / scaling.factor
    if scaling.method == "longrope":
        of_length = scaling.long_factors if length > _original_context(scaling) else scaling.short_factors
        return plain_J / torch.tensor(of_length, dtype=torch.float64)
    left_alone_J = _llama3_share(plain_J, scaling) if scaling.method == "llama3" else _yarn_share(width, base, scaling)
    return plain_J * left_alone_J + plain_J / scaling.factor * (1 - left_alone_J)


def attention_factor(scaling: RopeScaling | None) -> float:
    """What rotated queries and keys are multiplied by (YaRN, arXiv:2309.00071, section 3.4)."""
    return 1.0 if scaling is None else scaling.vector_factor


def _llama3_share(plain_J: Tensor, scaling: RopeScaling) -> Tensor:
    """How much of each frequency is left alone, 0 to 1: all above the high bound, nothing below the low one."""
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    turns_J = _original_context(scaling) * plain_J / (2 * math.pi)
    return ((turns_J - low) / (high - low)).clamp(0, 1)


def _yarn_share(width: int, base: float, scaling: RopeScaling) -> Tensor:
    """How much of each frequency is left alone: a ramp over the frequencies' numbers (section 3.2)."""
    bounds = [
        width * math.log(_original_context(scaling) / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (scaling.beta_fast, scaling.beta_slow)
    ]
    first, last = (math.floor(bounds[0]), math.ceil(bounds[1])) if scaling.truncate else bounds
    first, last = max(first, 0), min(last, width - 1)
    number_J = torch.arange(width // 2, dtype=torch.float64)
    # Where both bounds fall on one frequency the ramp is a step.
    return 1 - ((number_J - first) / (last - first or 1e-3)).clamp(0, 1)


def _original_context(scaling: RopeScaling) -> int:
    assert scaling.original_context is not None, "RopeScaling asks for it"
    return scaling.original_context


class RotaryTable:
    """The turns of all positions so far asked for; twice as many are made whenever one is missing.

    Args:
        width: elements of a head that turn, even.
        base: the base of the frequencies.
        scaling: how they are changed for long contexts.
    """

    def __init__(self, width: int, base: float, scaling: RopeScaling | None = None) -> None:
        self.width, self.base, self.scaling = width, base, scaling
        self._turns: dict[torch.device, Tensor] = {}
        self._latest: tuple[int, torch.device, Tensor] | None = None

    def slice(self, start: int, stop: int, device: torch.device) -> Tensor:
        """attention factor x e^(i angle) of a run of positions, complex64 [T, J].

        Where frequencies hang on the sequence's length, that is `stop`.

        Args:
            start: the first position.
            stop: the position behind the last one.
            device: of the result; a table is made once for each.
        """
        if self.scaling is not None and self.scaling.by_length and stop > _original_context(self.scaling):
            return self._make(start, stop, stop).to(device)
        turns_TJ = self._turns.get(device)
        if turns_TJ is None or turns_TJ.shape[0] < stop:
            turns_TJ = self._turns[device] = self._make(0, max(64, 1 << (stop - 1).bit_length()), stop).to(device)
        return turns_TJ[start:stop]

    def at(self, position: int, device: torch.device) -> Tensor:
        """The same of one position, [J]; kept for the other blocks of a decoding step."""
        if self._latest is None or self._latest[:2] != (position, device):
            self._latest = (position, device, self.slice(position, position + 1, device)[0])
        return self._latest[2]

    def _make(self, start: int, stop: int, length: int) -> Tensor:
        """Turns of these positions in a sequence of so many tokens."""
        # A table that inference makes first serves training later.
        with torch.inference_mode(False), torch.no_grad():
            frequencies_J = rotary_frequencies(self.width, self.base, self.scaling, length)
            angles_TJ = torch.arange(start, stop, dtype=torch.float64)[:, None] * frequencies_J
            size_TJ = torch.full_like(angles_TJ, attention_factor(self.scaling))
            return torch.polar(size_TJ, angles_TJ).to(torch.complex64)


@functools.lru_cache(maxsize=128)
def rotary_table(width: int, base: float, scaling: RopeScaling | None = None) -> RotaryTable:
    """The one table that all blocks with these positions share; arguments as for `rotary_frequencies`."""
    return RotaryTable(width, base, scaling)
