"""The mixture of experts."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import MoE
from harmony_core.architecture.mlp import num_matrices
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.feed_forward import exponentials, kept_and_made
from harmony_core.tiling import aligned_rows


@prices(MoE)
class MoECosts(BlockCosts[MoE]):
    """Of `models/moe.py`."""

    @override
    def traffic(self, block: MoE, d_model: int) -> Traffic:
        matrices = num_matrices(block.activation)
        routing = d_model + 3 * block.n_routed
        width = block.expert_width(d_model)
        # Down to the experts' width, and back.
        latent = 2 * (d_model + width) if block.d_latent is not None else 0
        moved = 4 * block.top_k * width
        experts = block.top_k * (2 * width + 2 * matrices * block.d_expert)
        # One network, and the addition of its output to the routed experts'.
        shared = 5 * d_model + 2 * matrices * block.shared_width if block.n_shared else 0
        # Router, its scores and choice, sorting, gathering, grouped products, scattering back.
        kernels = 7 + 2 * (latent > 0) + matrices + 1 + (matrices + 2) * (block.n_shared > 0)
        return Traffic(routing + latent + moved + experts + shared, kernels)

    @override
    def work(self, block: MoE, shape: Shape, train: bool) -> tuple[Work, Work]:
        inner = block.top_k * block.d_expert + block.shared_width
        idle = (1 - block.top_k / block.n_routed) ** shape.tokens
        return {
            "product": 2.0 * block.num_active_params(shape.d_model),
            "exponential": exponentials(inner, block.activation),
            "feed_forward_element": self.elements(block, shape),
        }, {"expert": block.n_routed * (1 - idle), "kernel": 55.0 + 6.0 * (block.d_latent is not None)}

    @override
    def kept_memory(self, block: MoE, shape: Shape) -> KeptMemory:
        width = block.expert_width(shape.d_model)
        rows = block.top_k if shape.fused else aligned_rows(shape.tokens, block.top_k, block.n_routed) / shape.tokens
        # Scores, and for the balancing loss these over their sum; chosen scores before and after their normalisation.
        router = block.n_routed * (2 if block.balancing == "aux" else 1) + 3 * block.top_k
        # int64 indices count as two elements: the choice, each row's token, each choice's row.
        indices = 2 * (block.top_k + rows + block.top_k)
        copy = shape.d_model if shape.typed_bytes < 4 else 0
        # What the projection down gave, for fp32 rows alone, and what the one back takes.
        latent = width if block.d_latent is not None else 0
        kept, made = kept_and_made(block.d_expert, block.activation, shape)
        shared, shared_made = kept_and_made(block.shared_width, block.activation, shape)
        if shape.fused and shape.typed_bytes < 4:
            # Grouped products: all experts at once, with their inner activations; rows are gathered again.
            networks, rows_kept = rows * (made + block.d_expert), 0.0
        else:
            # One expert after the other; the rows that experts read and wrote.
            networks, rows_kept = rows / block.n_routed * made, rows * 2 * width
        # The rows' gradients of input and output, and what the networks make.
        routed = (2 * rows + 1) * width + networks
        return KeptMemory(
            typed=rows * kept + rows_kept + latent + shared + block.top_k,
            fp32=router + indices + copy,
            working_typed=max(routed, shared_made + shape.d_model),
        )
