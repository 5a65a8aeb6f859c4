"""Multi-head latent attention as both DeepSeek families and Kimi Linear have it: fields, block and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_core.architecture import MLA, Block
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.rope import latent_rope, mscale_all_dim, rope_parameters
from harmony_core.interop.hf.weights import SAME, Part, Reordering, Weight, rotary, same

# The modeling code leaves the latents' norms at this default, whatever `rms_norm_eps` says.
LATENT_EPSILON = 1e-6


def mla(fields: Fields) -> Block:
    """The block with rotary positions."""
    rope = fields.integer("qk_rope_head_dim")
    fields.require("head_dim", (rope,), f"the configuration makes it qk_rope_head_dim; use {rope}")
    return latent_attention(fields, **latent_rope(fields, fields.integer("qk_nope_head_dim") + rope))


def latent_attention(fields: Fields, **positions: Any) -> Block:
    """The block; `positions` are its options of rotary ones."""
    heads = fields.integer("num_attention_heads")
    widths: dict[str, Any] = {}
    for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        widths[name] = fields.integer(name)
    fields.require("num_key_value_heads", (heads, None), f"keys are rebuilt for every head; use {heads}")
    epsilon = fields.number("rms_norm_eps")
    return MLA(
        num_heads=heads,
        q_lora_rank=None if fields.get("q_lora_rank") is None else fields.integer("q_lora_rank"),
        bias=fields.flag("attention_bias"),
        latent_epsilon=None if epsilon == LATENT_EPSILON else LATENT_EPSILON,
        **widths,
        **positions,
    )


def mla_fields(block: Block) -> dict[str, Any]:
    """The other way round."""
    if not isinstance(block, MLA) or block.rope_base is None:
        raise DoesNotFit
    parameters, all_dim = rope_parameters(block), mscale_all_dim(block)
    if all_dim is None:
        raise DoesNotFit
    if all_dim:
        parameters["mscale_all_dim"] = all_dim
    return {**latent_fields(block), "rope_parameters": parameters}


def latent_fields(block: MLA) -> dict[str, Any]:
    """Fields of heads and widths."""
    names = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    return {
        "num_attention_heads": block.num_heads,
        "num_key_value_heads": block.num_heads,
        "attention_bias": block.bias,
        **{name: getattr(block, name) for name in names},
    }


def mla_weights(block: MLA, ours: str, theirs: str, halves: bool) -> Iterator[Weight]:
    """Down- and up-projections, latents' norms, output.

    Args:
        block: its configuration.
        ours: how its keys begin here.
        theirs: how they begin there.
        halves: whether rotary elements are halves there, and not pairs.
    """
    rope = block.qk_rope_head_dim
    queries = rotary(block.qk_head_dim, block.qk_nope_head_dim, rope) if halves else SAME
    shared = rotary(block.kv_lora_rank + rope, block.kv_lora_rank, rope) if halves else SAME
    if block.q_lora_rank is None:
        yield _ordered(f"{ours}.q_up", f"{theirs}.q_proj.weight", queries)
    else:
        yield same(f"{ours}.q_down", f"{theirs}.q_a_proj.weight")
        yield same(f"{ours}.q_norm.weight", f"{theirs}.q_a_layernorm.weight")
        yield _ordered(f"{ours}.q_up", f"{theirs}.q_b_proj.weight", queries)
    yield _ordered(f"{ours}.kv_down", f"{theirs}.kv_a_proj_with_mqa.weight", shared)
    yield same(f"{ours}.kv_norm.weight", f"{theirs}.kv_a_layernorm.weight")
    yield same(f"{ours}.kv_up", f"{theirs}.kv_b_proj.weight")
    yield same(f"{ours}.out", f"{theirs}.o_proj.weight")
    if block.bias:
        if block.q_lora_rank is not None:
            yield same(f"{ours}.q_down_bias", f"{theirs}.q_a_proj.bias")
        yield _ordered(f"{ours}.kv_down_bias", f"{theirs}.kv_a_proj_with_mqa.bias", shared)
        yield same(f"{ours}.out_bias", f"{theirs}.o_proj.bias")


def _ordered(ours: str, theirs: str, order: Reordering) -> Weight:
    return Weight(ours, (Part(theirs, None, order),))
