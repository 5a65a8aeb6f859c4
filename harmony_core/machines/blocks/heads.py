"""What softmax attention costs whichever its kind, from its heads alone."""

from __future__ import annotations

from dataclasses import dataclass

from harmony_core.machines.blocks.costs import Shape, Work
from harmony_core.tiling import KEPT_KEYS, keys_seen, long_query_blocks, pairs_together, query_block


@dataclass(frozen=True)
class Heads:
    """What attention is, whichever kind.

    Args:
        groups: key/value heads.
        repeats: query heads of each.
        keys: width of a head's queries and keys.
        values: width of its values.
        window: tokens that a query sees; None is all.
    """

    groups: int
    repeats: int
    keys: int
    values: int
    window: int | None

    def scores(self, shape: Shape) -> float:
        """Elements of attention's weights a token, masked ones of its block of queries included."""
        rows = query_block(self.repeats, self.keys, shape.context, self.window, shape.typed_bytes)
        return self.groups * self.repeats * keys_seen(rows, shape.context, self.window)

    def kept_scores(self, shape: Shape) -> float:
        """Those that are kept for the backward pass."""
        seen = min(shape.context, self.window or shape.context)
        return 0.0 if shape.fused or seen > KEPT_KEYS else self.scores(shape)

    def backward(self, shape: Shape) -> float:
        """Elements a token of the gradients of output, queries, keys and values, and of what is computed at once."""
        queries = self.groups * self.repeats * self.keys
        joined = queries + self.groups * (self.keys + self.values)
        output = self.groups * self.repeats * self.values
        if shape.fused:
            return output + 2 * joined
        cut = (self.repeats, self.keys, shape.context, self.window, shape.typed_bytes)
        pairs = min(pairs_together(*cut), shape.batch_size * self.groups)
        rows, seen = query_block(*cut), min(shape.context, self.window or shape.context)
        # A block's weights have two gradients, and inputs and gradients of a pair's head are laid out anew.
        blocks = 2 * min(rows, shape.context) * self.repeats * min(shape.context, seen + rows)
        laid_out = shape.context * (self.repeats * (2 * self.keys + self.values) + 2 * (self.keys + self.values))
        # Behind it the three gradients are joined to one.
        return joined + max(joined, output + pairs * (blocks + laid_out) / shape.tokens)

    def work(self, weights: float, elements: float, shape: Shape, train: bool) -> Work:
        """Units of work a token.

        Args:
            weights: parameters that a token multiplies with.
            elements: that it reads and writes.
            shape: what runs.
            train: whether a backward pass follows.
        """
        scores = self.scores(shape)
        flops = 2 * scores * (self.keys + self.values)
        if train and min(shape.context, self.window or shape.context) > KEPT_KEYS:
            # The scores are made again, in a fourth pass over them, and with them the product that they are.
            flops, scores = flops + 2 * scores * self.keys / 3, scores * 4 / 3
        work = {"product": 2.0 * weights, "attention_score": scores, "attention_element": elements}
        # Long blocks of queries go to oneDNN one by one, as products with weights do.
        long = long_query_blocks(self.repeats, self.keys, shape.context, self.window, shape.typed_bytes)
        unit = "product" if long else "attention_product"
        work[unit] = work.get(unit, 0.0) + flops
        return work


# Operations that attention starts for a short sequence, its projections included.
KERNELS = 29.0
