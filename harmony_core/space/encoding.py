"""An architecture as a vector of fixed length, for algorithms that fit a model to what they have seen.

F features, the same for every architecture of one space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmony_core.architecture import Architecture, Block, block_class
from harmony_core.errors import UserError
from harmony_core.space import hyper_parameters
from harmony_core.space.ladder import COSTS
from harmony_core.space.space import Space


class Encoding:
    """The features of a space, in the order of `names`.

    Of the whole: `depth` in units, `d_model`, `tie_embeddings` and, as log(1 + x), what adds up over blocks
    (`log_num_params` and the others of `COSTS`).

    Of each kind: `count.KIND`, its blocks; `place.KIND`, where they stand in the mean, from 0 at the embedding to 1 at
    the head; `share.KIND`, their share of the blocks' active parameters. All are 0 where there is none.

    Of each block's place, up to the space's greatest depth: `3.KIND`, 1 where block 3 is of that kind; and
    `3.KIND.FIELD` for every hyper-parameter that differs within the space, the rank of its value among all of them,
    from 1/n to 1. Both are 0 for other kinds, and above the architecture's last block.

    Two architectures over one vocabulary have one vector if and only if they have one id: blocks are read in the
    spelling that the space offers. Nothing hangs on chance, on the order of hashes or on what was encoded before.

    Args:
        space: whose members are encoded.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._values = {kind: _differing(space, kind) for kind in space.blocks}
        units = [space.unit_kinds(d_model) for d_model in space.d_model]
        # For each place of a unit, the kinds that may stand there at any width, in the space's order.
        self._kinds = [
            tuple(kind for kind in space.blocks if any(kind in unit[place] for unit in units))
            for place in range(space.unit_size)
        ]
        self.names = tuple(self._names())
        self._index = {name: index for index, name in enumerate(self.names)}

    def __len__(self) -> int:
        """Features F."""
        return len(self.names)

    def vector(self, architecture: Architecture) -> NDArray[np.float64]:
        """The features of an architecture, float64 [F].

        Raises:
            UserError: its structure is not the space's.
        """
        wrong = self.space.structure_violations(architecture)
        if wrong:
            fix = f"not in the search space ({wrong[0]}); encode members alone"
            raise UserError("architecture", f"{architecture.id} {architecture.pattern()}", fix)
        choices = self.space.choices(architecture.d_model)
        blocks = []
        for block in architecture.blocks:
            ladder, rung = choices.place(block)
            blocks.append(ladder.blocks[rung])
        vector_F = np.zeros(len(self))
        for name, value in self._features(architecture, blocks):
            vector_F[self._index[name]] = value
        return vector_F

    def _names(self) -> Iterator[str]:
        yield from ("depth", "d_model", "tie_embeddings")
        yield from (f"log_{cost}" for cost in COSTS)
        for kind in self.space.blocks:
            yield from (f"count.{kind}", f"place.{kind}", f"share.{kind}")
        for index in range(self.space.depth.max * self.space.unit_size):
            for kind in self._kinds[index % self.space.unit_size]:
                yield f"{index}.{kind}"
                yield from (f"{index}.{kind}.{field}" for field in self._values[kind])

    def _features(self, architecture: Architecture, blocks: list[Block]) -> Iterator[tuple[str, float]]:
        """Every feature that may be other than 0."""
        yield "depth", len(blocks) / self.space.unit_size
        yield "d_model", architecture.d_model
        yield "tie_embeddings", architecture.tie_embeddings
        yield from ((f"log_{cost}", np.log1p(getattr(architecture, cost)())) for cost in COSTS)
        active_N = np.array([block.num_active_params(architecture.d_model) for block in blocks], dtype=np.float64)
        places_N = np.linspace(0, 1, len(blocks))
        kinds_N = np.array([block.kind for block in blocks])
        for kind in sorted(set(kinds_N.tolist())):
            own_N = kinds_N == kind
            yield f"count.{kind}", own_N.sum()
            yield f"place.{kind}", places_N[own_N].mean()
            yield f"share.{kind}", active_N[own_N].sum() / active_N.sum()
        for index, block in enumerate(blocks):
            yield f"{index}.{block.kind}", 1.0
            own = hyper_parameters.values(block)
            for field, values in self._values[block.kind].items():
                yield f"{index}.{block.kind}.{field}", (1 + values.index(own[field])) / len(values)


def _differing(space: Space, kind: str) -> dict[str, list[Any]]:
    """The hyper-parameters of a kind that differ within the space, each with its values: numbers ascending first."""
    blocks = [block for d_model in space.d_model for block in space.choices(d_model).blocks(kind)]
    rows = [hyper_parameters.values(block) for block in blocks]
    found = {field: {row[field] for row in rows} for field in hyper_parameters.fields(block_class(kind))}
    return {field: sorted(values, key=_order) for field, values in found.items() if len(values) > 1}


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, repr(value)
