"""Rotary positions as configuration: base, the share of a head that turns, and how long contexts are reached."""

from __future__ import annotations

import math
from typing import Any, Literal

from harmony_core.base import Frozen

_OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "llama3": ("original_context", "low_frequency_factor", "high_frequency_factor"),
    "yarn": ("original_context", "beta_fast", "beta_slow", "attention_factor", "truncate"),
    "dynamic": ("original_context",),
    "longrope": ("original_context", "attention_factor", "short_factors", "long_factors"),
}


class RopeScaling(Frozen):
    """How rotary frequencies are changed for contexts longer than those of the first training.

    Args:
        method: `linear` divides every frequency by `factor` (Chen et al. 2023, arXiv:2306.15595); `llama3` divides
            the low ones and leaves the high ones (Llama 3.1's `rope_scaling`); `yarn` ramps between the two and
            scales the rotated vectors (Peng et al. 2023, arXiv:2309.00071, sections 3.2 and 3.4). Two go by the length
            of the sequence, so that a token's output hangs on how many follow it: `dynamic` raises the base with a
            length above the original one (Peng et al., section 3.3, appendix B.3), `longrope` divides each frequency
            by a number of its own, one up to the original length and another above (Ding et al. 2024,
            arXiv:2402.13753), and scales the rotated vectors.
        factor: the context's length over the original one, at least 1.
        original_context: tokens of the first training's context; all but `linear` need it.
        low_frequency_factor: `llama3`: wavelengths above original_context / this are divided by `factor`.
        high_frequency_factor: `llama3`: wavelengths below original_context / this are left alone.
        beta_fast: `yarn`: turns within the original context above which a frequency is left alone.
        beta_slow: `yarn`: turns below which a frequency is divided by `factor`.
        attention_factor: `yarn` and `longrope`: factor of the rotated queries and keys; None is 0.1 ln(factor) + 1, of
            `longrope` sqrt(1 + ln(factor) / ln(original_context)).
        truncate: `yarn`: whether the ramp begins and ends at whole frequency numbers.
        short_factors: `longrope`: what each frequency is divided by, up to the original length.
        long_factors: `longrope`: the same above it.
    """

    method: Literal["linear", "llama3", "yarn", "dynamic", "longrope"]
    factor: float
    original_context: int | None = None
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    def model_post_init(self, context: Any, /) -> None:
        if self.factor < 1:
            raise ValueError(f"factor is {self.factor}; use at least 1")
        own = ("method", "factor", *_OWN_FIELDS[self.method])
        for name in type(self).model_fields:
            if name not in own and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing to {self.method}; leave it out")
        # LongRoPE's factor of the vectors divides by its logarithm.
        least = 2 if self.method == "longrope" else 1
        if self.method != "linear" and (self.original_context is None or self.original_context < least):
            raise ValueError(f"original_context is {self.original_context}; {self.method} needs at least {least}")
        if self.low_frequency_factor <= 0 or self.high_frequency_factor <= self.low_frequency_factor:
            raise ValueError(
                f"high_frequency_factor {self.high_frequency_factor} is not above low_frequency_factor "
                f"{self.low_frequency_factor}; use 0 < low < high"
            )
        if self.beta_slow <= 0 or self.beta_fast < self.beta_slow:
            raise ValueError(f"beta_fast {self.beta_fast} is below beta_slow {self.beta_slow}; use 0 < slow <= fast")
        if self.attention_factor is not None and self.attention_factor <= 0:
            raise ValueError(f"attention_factor is {self.attention_factor}; use a positive number, or leave it out")

        if self.method == "longrope" and not all(one > 0 for one in (*self.short_factors, *self.long_factors)):
            raise ValueError("short_factors and long_factors have one that is not positive; use positive numbers")

    @property
    def by_length(self) -> bool:
        """Whether frequencies hang on the sequence's length."""
        return self.method in ("dynamic", "longrope")

    @property
    def vector_factor(self) -> float:
        """What rotated queries and keys are multiplied by."""
        return self._usual_vector_factor if self.attention_factor is None else self.attention_factor

    @property
    def _usual_vector_factor(self) -> float:
        if self.method == "yarn":
            return 0.1 * math.log(self.factor) + 1
        if self.method == "longrope" and self.factor > 1 and self.original_context is not None:
            return math.sqrt(1 + math.log(self.factor) / math.log(self.original_context))
        return 1.0

    def canonical(self) -> RopeScaling | None:
        """The scaling without a factor that is the usual one, or None where nothing is scaled."""
        usual = self._usual_vector_factor
        plain = self.attention_factor is None or math.isclose(self.attention_factor, usual, rel_tol=1e-12)
        if self.factor == 1 and plain and not self.by_length:
            return None
        return self.model_copy(update={"attention_factor": None}) if plain and self.attention_factor else self


