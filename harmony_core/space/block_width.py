"""A block at another width of its own, so that something of it has a wanted size."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from harmony_core.architecture import Block
from harmony_core.space import hyper_parameters


def nearest_width(block: Block, d_model: int, measure: Callable[[Block], int], target: float) -> Block:
    """The block with the width (`Block.width_field`) at which it measures nearest to the target.

    Args:
        block: one that has such a width.
        d_model: of the model that it stands in.
        measure: grows evenly with the width, or not at all.
        target: what it should come to.
    """
    assert block.width_field is not None
    name, own = block.width_field, int(hyper_parameters.value(block, block.width_field))
    slope = measure(hyper_parameters.changed(block, name, own + 1)) - measure(block)
    wanted = own + round((target - measure(block)) / slope) if slope else own
    # Some widths are none that the block can have, such as one that its groups do not divide.
    for distance in range(max(own, wanted, 1)):
        for width in (wanted - distance, wanted + distance):
            found = _at_width(block, width, d_model) if width >= 1 else None
            if found is not None:
                return found
    return block


def _at_width(block: Block, width: int, d_model: int) -> Block | None:
    """The block with this width, or None where it cannot have it."""
    try:
        values = {**hyper_parameters.values(block), str(block.width_field): width}
        found = hyper_parameters.make(type(block), values)
        found.check(d_model)
    except (ValidationError, ValueError):
        return None
    return found
