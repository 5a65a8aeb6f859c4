"""Growth by width: the same blocks in a wider or narrower model of a given size."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError
from harmony_core.space import hyper_parameters

# Sizes are equal where their active non-embedding parameters are.
TOLERANCE = 0.02
# Widths are multiples of it: kernels and tensor cores work on eights.
_UNIT = 8
# So many widths on either side of the one that is nearest to the wanted size are tried.
_NEIGHBOURS = 12
# So far from 1 a factor of the inner widths may be for the architecture to stay at its own width.
_OF_ITS_OWN = 0.1
# So far from 1 it may be where numbers of heads and groups are rounded, before others that fit are tried.
_IN_PROPORTION = 0.25
# A number of heads or groups that is found in place of a rounded one is within this factor of it.
_FARTHEST = 1.5
# Of an interval: beyond the precision of the numbers in it.
_HALVINGS = 40

# What is counted of an architecture.
Size = Callable[[Architecture], int]


def with_head(architecture: Architecture) -> int:
    """Active parameters without the embedding's look-up, the output head included."""
    return architecture.num_active_non_embedding_params()


def body_params(architecture: Architecture) -> int:
    """Active parameters without embedding and output head: what is equal in comparisons of depth and width."""
    return architecture.num_active_non_embedding_params() - architecture.vocab_size * architecture.d_model


def widened(architecture: Architecture, d_model: int, *, nearest: bool = False) -> Architecture | None:
    """The architecture at another width, its blocks' heads and inner widths in proportion; None where they do not fit.

    Args:
        architecture: what grows, or shrinks.
        d_model: the new width.
        nearest: whether a block in which the rounded numbers do not go together, or with the width, may have another
            one: 8 groups of 160 channels would be 6 of 128, which they do not divide, and are 8.
    """
    factor = d_model / architecture.d_model

    def fits(block: Block) -> bool:
        try:
            architecture.replace(d_model=d_model, blocks=(block,))
        except ValueError:
            return False
        return True

    try:
        blocks = tuple(
            _nearest(block, factor, fits) if nearest else _with(block, _rounded(block, factor))
            for block in architecture.blocks
        )
        return architecture.replace(d_model=d_model, blocks=blocks)
    except ValueError:
        return None


def _grown(block: Block, factor: float) -> dict[str, float]:
    """What grows with the width, in proportion."""
    values = hyper_parameters.values(block)
    return {name: factor * values[name] for name in block.grows if values[name] is not None}


def _rounded(block: Block, factor: float) -> dict[str, int]:
    return {name: max(1, round(one)) for name, one in _grown(block, factor).items()}


def _with(block: Block, numbers: Mapping[str, int]) -> Block:
    """The block with other numbers; ValueError where they do not go together."""
    return hyper_parameters.make(type(block), {**hyper_parameters.values(block), **numbers})


def _nearest(block: Block, factor: float, fits: Callable[[Block], bool]) -> Block:
    """The block with rounded numbers, or with the nearest that fits in place of one; ValueError where none does."""
    rounded = _rounded(block, factor)
    others = sorted(
        (abs(math.log(number / exact)), name, number)
        for name, exact in _grown(block, factor).items()
        for number in range(max(1, math.ceil(exact / _FARTHEST)), math.floor(exact * _FARTHEST) + 1)
    )
    for numbers in (rounded, *({**rounded, name: number} for _, name, number in others)):
        with contextlib.suppress(ValueError):
            if fits(made := _with(block, numbers)):
                return made
    raise ValueError(f"no number near {factor:g} times its own fits {block.kind}")


def resized(architecture: Architecture, params: int, size: Size = with_head) -> Architecture:
    """The architecture at the width that gives it so many parameters, within `TOLERANCE`.

    Widths come in steps of eight and heads in whole ones, which alone miss small sizes; what is left is met by the
    inner widths of the channel mixers, all by one factor, or where there are none by what sets the mixers' size. Its
    own width stays where a factor within a tenth meets the size; else the width counts whose factor is nearest to 1.
    Where that is off by more than a quarter, blocks may have the nearest number of heads or groups that fits a width in
    place of the rounded one, which leaves more widths.

    Args:
        architecture: what grows, or shrinks.
        params: of the result.
        size: which parameters count: the active ones without the embedding's look-up, or `body_params`.

    Raises:
        UserError: no width comes within the tolerance; it tells the nearest size.
    """
    factor, own = _met(architecture, params, size)
    if abs(factor - 1) <= _OF_ITS_OWN and _misses(size(own), params) <= TOLERANCE:
        return own
    found = list[tuple[float, Architecture]]()
    for nearest in (False, True):
        found += [
            _met(wide, params, size)
            for d_model in _near(architecture, params, size)
            if (wide := widened(architecture, d_model, nearest=nearest)) is not None
        ]
        fitting = [one for one in found if _misses(size(one[1]), params) <= TOLERANCE]
        best = min(fitting, key=lambda one: (abs(one[0] - 1), one[1].d_model), default=None)
        if best is not None and (nearest or abs(best[0] - 1) <= _IN_PROPORTION):
            return best[1]
    sizes = [size(one) for _, one in found]
    nearest_size = min(sizes, key=lambda one: abs(one - params), default=None)
    fix = (
        "no width fits its blocks"
        if nearest_size is None
        else f"no width comes within 2%; the nearest size is {nearest_size}"
    )
    raise UserError("params", params, f"{fix}; use another size, or blocks with other heads")


def _near(architecture: Architecture, params: int, size: Size) -> Iterator[int]:
    """Widths about the one whose size, were all in proportion, is the wanted one."""
    body = body_params(architecture)

    def proportional(steps: float) -> float:
        # The blocks grow as the square of the width, the output head, where it counts, in proportion to it.
        factor = steps * _UNIT / architecture.d_model
        return factor**2 * body + factor * (size(architecture) - body)

    middle = round(_solve(proportional, params, 0.0, architecture.d_model + params**0.5))
    for steps in range(max(1, middle - _NEIGHBOURS), middle + _NEIGHBOURS + 1):
        yield steps * _UNIT


def _met(architecture: Architecture, params: int, size: Size) -> tuple[float, Architecture]:
    """The factor of the inner widths under which the size is nearest, and the architecture."""
    scaled = partial(_with_inner, architecture)
    factor = _solve(lambda one: size(scaled(one)), params, 0.0, 4.0)
    return factor, scaled(factor)


def _with_inner(architecture: Architecture, factor: float) -> Architecture:
    sized = [block for block in architecture.blocks if block.width_field is not None]
    role = "channel" if any(block.role == "channel" for block in sized) else "mixer"
    blocks = tuple(_inner(block, factor) if block.role == role else block for block in architecture.blocks)
    return architecture.model_copy(update={"blocks": blocks})


def _inner(block: Block, factor: float) -> Block:
    if block.width_field is None:
        return block
    value = int(hyper_parameters.value(block, block.width_field))
    unit = _UNIT if value >= _UNIT**2 else 1
    return hyper_parameters.changed(block, block.width_field, max(unit, unit * round(factor * value / unit)))


def _solve(size: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a rising function is nearest to a value, by halving."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) < wanted else (low, middle)
    return min(low, high, key=lambda one: abs(size(one) - wanted))


def _misses(size: int, params: int) -> float:
    return abs(size / params - 1)
