"""`rope_parameters` and the rotary options of a block, as `transformers.modeling_rope_utils` reads them."""

from __future__ import annotations

import math
from typing import Any

from harmony_core.architecture import MLA, Attention, RopeScaling
from harmony_core.architecture.rope import rotary_width
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.fields import Fields

# Beside the method's own keys: an old name of it, and in which parts of a head pictures' positions are; a text's are
# the same in all of them.
_HARMLESS = ("type", "mrope_section", "mrope_interleaved")
_KEYS = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "longrope": ("factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
    ),
}


def rope(fields: Fields, partial: bool = False, layer_type: str | None = None) -> dict[str, Any]:
    """`rope_base`, `rope_fraction` and `rope_scaling` of attention.

    Args:
        fields: with `rope_parameters` and `max_position_embeddings`.
        partial: whether the family lets a part of each head turn.
        layer_type: whose they are, where each type of layer has its own.
    """
    parameters = _parameters(fields, layer_type)
    fraction = parameters.number("partial_rotary_factor", default=1.0)
    if fraction != 1.0 and not partial:
        raise parameters.error("partial_rotary_factor", f"{fields.model_type} turns whole heads; use 1.0")
    found = {**_base_and_scaling(parameters, fields, layered=layer_type is not None), "rope_fraction": fraction}
    parameters.finish(_HARMLESS, declared=())
    return found


