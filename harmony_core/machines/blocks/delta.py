"""What a delta rule in chunks costs whatever its decay, from its heads alone."""

from __future__ import annotations

from dataclasses import dataclass

from harmony_core.machines.blocks.costs import Shape, Work
from harmony_core.tiling import DECAY_BLOCK, delta_chunk, span_chunks


@dataclass(frozen=True)
class DeltaRule:
    """What the rule is (`models/ops/linear`).

    Args:
        num_heads: heads of values, states and decays.
        num_key_heads: heads of queries and keys.
        keys: width of a head's queries and keys.
        values: width of a head's values.
        chunk_size: tokens of a chunk at most.
        by_channel: whether each key channel has a decay of its own.
    """

    num_heads: int
    num_key_heads: int
    keys: int
    values: int
    chunk_size: int
    by_channel: bool = False

    def chunk(self, shape: Shape) -> int:
        """Tokens of a chunk."""
        return min(delta_chunk(self.chunk_size, self.keys), shape.context)

    def moved(self) -> int:
        """Elements that a token reads and writes: its vectors and outputs, a state written and read twice a chunk."""
        states = 3 * self.num_heads * self.keys * self.values // delta_chunk(self.chunk_size, self.keys)
        return 2 * self.num_key_heads * self.keys + 2 * self.num_heads * (1 + self.values) + states

    def work(self, shape: Shape) -> Work:
        """Units of work a token."""
        chunk, both = self.chunk(shape), self.keys + self.values
        system = chunk * self.num_heads * both
        within = 4 * chunk * self.num_key_heads * self.keys + 2 * chunk * self.num_heads * self.values
        states = 6 * self.num_heads * self.keys * self.values
        return {"scan_product": float(system + within + states), "scan_decay": self._decays(chunk)}

    def _decays(self, chunk: int) -> float:
        """Elements a token of the matrices that a chunk's decays are multiplied into."""
        if not self.by_channel:
            return 3.0 * self.num_heads * chunk
        # Of each pair in a block, of each row once, and of the columns once a block of rows behind them.
        return self.num_heads * self.keys * (2.0 * DECAY_BLOCK + 1 + (chunk / DECAY_BLOCK - 1) / 2)

    def kernels(self, shape: Shape) -> float:
        """Operations started, as a third of those of both passes: of one span of chunks, and of each chunk."""
        chunk = self.chunk(shape)
        blocks = 7.0 * (chunk // DECAY_BLOCK) if self.by_channel else 0.0
        return 40.0 + blocks + 2.5 * (shape.context // chunk)

    def kept(self, shape: Shape) -> float:
        """Elements a token that wait for backward: outputs, errors, and the states between chunks."""
        vectors, chunk = self.num_heads * self.values, self.chunk(shape)
        spans = -(-shape.context // (chunk * self._together(shape)))
        chunks = -(-shape.context // chunk)
        return 2 * vectors + (chunks + spans) * vectors * self.keys / shape.context

    def working(self, shape: Shape) -> float:
        """Elements a token that the backward pass makes: gradients of all tokens, and what a span is computed in."""
        chunk, together = self.chunk(shape), self._together(shape)
        decays = self.num_heads * self.keys if self.by_channel else 0
        gradients = 2 * self.num_key_heads * self.keys + self.num_heads * (self.values + 2) + decays
        matrices, vectors = 6 * chunk, 10 * self.keys + 6 * self.values
        share = min(1.0, chunk * together / shape.context)
        states = 4 * self.keys * self.values / chunk
        pairs = 3 * DECAY_BLOCK * self.keys if self.by_channel else 0
        return gradients + share * self.num_heads * (matrices + vectors + states + pairs)

    def _together(self, shape: Shape) -> int:
        wide = max(DECAY_BLOCK * self.keys if self.by_channel else self.keys, self.values)
        return span_chunks(shape.batch_size * self.num_heads, self.chunk(shape), wide, 4)
