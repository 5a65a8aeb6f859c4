"""What a block of `harmony_core.models` holds for a token: kept from forward to backward, and for a moment in backward.

Counted from the modules: what each autograd function saves, views of one tensor once. fp32 elements stay fp32 under
autocast (the residual stream, norms' inputs, convolutions, states); typed ones are in the type of the products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from harmony_core.architecture import MLA, MLP, Attention, Block, Hyena, HyenaLI, Mamba, Mamba2, MoE
from harmony_core.architecture.mlp import GATED, Activation
from harmony_core.machines.chunks import (
    KEPT_KEYS,
    aligned_rows,
    keys_seen,
    pairs_together,
    query_block,
    scan_chunk,
)


@dataclass(frozen=True)
class Shape:
    """What runs through a block.

    Args:
        d_model: width of the residual stream.
        batch_size: sequences.
        context: tokens a sequence.
        typed_bytes: bytes of an element in the type of the products.
        fused: a GPU's kernels: attention keeps no scores, where the CPU's keeps them while no query sees more than 512
            keys (`models/ops/blocked_plan.py`); feed-forwards keep no opened gate, and experts, in grouped products, no
            rows but their projections (`models/ops/grouped_experts.py`).
    """

    d_model: int
    batch_size: int
    context: int
    typed_bytes: int
    fused: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that pass through the block."""
        return self.batch_size * self.context


@dataclass(frozen=True)
class Held:
    """Elements of each token, but for `once`.

    Args:
        typed: kept for backward, in the type of the products.
        fp32: kept for backward, in fp32 whatever the type of the products.
        working_typed: made in the block's backward pass beside what is kept, when it is most.
        working_fp32: the same in fp32.
        once: kept for backward in fp32, however many tokens there are.
    """

    typed: float
    fp32: float = 0.0
    working_typed: float = 0.0
    working_fp32: float = 0.0
    once: float = 0.0


def kept_bytes(block: Block, shape: Shape) -> float:
    """Bytes that a block keeps from its forward pass to its backward pass, its norm and residual sum included."""
    held = _held(block, shape)
    # The norm keeps its input, which is the sum before it, and a scale a token; its output is the block's own input.
    a_token = shape.typed_bytes * (held.typed + shape.d_model) + 4 * (held.fp32 + shape.d_model + 1)
    # Under autocast each product keeps its weight's copy in the type of the products.
    weights = block.num_params(shape.d_model) * shape.typed_bytes if shape.typed_bytes < 4 else 0
    return shape.tokens * a_token + 4 * held.once + weights


def working_bytes(block: Block, shape: Shape) -> float:
    """Bytes that a block's backward pass makes beside what is kept: its gradients on their way through it."""
    held = _held(block, shape)
    # The residual sum's gradient waits for the block's.
    return shape.tokens * (shape.typed_bytes * held.working_typed + 4 * (held.working_fp32 + shape.d_model))


@singledispatch
def _held(block: Block, shape: Shape) -> Held:
    raise TypeError(f"the memory model does not know {block.kind!r}; add it to machines/activations.py")


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

    @classmethod
    def of(cls, block: Attention | MLA) -> Heads:
        """The heads of a block."""
        if isinstance(block, MLA):
            return cls(block.num_heads, 1, block.qk_head_dim, block.v_head_dim, None)
        repeats = block.num_heads // block.kv_heads
        return cls(block.kv_heads, repeats, block.head_dim, block.head_dim, getattr(block, "window", None))

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


@_held.register
def _attention(block: Attention, shape: Shape) -> Held:
    q, k, heads = block.num_heads * block.head_dim, block.kv_heads * block.head_dim, Heads.of(block)
    typed, fp32 = q + 2 * k + heads.kept_scores(shape) + q, 0.0
    if block.qk_norm:
        # The norms keep fp32 copies of queries and keys, values keep the whole projection, and attention its inputs.
        typed += q + k
        fp32 += q + k + block.num_heads + block.kv_heads
    return Held(typed, fp32, working_typed=heads.backward(shape))


