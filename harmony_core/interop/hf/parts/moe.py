"""Mixtures of experts: balancing, routers, tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_core.architecture import Block, MoE
from harmony_core.interop.hf.family import BlockWeights, DoesNotFit
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.mlp import network_weights
from harmony_core.interop.hf.weights import Weight, same


def balancing(fields: Fields) -> dict[str, Any]:
    """`balancing` and `aux_coefficient`: a loss is added where the model is asked for its routers' logits.

    Ours is a mean over sequences and a sum over blocks of the shares of a token's choices; theirs takes both means
    over all layers and tokens first, and counts each of a token's choices in full.
    """
    coefficient = fields.number("router_aux_loss_coef")
    if fields.flag("output_router_logits") and coefficient > 0:
        return {"balancing": "aux", "aux_coefficient": coefficient}
    return {"balancing": "none"}


def balancing_fields(block: MoE) -> dict[str, Any]:
    """The other way round."""
    on = block.balancing == "aux"
    return {"output_router_logits": on, "router_aux_loss_coef": block.aux_coefficient if on else 0.0}


def sigmoid_router(fields: Fields) -> dict[str, Any]:
    """DeepSeek-V3's router, which Nemotron-H has too: groups, sigmoids, a bias that moves the choice."""
    return {
        "top_k": fields.integer("num_experts_per_tok"),
        "router": "sigmoid",
        "balancing": "bias",
        "group_score": "top2",
        "normalize_top_k": fields.flag("norm_topk_prob"),
        "routed_scale": fields.number("routed_scaling_factor"),
        "n_groups": fields.integer("n_group"),
        "top_groups": fields.integer("topk_group"),
    }


def sigmoid_router_fields(block: MoE) -> dict[str, Any]:
    """The other way round."""
    if block.n_groups > 1 and block.top_groups < block.n_groups and block.group_score != "top2":
        raise DoesNotFit
    limited = block.top_groups < block.n_groups
    return {
        "num_experts_per_tok": block.top_k,
        "norm_topk_prob": block.normalize_top_k,
        "routed_scaling_factor": block.routed_scale,
        "n_group": block.n_groups if limited else 1,
        "topk_group": block.top_groups if limited else 1,
    }


def as_moe(block: Block) -> MoE:
    """The block, if it is a mixture without a capacity, which no family has."""
    if not isinstance(block, MoE) or block.capacity_factor is not None:
        raise DoesNotFit
    return block


def expert_weights(ours: str, theirs: str, up: str = "gate_up_proj") -> Iterator[Weight]:
    """Stacked experts; gate and up are joined there too, the gate first.

    Args:
        ours: how the block's keys begin here.
        theirs: how the experts' keys begin there.
        up: what the family calls the projection up.
    """
    yield same(f"{ours}.up", f"{theirs}.{up}")
    yield same(f"{ours}.down", f"{theirs}.down_proj")


def mixture_weights(bias: str | None = None, shared: str | None = None, router: str = "gate") -> BlockWeights:
    """The tensors of a mixture: router, stacked experts, the shared network where there is one.

    Args:
        bias: name of the router's balancing bias; None where there is none.
        shared: name of the shared network; None where there is none.
        router: its name.
    """

    def weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
        yield from router_weights(ours, f"{theirs}.{router}", bias)
        yield from expert_weights(ours, f"{theirs}.experts")
        if shared is not None:
            yield from shared_weights(block, ours, f"{theirs}.{shared}")

    return weights


def latent_weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
    """Nemotron-3's projections around its experts, where it has them; arguments as for `attention_weights`."""
    if block.d_latent is None:
        return
    for name, number in (("down", 1), ("up", 2)):
        yield same(f"{ours}.latent_{name}", f"{theirs}.fc{number}_latent_proj.weight")
        if block.latent_bias:
            yield same(f"{ours}.latent_{name}_bias", f"{theirs}.fc{number}_latent_proj.bias")


def router_weights(ours: str, theirs: str, bias: str | None = None) -> Iterator[Weight]:
    """The router's matrix, and the bias where the family has one.

    Args:
        ours: how the block's keys begin here.
        theirs: how the router's keys begin there.
        bias: what the family calls the balancing bias; None is none.
    """
    yield same(f"{ours}.router.weight", f"{theirs}.weight")
    if bias is not None:
        yield same(f"{ours}.router.bias_E", f"{theirs}.{bias}")


def shared_weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
    """The shared experts' one network; arguments as for `attention_weights`."""
    if block.n_shared:
        yield from network_weights(f"{ours}.shared_", theirs, block.shared_width, block.activation, block.shared_bias)
