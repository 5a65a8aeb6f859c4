"""Mamba-2."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import Mamba2
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.tiling import scan_chunk


@prices(Mamba2)
class Mamba2Costs(BlockCosts[Mamba2]):
    """Of `models/mamba2.py`."""

    @override
    def traffic(self, block: Mamba2, d_model: int) -> Traffic:
        inner, conv, heads = block.d_inner(d_model), block.conv_dim(d_model), block.num_heads(d_model)
        projections = d_model + inner + conv + heads + inner + d_model
        # Each chunk writes its state once and reads it twice: to pass it on, and to use it.
        states = 3 * inner * block.d_state // block.chunk_size
        scan = conv + heads + inner + states
        # Gate and norm are one operation as they are usual; the other way round the norm is one by itself.
        gated_norm = (5 if block.norm == "norm_first" else 3) * inner
        factors = [factor != 1 for factor in block.multipliers]
        gate = 2 * inner * (factors[0] and block.norm == "gate_first")
        kernels = 14 + (block.norm == "norm_first") + bool(gate) + any(factors[1:4]) + factors[4]
        return Traffic(projections + 2 * conv + scan + gated_norm + gate + 2 * heads * factors[4], kernels)

    @override
    def work(self, block: Mamba2, shape: Shape, train: bool) -> tuple[Work, Work]:
        inner, heads = block.d_inner(shape.d_model), block.num_heads(shape.d_model)
        chunk = scan_chunk(block.chunk_size, shape.context)
        projections = shape.d_model * (2 * inner + block.conv_dim(shape.d_model) + heads)
        within, states = 2 * chunk * (block.n_groups * block.d_state + inner), 4 * inner * block.d_state
        return {
            "product": 2.0 * projections,
            "exponential": float(block.conv_dim(shape.d_model) + inner),
            "scan_product": float(within + states),
            "scan_decay": float(heads * chunk),
            "scan_element": self.elements(block, shape),
        }, {"kernel": 90.0}

    @override
    def kept_memory(self, block: Mamba2, shape: Shape) -> KeptMemory:
        inner, conv, heads = (f(shape.d_model) for f in (block.d_inner, block.conv_dim, block.num_heads))
        chunk = scan_chunk(block.chunk_size, shape.context)
        projection = inner + conv + heads
        # The convolution keeps its input (a view of the projection where that is fp32) and its output before SiLU.
        copy = conv if shape.typed_bytes < 4 else 0
        states = inner * block.d_state / chunk
        # Behind the convolution; the scan's output; the norm's output.
        typed, fp32 = projection + conv + inner + inner, conv + copy + 2 * heads + states
        if block.norm == "gate_first":
            fp32 += block.n_groups
        if block.norm == "norm_first":
            # What the norm gives, and that times its weight.
            fp32 += 2 * inner
        elif block.norm == "gate_first" and block.multipliers[0] != 1:
            # The gate's product keeps itself; the projection is kept for the convolution alone.
            typed = typed + inner - (projection if copy else 0)
        # The scan's gradients, and of one chunk of all sequences its inputs' and outputs' and its decays.
        chunks_share = chunk / shape.context
        working = 2 * inner + conv + chunks_share * (8 * inner + 2.5 * heads * chunk)
        return KeptMemory(typed, fp32, working_fp32=working)
