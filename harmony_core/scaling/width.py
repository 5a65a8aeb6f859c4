"""An architecture at another width, so that it has a given number of parameters, or of elements of state.

Both are functions of the architecture alone. An equal number of parameters (iso-parameter) is asked of what is compared
after it was found (`grow`); an equal state (iso-state) is how MAD compares token mixers (arXiv:2403.17844).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from harmony_core import bounds
from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError
from harmony_core.space import hyper_parameters

# What counts as equal, of parameters and of state.
TOLERANCE = 0.02
# Widths of channel mixers are multiples of this, as the hardware likes, where they were before.
_STEP = 8


def body_params(architecture: Architecture) -> int:
    """Active parameters without embedding and output head: what is equal in comparisons of depth and width."""
    return architecture.num_active_non_embedding_params() - architecture.vocab_size * architecture.d_model


def to_params(architecture: Architecture, target: int) -> Architecture:
    """The same pattern with so many parameters, embeddings aside, within 2%.

    Width, heads and inner widths first grow or shrink together, by the ratio nearest to the target of those that keep
    all of them whole numbers (`Block.grows`); then the channel mixers' inner widths alone make up for the rest.

    Args:
        architecture: its depth, kinds and order stay.
        target: `body_params` of the result.

    Raises:
        UserError: no width comes within 2%; it names the nearest.
    """
    found = _with_channels(_at_ratio(architecture, target), target)
    if abs(body_params(found) - target) > TOLERANCE * target:
        fix = f"the nearest that this pattern has at whole widths is {body_params(found)}; use that, or other blocks"
        raise UserError("to_params", target, fix)
    return found


def to_state(architecture: Architecture, elements: int, context: int) -> Architecture:
    """The same architecture with so many elements of state a sequence, keys and values of `context` tokens included.

    Token mixers whose state has a width (`Block.width_field`) share equally what the others leave, each as near as
    whole numbers allow.

    Args:
        architecture: its channel mixers and attention stay.
        elements: of recurrent state and cache in all.
        context: tokens in the cache.

    Raises:
        UserError: no mixer's state has a width, or they cannot come within 2%.
    """
    free = {n for n, block in enumerate(architecture.blocks) if block.role == "mixer" and block.width_field is not None}

    def state(block: Block) -> int:
        return block.state_elements(architecture.d_model) + block.kv_cache_elements(context)

    if not free:
        raise UserError("to_state", elements, "no token mixer of it has a state whose width is free; use other blocks")
    fixed = sum(state(block) for number, block in enumerate(architecture.blocks) if number not in free)
    share = (elements - fixed) / len(free)
    blocks = tuple(
        _nearest(block, architecture.d_model, state, share) if number in free else block
        for number, block in enumerate(architecture.blocks)
    )
    found = sum(map(state, blocks))
    if abs(found - elements) > TOLERANCE * elements:
        fix = f"the nearest is {found}, of which {fixed} are of mixers whose state is fixed; use that, or other blocks"
        raise UserError("to_state", elements, fix)
    return architecture.replace(blocks=blocks)


def _nearest(block: Block, d_model: int, measure: Callable[[Block], int], target: float) -> Block:
    """The block with the width at which it measures nearest to the target; the measure grows evenly with the width."""
    assert block.width_field is not None
    name, own = block.width_field, int(hyper_parameters.value(block, block.width_field))
    slope = measure(hyper_parameters.changed(block, name, own + 1)) - measure(block)
    wanted = own + round((target - measure(block)) / slope) if slope else own
    # Some widths are none that the block can have, such as one that its groups do not divide.
    for distance in range(max(own, wanted, 1)):
        for width in (wanted - distance, wanted + distance):
            found = _valid(block, {name: width}, d_model) if width >= 1 else None
            if found is not None:
                return found
    return block


def _at_ratio(architecture: Architecture, target: int) -> Architecture:
    """Of the ratios k / divisor, k whole, at which all blocks are valid, the architecture nearest to the target."""
    own = architecture.d_model
    growing = [value for block in architecture.blocks for value in _growing(block).values()]
    # Widths stay multiples of eight where they were.
    divisor = math.gcd(own // math.gcd(own, _STEP), *growing)

    def at(ratio: int) -> Architecture | None:
        return _times(architecture, ratio, divisor)

    def size(ratio: int) -> int:
        return body_params(_times_unchecked(architecture, ratio, divisor))

    ratios = range(1, bounds.WIDTH * divisor // own + 1)
    # Parameters grow with the ratio.
    first = bisect.bisect_left(ratios, target, key=size)
    sides = (filter(None, map(at, ratios[:first][::-1])), filter(None, map(at, ratios[first:])))
    found = [one for one in (next(side, None) for side in sides) if one is not None]
    return min(found, key=lambda one: abs(body_params(one) - target), default=architecture)


def _times_unchecked(architecture: Architecture, ratio: int, divisor: int) -> Architecture:
    """With width and all that grows with it times ratio / divisor, which need not go together."""
    blocks = []
    for block in architecture.blocks:
        for name, value in _growing(block).items():
            block = hyper_parameters.changed(block, name, value // divisor * ratio)
        blocks.append(block)
    return architecture.model_copy(update={"d_model": architecture.d_model // divisor * ratio, "blocks": tuple(blocks)})


def _times(architecture: Architecture, ratio: int, divisor: int) -> Architecture | None:
    """The same, or None where a block is not valid so."""
    found = _times_unchecked(architecture, ratio, divisor)
    blocks = tuple(_valid(block, {}, found.d_model) for block in dict.fromkeys(found.blocks))
    return None if None in blocks else found


def _with_channels(architecture: Architecture, target: int) -> Architecture:
    """The channel mixers' widths all times one factor, so that the whole is nearest to the target."""
    widths = {
        number: int(hyper_parameters.value(block, block.width_field))
        for number, block in enumerate(architecture.blocks)
        if block.role == "channel" and block.width_field is not None
    }
    if not widths:
        return architecture

    def at(factor: float) -> Architecture:
        blocks = list(architecture.blocks)
        for number, width in widths.items():
            block, step = blocks[number], _STEP if width % _STEP == 0 else 1
            new = {str(block.width_field): max(step, round(width * factor / step) * step)}
            blocks[number] = _valid(block, new, architecture.d_model) or block
        return architecture.replace(blocks=tuple(blocks))

    # Parameters are a constant and a multiple of these widths.
    own, doubled = body_params(architecture), body_params(at(2.0))
    return at(max(0.0, 1 + (target - own) / (doubled - own))) if doubled > own else architecture


def _growing(block: Block) -> dict[str, int]:
    """The numbers that grow with the model's width, as far as the block gives them."""
    return {name: value for name in block.grows if (value := hyper_parameters.value(block, name)) is not None}


def _valid(block: Block, changes: dict[str, Any], d_model: int) -> Block | None:
    """The block with other values, or None where they do not go together or do not fit the width."""
    try:
        found = hyper_parameters.make(type(block), {**hyper_parameters.values(block), **changes})
        found.check(d_model)
    except (ValidationError, ValueError):
        return None
    return found