@_held.register
def _mla(block: MLA, shape: Shape) -> Held:
    heads, rank = Heads.of(block), block.q_lora_rank or 0
    q, v, nope = (block.num_heads * n for n in (block.qk_head_dim, block.v_head_dim, block.qk_nope_head_dim))
    # Latents before their norm, in fp32; in one tensor with the rotary key where that is fp32 already.
    latents = rank + block.kv_lora_rank + (block.qk_rope_head_dim if shape.typed_bytes == 4 else 0)
    # Latents behind their norms; queries, keys, the keys and values that were rebuilt; weights; the output.
    typed = rank + block.kv_lora_rank + 2 * q + nope + v + heads.kept_scores(shape) + v
    return Held(typed, latents + 1 + bool(rank), working_typed=heads.backward(shape))


@_held.register
def _mlp(block: MLP, shape: Shape) -> Held:
    kept, made = _feed_forward(block.d_ff, block.activation, shape)
    return Held(kept, working_typed=made)


def _feed_forward(inner: int, activation: Activation, shape: Shape) -> tuple[int, int]:
    """Kept: the projection (gate and up), on a CPU the opened gate. Made: the inner gradient, the projection's, and the
    opened gate where it was not kept; an identity's is a view.
    """
    if activation not in GATED:
        return inner, 2 * inner
    if shape.fused:
        return 2 * inner, 4 * inner
    return (2 if activation == "bilinear" else 3) * inner, 3 * inner


@_held.register
def _moe(block: MoE, shape: Shape) -> Held:
    width = shape.d_model
    rows = block.top_k if shape.fused else aligned_rows(shape.tokens, block.top_k, block.n_routed) / shape.tokens
    # Scores, and for the balancing loss these over their sum; chosen scores before and after their normalisation.
    router = block.n_routed * (2 if block.balancing == "aux" else 1) + 3 * block.top_k
    # int64 indices count as two elements: the choice, each row's token, each choice's row.
    indices = 2 * (block.top_k + rows + block.top_k)
    copy = width if shape.typed_bytes < 4 else 0
    kept, made = _feed_forward(block.d_expert, block.activation, shape)
    shared, shared_made = _feed_forward(block.shared_width, block.activation, shape)
    if shape.fused and shape.typed_bytes < 4:
        # Grouped products: all experts at once, with their inner activations; rows are gathered again.
        networks, rows_kept = rows * (made + block.d_expert), 0.0
    else:
        # One expert after the other; the rows that experts read and wrote.
        networks, rows_kept = rows / block.n_routed * made, rows * 2 * width
    # The rows' gradients of input and output, and what the networks make.
    routed = (2 * rows + 1) * width + networks
    return Held(
        typed=rows * kept + rows_kept + shared + block.top_k,
        fp32=router + indices + copy,
        working_typed=max(routed, shared_made + width),
    )


@_held.register
def _mamba2(block: Mamba2, shape: Shape) -> Held:
    inner, conv, heads = (f(shape.d_model) for f in (block.d_inner, block.conv_dim, block.num_heads))
    chunk = scan_chunk(block.chunk_size, shape.context)
    projection = inner + conv + heads
    # The convolution keeps its input (a view of the projection where that is fp32) and its output before SiLU.
    copy = conv if shape.typed_bytes < 4 else 0
    states = inner * block.d_state / chunk
    # Behind the convolution; the scan's output; the norm's output.
    typed = projection + conv + inner + inner
    # The scan's gradients, and of one chunk of all sequences its inputs' and outputs' and its decays.
    chunks_share = chunk / shape.context
    working = 2 * inner + conv + chunks_share * (8 * inner + 2.5 * heads * chunk)
    return Held(typed, conv + copy + 2 * heads + states + block.n_groups, working_fp32=working)


@_held.register
def _mamba(block: Mamba, shape: Shape) -> Held:
    inner, rank = block.d_inner(shape.d_model), block.rank(shape.d_model)
    selected = rank + 2 * block.d_state
    typed = 2 * inner + inner + selected + rank + inner + inner + inner
    return Held(typed, inner + 3 * inner, working_fp32=6 * inner)


@_held.register
def _hyena(block: Hyena, shape: Shape) -> Held:
    width = shape.d_model
    # Under autocast the short convolution keeps an fp32 copy of the projection instead of the projection.
    typed, copy = (7 * width, 0) if shape.typed_bytes == 4 else (4 * width, 3 * width)
    states = once = 0.0
    if isinstance(block, HyenaLI):
        states = width * block.state_size / block.chunk_size
        # Powers of the poles, with residues, and in the other order.
        once = 3 * width * block.state_size * (block.chunk_size + 1)
    # The projection, the short convolution's output, and y; the long convolution's output.
    return Held(typed, width + copy + states, working_fp32=7 * width + copy, once=once)
