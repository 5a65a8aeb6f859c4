"""The one protocol of all search algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Proposal
from harmony_core.evolution.scored import Placement, Scored


class Algorithm(Protocol):
    """Tell and ask. All state comes from the last `tell` and from the context, so recorded rows restore it."""

    def tell(self, scored: Sequence[Scored]) -> list[Placement]:
        """Takes the survivors of the last selection and a new generation; says who survives.

        The answer has the order of `scored`, and depends on its content alone. Candidates that
        failed share the last rank and never survive: if all failed, nobody does, and `ask` asks
        for samples.
        """
        ...

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        """How the next child is to be made.

        Called again, with the same context and the same `rng` further on, where a child comes to nothing.

        Args:
            context: the space and the whole recorded history.
            rng: the child's own source of chance, the only one that may be used.
        """
        ...
