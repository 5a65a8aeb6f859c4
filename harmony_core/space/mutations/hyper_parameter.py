"""One hyper-parameter of one block, or the tying of the embedding."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.space import Space
from harmony_core.space.variation import Drawn, with_blocks


@register
def hyper_parameter(space: Space, parent: Architecture, rng: np.random.Generator) -> Drawn | None:
    """Draws a block, then one of its hyper-parameters that can change alone, then its new value.

    Where the space leaves tying open, it counts as one more block with one hyper-parameter.
    """
    open_tying = len(space.tie_embeddings) > 1
    index = int(rng.integers(len(parent.blocks) + open_tying))
    if index == len(parent.blocks):
        return _tying(parent)
    old = parent.blocks[index]
    neighbours = space.choices(parent.d_model).neighbours(old)
    if not neighbours:
        return None
    names = list(dict.fromkeys(name for name, _ in neighbours))
    name = names[int(rng.integers(len(names)))]
    options = [block for changed, block in neighbours if changed == name]
    new = options[int(rng.integers(len(options)))]
    blocks = (*parent.blocks[:index], new, *parent.blocks[index + 1 :])
    operator = f"block {index} {old.kind}: {name} {getattr(old, name)} -> {getattr(new, name)}"
    return with_blocks(parent, blocks), operator


def _tying(parent: Architecture) -> Drawn:
    tied = not parent.tie_embeddings
    child = Architecture(
        d_model=parent.d_model, vocab_size=parent.vocab_size, tie_embeddings=tied, blocks=parent.blocks
    )
    return child, f"tie_embeddings {parent.tie_embeddings} -> {tied}"
