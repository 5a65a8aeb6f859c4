"""What a set of architectures is made of; of samples, it is the prior that a search starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.sampling import sample
from harmony_core.space.space import Space
from harmony_core.space.strata import draw_strata

_Value = TypeVar("_Value", str, int)
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Composition:
    """Shares and quantiles over some architectures.

    Args:
        count: how many there are.
        mixers: of all token mixers, each kind's share; kinds in order of the alphabet, as below.
        channels: of all channel mixers, each kind's share.
        with_experts: share of architectures in which a token uses some of the parameters alone.
        one_mixer: share of architectures whose token mixers are of one kind.
        widths: share of architectures of each d_model.
        num_blocks: least, lower quartile, median, upper quartile and most blocks.
        num_active_non_embedding_params: the same of what one token multiplies with.
        num_params: the same of all parameters.
    """

    count: int
    mixers: dict[str, float]
    channels: dict[str, float]
    with_experts: float
    one_mixer: float
    widths: dict[int, float]
    num_blocks: tuple[float, ...]
    num_active_non_embedding_params: tuple[float, ...]
    num_params: tuple[float, ...]


def composition(architectures: Sequence[Architecture]) -> Composition:
    """What they are made of, blocks in their canonical spelling; at least one architecture."""
    blocks = [architecture.canonical().blocks for architecture in architectures]
    kinds = {
        role: [block.kind for stack in blocks for block in stack if block.role == role] for role in ("mixer", "channel")
    }
    mixers = [{block.kind for block in stack if block.role == "mixer"} for stack in blocks]
    return Composition(
        count=len(architectures),
        mixers=_shares(kinds["mixer"]),
        channels=_shares(kinds["channel"]),
        with_experts=float(np.mean([one.num_active_params() < one.num_params() for one in architectures])),
        one_mixer=float(np.mean([len(found) == 1 for found in mixers])),
        widths=_shares(one.d_model for one in architectures),
        num_blocks=_quantiles(len(stack) for stack in blocks),
        num_active_non_embedding_params=_quantiles(one.num_active_non_embedding_params() for one in architectures),
        num_params=_quantiles(one.num_params() for one in architectures),
    )


def prior_samples(space: Space, vocab_size: int, count: int = 200) -> list[Architecture]:
    """Samples of a space: those of one stratified generation, from a fixed seed.

    Args:
        space: what is sampled.
        vocab_size: the tokenizer's.
        count: samples.

    Raises:
        NoSample: the constraints cannot be met.
    """
    rng = np.random.default_rng(0)
    strata = draw_strata(count, rng)
    return [sample(space, vocab_size, rng, stratum).architecture for stratum in strata]


def space_prior(space: Space, vocab_size: int, count: int = 200) -> Composition:
    """What they are made of. Arguments as for `prior_samples`."""
    return composition(prior_samples(space, vocab_size, count))


def prior_text(prior: Composition) -> str:
    """The prior as `harmony config check` prints it: a line a marginal."""
    rows = [(f"prior of {prior.count} samples", "least, quartiles, most; or shares"), *composition_rows(prior)]
    return "\n".join(f"{name:<33}{text}" for name, text in rows)


def composition_rows(found: Composition) -> list[tuple[str, str]]:
    """Each marginal by its name, for people."""
    return [
        ("blocks", _numbers(found.num_blocks)),
        ("active non-embedding parameters", _numbers(found.num_active_non_embedding_params)),
        ("parameters", _numbers(found.num_params)),
        ("d_model", _percent(found.widths)),
        ("token mixers", _percent(found.mixers)),
        ("channel mixers", _percent(found.channels)),
        ("with experts", f"{found.with_experts:.0%}"),
        ("one kind of token mixer", f"{found.one_mixer:.0%}"),
    ]


def _shares(values: Iterable[_Value]) -> dict[_Value, float]:
    counts = Counter(values)
    return {value: counts[value] / counts.total() for value in sorted(counts)}


def _quantiles(values: Iterable[int]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(list(values), _QUANTILES))


def _percent(shares: dict[str, float] | dict[int, float]) -> str:
    return ", ".join(f"{value} {share:.0%}" for value, share in shares.items())


def _numbers(quantiles: tuple[float, ...]) -> str:
    return ", ".join(f"{value:,.0f}" for value in quantiles)
