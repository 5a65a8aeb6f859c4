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
        heads, key_heads, keys = self.num_heads, self.num_key_heads, self.keys
        decays = heads * keys if self.by_channel else 0
        gradients = 2 * key_heads * keys + heads * (self.values + 2) + decays
        share = min(1.0, self.chunk(shape) * self._together(shape) / shape.context)
        return gradients + share * self._span(self.chunk(shape))

    def _span(self, chunk: int) -> float:
        """Elements a token of a span that live at once in its backward pass, where they are most."""
        heads, key_heads, keys, values = self.num_heads, self.num_key_heads, self.keys, self.values
        states = keys * values / chunk
        if self.by_channel:
            # Pairs and their gradients; queries and keys twice, what reads and is written, decays; then the blocks.
            return heads * (4 * chunk + 10 * keys + 3 * values + states + 3 * DECAY_BLOCK * keys)
        # Pairs, their decays and gradients, and what reads and is written, of every head; of key heads what is summed.
        # Either the gradients are, by the decays, or what was read and written is a second time, with its decays.
        summed = heads * (7 * chunk + 3 * keys + 3 * values + states) + key_heads * (2 * chunk + 2 * keys)
        read = heads * (5 * chunk + 3 * keys + 6 * values + states) + key_heads * (2 * chunk + 5 * keys)
        return max(summed, read)

    def _together(self, shape: Shape) -> int:
        wide = max(DECAY_BLOCK * self.keys if self.by_channel else self.keys, self.values)
        return span_chunks(shape.batch_size * self.num_heads, self.chunk(shape), wide, 4)
