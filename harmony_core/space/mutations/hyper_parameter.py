"""One hyper-parameter of one block, or the tying of the embedding."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space import hyper_parameters
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import near_block, with_block


@register
def hyper_parameter(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Draws a block, then one of its hyper-parameters that can change alone, then its new value.

    Where the space leaves tying open, it counts as one more block with one hyper-parameter. Arguments as for `mutate`.
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
    before, after = (hyper_parameters.value(block, name) for block in (old, new))
    operator = f"block {index} {old.kind}: {name} {before} -> {after}"
    child = with_block(parent, index, new)
    if name == new.width_field:
        # One other block gives the parameters that it needs, or takes those that it frees.
        return Edit(child, operator, tuple(int(i) for i in rng.permutation(len(parent.blocks))), named=index)
    return Edit(child, operator, near_block(space, index))


def _tying(parent: Architecture) -> Edit:
    tied = not parent.tie_embeddings
    return Edit(parent.replace(tie_embeddings=tied), f"tie_embeddings {parent.tie_embeddings} -> {tied}")
