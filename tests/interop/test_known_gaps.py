"""What exchange with `transformers` should do and does not yet: each fails, and passing is news.

Issue 8 mends them; the marker of a test that it makes pass goes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config, export
from harmony_core.models import build, generate

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


@pytest.fixture
def limited() -> Any:
    """A Mamba-2 whose steps have limits that bite."""
    block = {"kind": "mamba2", "d_state": 10, "head_dim": 12, "dt_limit": [0.001, 0.1]}
    model = build(Architecture(d_model=48, vocab_size=VOCAB, blocks=[block, block]), 1).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not name.endswith("a_log"):
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {},
            marks=pytest.mark.xfail(
                strict=True, raises=AssertionError, reason="issue 8: the class clamps in its parallel form alone"
            ),
        ),
        {"use_cache": False},
    ],
    ids=["as_exported", "without_cache"],
)
def test_an_exported_model_with_limits_generates_the_same_text(
    limited: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    export(limited, tmp_path)
    prompt = torch.randint(0, VOCAB, (4, 9), generator=torch.Generator().manual_seed(6))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    found = theirs.generate(prompt, max_new_tokens=24, do_sample=False, **options)
    assert torch.equal(found[:, -24:], generate(limited, prompt, 24, temperature=0)[:, -24:])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with code of its own."""
    folder = tmp_path_factory.mktemp("exported")
    block = {"kind": "hyena_se", "num_groups": 4}
    assert export(build(Architecture(d_model=32, vocab_size=64, blocks=[block])), folder) == "harmony"
    return folder


@pytest.mark.xfail(strict=True, raises=AttributeError, reason="issue 8: the exported configuration lacks it")
@pytest.mark.parametrize(
    "name", ["bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "num_attention_heads", "initializer_range"]
)
def test_the_exported_configuration_has_what_trainers_read(exported: Path, name: str) -> None:
    config = AutoConfig.from_pretrained(exported, trust_remote_code=True)
    found = getattr(config, name)
    assert (found is None) == name.endswith("token_id")


@pytest.mark.xfail(strict=True, raises=ValueError, reason="issue 8: the exported code calls SDPA without saying so")
def test_the_exported_code_takes_sdpa(exported: Path) -> None:
    AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=True, attn_implementation="sdpa")
