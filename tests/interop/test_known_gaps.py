"""What exchange with `transformers` should do and does not yet: each fails, and passing is news.

Issue 8 mends them; the marker of a test that it makes pass goes with it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config

VOCAB = 97
# Of each published file what the class reads, at a small size, and the fields that nothing reads.
LEFTOVERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bamba": (
        {"hidden_size": 32, "mamba_n_heads": 4, "mamba_d_head": 16, "attn_layer_indices": [1]},
        {"mamba_dt_rank": 256, "use_mamba_kernels": True},
    ),
    "mamba2": (
        {"hidden_size": 32, "num_heads": 4, "head_dim": 16, "n_groups": 2},
        {"intermediate_size": 8192, "time_step_init_scheme": "random", "time_step_scale": 1.0},
    ),
    "qwen3_moe": (
        {"hidden_size": 32, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
        {"shared_expert_intermediate_size": 0, "use_qk_norm": True, "qkv_bias": False},
    ),
    "llama": ({"hidden_size": 32}, {"is_llama_config": True, "rope_interleaved": False, "max_sequence_length": 2048}),
}
SMALL = {"num_hidden_layers": 2, "vocab_size": VOCAB}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}


def small(family: str, **more: Any) -> Any:
    own, _ = LEFTOVERS[family]
    attention = {} if family == "mamba2" else ATTENTION
    return AutoConfig.for_model(family, **{**SMALL, **attention, **own, **more})


def num_parameters(config: Any) -> int:
    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


@pytest.mark.parametrize("family", LEFTOVERS)
def test_the_same_without_the_leftovers(family: str) -> None:
    """So that the tests below fail for what they name, and for nothing else."""
    config = small(family)
    assert architecture_from_config(config).num_params() == num_parameters(config)


@pytest.mark.xfail(strict=True, raises=UserError, reason="issue 8: fields that no class reads are refused")
@pytest.mark.parametrize("family", LEFTOVERS)
def test_published_fields_that_nothing_reads_are_left_out(family: str) -> None:
    config = small(family, **LEFTOVERS[family][1])
    assert architecture_from_config(config).num_params() == num_parameters(config)


@pytest.mark.xfail(strict=True, raises=UserError, reason="issue 8: a rotary field that nothing reads is refused")
def test_a_rotary_field_that_nothing_reads_is_left_out() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "finetuned": True}
    config = small("llama", rope_scaling=scaling)
    assert architecture_from_config(config).num_params() == num_parameters(config)
