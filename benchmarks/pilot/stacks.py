"""The stacks that a parametrisation is judged by, all at one budget."""

from __future__ import annotations

from typing import Any

from benchmarks.baselines import BUDGET
from harmony_core.architecture import Architecture, block_kinds
from harmony_core.architecture.presets import load_preset

WIDTH, VOCAB_SIZE, LAYERS = 128, 257, 4
_GRID = 4

Layer = tuple[dict[str, Any], str]

# One block of each token mixer, about as it stands in the nano presets.
MIXERS: dict[str, dict[str, Any]] = {
    "mha": {"num_heads": 4, "head_dim": 32},
    "mqa": {"num_heads": 4, "head_dim": 32},
    "gqa": {"num_heads": 4, "head_dim": 32, "num_kv_heads": 2},
    "mla": {"num_heads": 4, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32},
    "swa": {"num_heads": 4, "head_dim": 32, "num_kv_heads": 4, "window": 128},
    "mamba2": {"d_state": 64, "head_dim": 32},
    "mamba": {},
    "gated_deltanet": {"num_key_heads": 4, "num_value_heads": 8, "key_head_dim": 32, "value_head_dim": 32},
    "kda": {"num_heads": 4, "head_dim": 32},
    "parallel": {
        "attention": {"num_heads": 4, "num_kv_heads": 1, "head_dim": 16},
        "ssm": {"d_state": 32, "inner_width": 192, "head_dim": 32, "norm": "none"},
    },
    "short_conv": {},
    "hyena_se": {"num_groups": 8},
    "hyena_mr": {"num_groups": 8},
    "hyena_li": {},
}
EXPERTS: dict[str, Any] = {"kind": "moe", "n_routed": 8, "top_k": 2, "bias_update_rate": 0.01, "balancing": "bias"}

# Hybrids of which the first block differs, since it is the first that reads the bare embedding.
HYBRIDS: dict[str, tuple[str, ...]] = {
    "mha_first": ("mha", "hyena_mr", "hyena_se", "hyena_mr"),
    "gqa_first": ("gqa", "mamba2", "hyena_se", "mamba2"),
    "mla_first": ("mla", "hyena_mr", "hyena_se", "mha"),
    "swa_first": ("swa", "hyena_li", "swa", "hyena_mr"),
    "mamba2_first": ("mamba2", "mla", "mha", "mamba2"),
    "hyena_se_first": ("hyena_se", "hyena_mr", "gqa", "hyena_li"),
}


def stacks() -> dict[str, Architecture]:
    """By name: a stack of each mixer with feed-forwards, three with experts, six hybrids, and StripedHyena 2."""
    kinds = block_kinds("mixer")
    missing = [kind for kind in kinds if kind not in MIXERS]
    if missing:
        raise ValueError(f"no stack of {', '.join(missing)}: add a block of it to MIXERS")
    found = {kind: at_budget([kind] * LAYERS, "mlp") for kind in kinds}
    found |= {f"{kind}_moe": at_budget([kind] * LAYERS, "moe") for kind in ("gqa", "mamba2", "hyena_mr")}
    found |= {name: at_budget(list(mixers), "mlp") for name, mixers in HYBRIDS.items()}
    return {**found, "stripedhyena_2": load_preset("stripedhyena-2-nano")}


def at_budget(mixers: list[str], channel: str) -> Architecture:
    """The layers with the widest channel mixers that the budget of the nano presets holds."""
    fitting = None
    for width in range(_GRID, 8 * WIDTH, _GRID):
        layers = [block for mixer in mixers for block in ({"kind": mixer, **MIXERS[mixer]}, _channel(channel, width))]
        architecture = Architecture.parse({"d_model": WIDTH, "vocab_size": VOCAB_SIZE, "blocks": layers})
        if architecture.num_active_non_embedding_params() > BUDGET["max"]:
            break
        fitting = architecture
    if fitting is None or fitting.num_active_non_embedding_params() < BUDGET["min"]:
        raise ValueError(f"{mixers} with {channel}: no width meets {BUDGET}")
    return fitting


def _channel(kind: str, width: int) -> dict[str, Any]:
    return {"kind": "mlp", "d_ff": width} if kind == "mlp" else {**EXPERTS, "d_expert": width}