def check_rope(base: float | None, fraction: float, head_dim: int, scaling: RopeScaling | None, field: str) -> None:
    """Refuses values from which no rotary frequencies follow.

    Args:
        base: theta; None turns nothing, and leaves no room for the two below.
        fraction: of a head's elements that turn, in (0, 1].
        head_dim: elements of a head.
        scaling: for longer contexts; None is none.
        field: name of the field that sets the head's width, for the message.

    Raises:
        ValueError: names the field and what it may be.
    """
    if base is not None and not 0 < base < math.inf:
        raise ValueError(f"rope_base is {base}; use a positive number")
    if base == 1 and scaling is not None and scaling.method == "yarn":
        raise ValueError("rope_base is 1, which makes all frequencies equal; yarn needs another one")
    if base is None and (fraction != 1.0 or scaling is not None):
        raise ValueError("rope_base is None, so nothing turns; leave out rope_fraction and rope_scaling")
    if not 0 < fraction <= 1:
        raise ValueError(f"rope_fraction is {fraction}; use more than 0 and at most 1")
    if base is not None and rotary_width(head_dim, fraction) % 2:
        turning = f"{field} {head_dim}" if fraction == 1 else f"rope_fraction {fraction} of {field} {head_dim}"
        raise ValueError(f"{turning} is odd; rotary positions need an even one")
    if scaling is not None and scaling.method == "longrope":
        pairs = rotary_width(head_dim, fraction) // 2
        for name in ("short_factors", "long_factors"):
            if len(getattr(scaling, name)) != pairs:
                raise ValueError(f"{name} has {len(getattr(scaling, name))} numbers; use one a frequency, {pairs}")
    if scaling is not None and scaling.method == "dynamic" and rotary_width(head_dim, fraction) < 4:
        raise ValueError(f"{field} {head_dim} has one frequency; dynamic needs at least two")
    if base is not None and rotary_width(head_dim, fraction) < 2:
        raise ValueError(f"rope_fraction {fraction} of {field} {head_dim} turns nothing; use at least two elements")


def length_problem(scaling: RopeScaling | None) -> str | None:
    """Why documents in one sequence are not kept apart under this scaling; None where they are."""
    if scaling is None or not scaling.by_length:
        return None
    return f"has positions scaled by the length of the sequence (rope_scaling {scaling.method}); use another method"


def canonical_positions(head_dim: int, fraction: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """`rope_fraction` and `rope_scaling` in their one spelling.

    Args:
        head_dim: elements of a head.
        fraction: of them that turn; becomes the exact share of the whole number that do.
        scaling: for longer contexts; None is none.
    """
    exact = rotary_width(head_dim, fraction) / head_dim
    return {
        "rope_fraction": exact if rotary_width(head_dim, exact) == rotary_width(head_dim, fraction) else fraction,
        "rope_scaling": None if scaling is None else scaling.canonical(),
    }


def rotary_width(head_dim: int, fraction: float) -> int:
    """Elements of a head that turn: its first ones."""
    return int(head_dim * fraction)
