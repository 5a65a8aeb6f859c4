"""Families that are published and not computed here, each with what it has that no block here is."""

from __future__ import annotations

from collections.abc import Iterable

_INDEXED = "indexed sparse attention"
_HYPER = "hyper-connections"
_LIGHTNING = "lightning attention"
_SHARED = "blocks shared by several layers"
# By `model_type`, that of the language model where a model has several.
MISSING: dict[str, tuple[str, ...]] = {
    "deepseek_v32": (_INDEXED,),
    "deepseek_v4": (
        "compressed sparse attention",
        _HYPER,
        "experts chosen by the token's hash",
        "a router of the root of softplus",
        "an output projection in groups",
    ),
    "gemma4_text": (
        "experts beside a dense network with norms of their own",
        "norms of values",
        "keys that are values too",
        "a learned factor of each layer",
        "a soft cap of the logits",
    ),
    "glm5_next_text": (_INDEXED, _HYPER),
    "glm_moe_dsa": (_INDEXED,),
    "hy_v4": (_INDEXED, _HYPER),
    "hypenet": (_LIGHTNING,),
    "jet_nemotron": ("JetBlocks, whose convolutions depend on the input",),
    "llama4_text": (
        "attention in chunks",
        "a QK norm behind the rotation",
        "a temperature that grows with the position",
        "experts scaled at their input",
    ),
    "mamba3": ("Mamba-3",),
    "minimax": (_LIGHTNING, "residuals with a factor of their own"),
    "minimax_m3": (_INDEXED,),
    "minimax_m3_vl_text": (_INDEXED,),
    "minimax_text_01": (_LIGHTNING, "residuals with a factor of their own"),
    "qwen4_exp_text": (_INDEXED, _HYPER),
    "recurrent_gemma": ("the real-gated linear recurrent unit (rg_lru)", "a soft cap of the logits"),
    "rwkv7": ("RWKV-7",),
    "step3p5": ("SwiGLU clamped behind its activation, by layer",),
    "zamba": (_SHARED, "inputs joined with the embedding"),
    "zamba2": (_SHARED, "adapters of low rank", "inputs joined with the embedding"),
}


def refusal(model_type: str, known: Iterable[str]) -> str:
    """Why a family is not read, and what is allowed.

    Args:
        model_type: what a configuration says.
        known: the families that are read.
    """
    missing = MISSING.get(model_type)
    if missing is None:
        return f"unknown family; use one of {', '.join(known)}"
    return f"it has {'; '.join(missing)}, which no block here computes; use one of {', '.join(known)}"
