"""An architecture at another width, so that it has a given number of parameters, or of elements of state.

Both are functions of the architecture alone. An equal number of parameters (iso-parameter) is asked of what is compared
after it was found (`grow`); an equal state (iso-state) is how MAD compares token mixers (arXiv:2403.17844).
"""

from __future__ import annotations

from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError
from harmony_core.scaling.resize import TOLERANCE, body_params, resized
from harmony_core.space.block_width import nearest_width


def to_params(architecture: Architecture, target: int) -> Architecture:
    """The same pattern with so many parameters, embeddings aside, within 2% (`resized`).

    Args:
        architecture: its depth, kinds and order stay.
        target: `body_params` of the result.

    Raises:
        UserError: no width comes within 2%; it names the nearest.
    """
    try:
        return resized(architecture, target, body_params)
    except UserError as error:
        raise UserError("to_params", target, error.fix) from None


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
        nearest_width(block, architecture.d_model, state, share) if number in free else block
        for number, block in enumerate(architecture.blocks)
    )
    found = sum(map(state, blocks))
    if abs(found - elements) > TOLERANCE * elements:
        fix = f"the nearest is {found}, of which {fixed} are of mixers whose state is fixed; use that, or other blocks"
        raise UserError("to_state", elements, fix)
    return architecture.replace(blocks=blocks)
