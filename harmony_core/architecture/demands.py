"""What a configuration asks of every block, and which block has not got it."""

from __future__ import annotations

from dataclasses import dataclass

from harmony_core.architecture.block import Block


@dataclass(frozen=True)
class Demands:
    """Checked when a configuration is read, before anything is computed.

    Args:
        documents: documents that are packed into one sequence are kept apart.
        precision: of the products; None is whatever the device will take.
        decoding: token by token, from a state.
    """

    documents: bool = False
    precision: str | None = None
    decoding: bool = False

    def refused(self, block: Block) -> tuple[str, str] | None:
        """The demand that this block does not meet, and why; None if it meets all."""
        problem = block.documents_problem() if self.documents else None
        if problem is not None:
            return "recipe.document_boundaries", problem
        if self.precision is not None and self.precision not in block.precisions:
            return f"recipe.precision {self.precision}", f"computes in {' or '.join(block.precisions)} alone"
        problem = block.decoding_problem() if self.decoding else None
        return None if problem is None else ("latency.modes decode", problem)