def proportional_rope(fields: Fields, head_dim: int, layer_type: str) -> dict[str, Any]:
    """`rope`, or `proportional`: a part of the frequencies of whole heads, the others being zero (LFM3, Gemma 4).

    They are those of a head of which that part turns, from a smaller base: base ** -(2 i / K) with K the head's width
    is (base ** (W / K)) ** -(2 i / W) with W the width that turns.

    Args:
        fields: of the configuration.
        head_dim: width K of a head.
        layer_type: whose entry of `rope_parameters` is read.

    Raises:
        UserError: nothing turns, or a field has a value that is not computed.
    """
    parameters = _parameters(fields, layer_type, "proportional")
    if parameters.get("rope_type") != "proportional":
        return rope(fields, layer_type=layer_type)
    share, base = parameters.number("partial_rotary_factor", default=1.0), parameters.number("rope_theta")
    factor, turning = parameters.number("factor", default=1.0), 2 * int(share * head_dim // 2)
    if turning == 0:
        raise parameters.error("partial_rotary_factor", f"it turns nothing of {head_dim} elements; use more")
    parameters.finish(_HARMLESS, declared=())
    scaling = None if factor == 1 else RopeScaling.parse({"method": "linear", "factor": factor}, parameters.where)
    turned = turning / head_dim
    return {"rope_base": base**turned, "rope_fraction": turned, "rope_scaling": scaling}


def proportional_parameters(block: Attention) -> dict[str, Any]:
    """The other way round; `DoesNotFit` where a part turns that is scaled otherwise."""
    if block.rope_fraction == 1 or block.rope_base is None:
        return rope_parameters(block)
    scaling, turned = block.rope_scaling, rotary_width(block.head_dim, block.rope_fraction) / block.head_dim
    if scaling is not None and scaling.method != "linear":
        raise DoesNotFit
    return {
        "rope_type": "proportional",
        "rope_theta": block.rope_base ** (1 / turned),
        "partial_rotary_factor": turned,
        "factor": 1.0 if scaling is None else scaling.factor,
    }


def latent_rope(fields: Fields, qk_head_dim: int) -> dict[str, Any]:
    """`rope_base`, `rope_scaling` and `scale` of latent attention.

    DeepSeek multiplies the scores by the square of 0.1 mscale_all_dim ln(factor) + 1, whatever the method.
    """
    parameters = _parameters(fields)
    parameters.require("partial_rotary_factor", (None, 1, 1.0), f"{fields.model_type} turns all of its rope dimension")
    found = _base_and_scaling(parameters, fields)
    all_dim = parameters.number("mscale_all_dim", default=0.0)
    if all_dim and found["rope_scaling"] is not None:
        factor = parameters.number("factor")
        found["scale"] = _magnitude(factor, all_dim) ** 2 / math.sqrt(qk_head_dim)
    parameters.finish(_HARMLESS, declared=())
    return found


def rope_parameters(block: Attention | MLA) -> dict[str, Any]:
    """The other way round; `attention_factor` is always given, so that nothing is left to a default.

    Of `dynamic` the original context is the model's longest one (`harmony_core.interop.hf.export.longest_context`).
    """
    scaling = block.rope_scaling
    found: dict[str, Any] = {"rope_theta": block.rope_base, "rope_type": "default"}
    if isinstance(block, Attention) and block.rope_fraction != 1:
        found["partial_rotary_factor"] = block.rope_fraction
    if scaling is None:
        return found
    found |= {"rope_type": scaling.method, "factor": scaling.factor}
    if scaling.method not in ("linear", "dynamic"):
        found["original_max_position_embeddings"] = scaling.original_context
    if scaling.method == "llama3":
        found |= {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    if scaling.method in ("yarn", "longrope"):
        found["attention_factor"] = scaling.vector_factor
    if scaling.method == "longrope":
        found |= {"short_factor": list(scaling.short_factors), "long_factor": list(scaling.long_factors)}
    if scaling.method == "yarn":
        found |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
    return found


def mscale_all_dim(block: MLA) -> float | None:
    """The `mscale_all_dim` from which DeepSeek computes the block's factor of scores; None where there is none."""
    if block.scale is None:
        return 0.0
    scaling, plain = block.rope_scaling, 1 / math.sqrt(block.qk_head_dim)
    if scaling is None or scaling.factor == 1 or block.scale < plain:
        return None if not math.isclose(block.scale, plain) else 0.0
    return (math.sqrt(block.scale / plain) - 1) / (0.1 * math.log(scaling.factor))


def _parameters(fields: Fields, layer_type: str | None = None, *further: str) -> Fields:
    """Those of the model, or of a type of layer; `further` are methods that the family has beside the usual ones."""
    values, where = fields.get("rope_parameters"), f"{fields.where}.rope_parameters"
    if layer_type is not None:
        values, where = values.get(layer_type) if isinstance(values, dict) else None, f"{where}.{layer_type}"
    if not isinstance(values, dict):
        of = "" if layer_type is None else f" for {layer_type}"
        raise fields.error("rope_parameters", f"use a mapping with rope_type and rope_theta{of}")
    parameters = Fields(fields.model_type, values, where)
    parameters.choice("rope_type", {method: method for method in (*_KEYS, *further)})
    return parameters


def _base_and_scaling(parameters: Fields, fields: Fields, layered: bool = False) -> dict[str, Any]:
    """`rope_base` and `rope_scaling`; where each type of layer has its own, `truncate` is not read of them."""
    method = parameters.get("rope_type")
    base = parameters.number("rope_theta")
    for name in _KEYS[method]:
        if not (layered and name == "truncate"):
            parameters.get(name)
    if method == "default":
        return {"rope_base": base, "rope_scaling": None}
    found: dict[str, Any] = {"method": method}
    if method == "dynamic":
        # The class has no other field for it.
        found["original_context"] = fields.integer("max_position_embeddings")
    elif method != "linear":
        found["original_context"] = parameters.integer("original_max_position_embeddings")
    if method == "llama3":
        found["low_frequency_factor"] = parameters.number("low_freq_factor")
        found["high_frequency_factor"] = parameters.number("high_freq_factor")
    if method in ("yarn", "longrope"):
        # None means the ratio of the contexts.
        longest = fields.get("max_position_embeddings")
        found["factor"] = parameters.number("factor", default=longest / found["original_context"])
    else:
        found["factor"] = parameters.number("factor")
    if method == "longrope":
        found["attention_factor"] = parameters.get("attention_factor")
        found |= {f"{name}_factors": _factors(parameters, f"{name}_factor") for name in ("short", "long")}
    if method == "yarn":
        found |= _yarn(parameters, found["factor"], layered)
    return {"rope_base": base, "rope_scaling": RopeScaling.parse(found, parameters.where)}


def _factors(parameters: Fields, name: str) -> tuple[float, ...]:
    values = parameters.get(name)
    if not isinstance(values, list | tuple) or not all(isinstance(one, int | float) for one in values):
        raise parameters.error(name, "use a list of numbers, one for each frequency")
    return tuple(float(one) for one in values)


def _yarn(parameters: Fields, factor: float, layered: bool) -> dict[str, Any]:
    mscale, all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
    attention = parameters.get("attention_factor")
    if attention is None and mscale and all_dim:
        attention = _magnitude(factor, mscale) / _magnitude(factor, all_dim)
    if attention is not None and math.isclose(attention, _magnitude(factor), rel_tol=1e-12):
        attention = None
    truncate = True if layered else parameters.get("truncate")
    return {
        "attention_factor": attention,
        "beta_fast": float(parameters.get("beta_fast") or 32),
        "beta_slow": float(parameters.get("beta_slow") or 1),
        "truncate": True if truncate is None and "truncate" not in parameters.values else bool(truncate),
    }


def _magnitude(factor: float, mscale: float = 1.0) -> float:
    """YaRN's 0.1 mscale ln(factor) + 1 (arXiv:2309.00071, section 3.4)."""
    return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0
