"""`export`: folders that `AutoModelForCausalLM` opens, with the same logits and the same cached generation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.random_models import CASES, can_cache, random_model, random_tokens
from transformers import AutoModelForCausalLM, PreTrainedModel

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config, export, from_hf
from harmony_core.interop.hf.export import LONGEST_CONTEXT, native_config
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.normal_form import normal_form
from harmony_core.models import build
from harmony_core.models.generate import generate
from harmony_core.models.lm import HybridLM

VOCAB, LENGTH = 53, 17
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
HEADS = {"num_heads": 4, "head_dim": 8}
LATENT = {"num_heads": 2, "kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
EXPERTS = {"kind": "moe", "n_routed": 6, "d_expert": 12, "top_k": 2}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 8, "attention_factor": 1.2}
LLAMA3 = {"method": "llama3", "factor": 4.0, "original_context": 8}
# Blocks that no class of `transformers` has together, or at all; with all options of each kind.
CUSTOM = {
    "attention": [
        {"kind": "mha", **HEADS, "qk_norm": True, "bias": True, "rope_scaling": YARN},
        {"kind": "mqa", **HEADS, "rope_fraction": 0.5, "rope_scaling": {**YARN, "truncate": False}, "scale": 0.2},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_base": None, "out_bias": True},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_scaling": LLAMA3},
        {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4, "rope_scaling": {"method": "linear", "factor": 2.0}},
        {"kind": "swa", **HEADS, "num_kv_heads": 4, "window": 1},
    ],
    "mla": [
        {"kind": "mla", **LATENT, "rope_scaling": YARN, "scale": 0.3, "latent_epsilon": 1e-3},
        {"kind": "mla", **LATENT, "q_lora_rank": 14, "bias": True},
    ],
    "mlp": [
        {"kind": "gqa", **HEADS, "num_kv_heads": 2},
        *({"kind": "mlp", "d_ff": 20, "activation": name, "bias": name < "h"} for name in ("gelu", "geglu", "relu2")),
        {"kind": "mlp", "d_ff": 20, "activation": "bilinear", "bias": True},
    ],
    "moe": [
        {"kind": "gqa", **HEADS, "num_kv_heads": 2},
        {**EXPERTS, "n_shared": 2, "shared_bias": True, "routed_scale": 1.7, "normalize_top_k": False},
        {**EXPERTS, "router": "sigmoid", "balancing": "bias", "n_groups": 3, "top_groups": 2, "group_score": "top2"},
        {**EXPERTS, "activation": "gelu", "n_groups": 3, "top_groups": 1, "n_shared": 1, "d_shared": 7},
    ],
    "mamba": [
        {"kind": "mamba", "d_state": 4},
        {"kind": "mamba", "d_state": 4, "inner_norms": True, "dt_rank": 3, "bias": True, "conv_bias": False},
    ],
    "mamba2": [
        {"kind": "mamba2", "d_state": 8, "head_dim": 16, "chunk_size": 8, "dt_limit": [0.01, 0.05]},
        {"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "norm_groups": 4, "d_conv": 2, "bias": True},
        {"kind": "mamba2", "d_state": 6, "head_dim": 8, "inner_width": 40, "norm_groups": 1, "conv_bias": False},
    ],
    "hyena": [
        {"kind": "hyena_se", "num_groups": 4},
        {"kind": "hyena_mr", "num_groups": 8, "filter_length": 12, "short_filter_length": 2},
        {"kind": "hyena_li", "state_size": 4, "chunk_size": 8},
    ],
    "hybrid": [
        {"kind": "mamba2", "d_state": 8, "head_dim": 16},
        {"kind": "mla", **LATENT},
        {**EXPERTS, "n_shared": 1},
        {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4},
        {"kind": "mamba", "d_state": 4},
    ],
}


@torch.no_grad()
def filled(model: HybridLM) -> HybridLM:
    """No bias of zero, no norm of one."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if not name.endswith("a_log"):
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def custom(name: str, tie: bool = True) -> HybridLM:
    head = {"embedding_multiplier": 2.0, "residual_multiplier": 0.7, "logits_divisor": 0.5, "norm_epsilon": 1e-3}
    return filled(
        build(Architecture(d_model=32, vocab_size=VOCAB, tie_embeddings=tie, blocks=CUSTOM[name], **head))
    )


def opened(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, experts_implementation="eager").eval()


@torch.no_grad()
def check_same(ours: HybridLM, theirs: PreTrainedModel, cached: bool = True) -> None:
    tokens_BT = random_tokens(2, LENGTH)
    torch.testing.assert_close(theirs(tokens_BT, use_cache=False).logits, ours(tokens_BT), **TOLERANCE)
    if cached:
        expected = generate(ours, tokens_BT[:, :7], 9, temperature=0)
        options = {"max_new_tokens": 9, "do_sample": False}
        assert torch.equal(theirs.generate(tokens_BT[:, :7], use_cache=True, **options), expected)
        assert torch.equal(theirs.generate(tokens_BT[:, :7], use_cache=False, **options), expected)


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_a_native_architecture_is_exported_as_its_class(family: str, seed: int, tmp_path: Path) -> None:
    """There and back: the folder has a class of `transformers`, often the same one, and the same logits."""
    ours = from_hf(random_model(family, seed))
    kind = export(ours, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert kind == config["model_type"] != "harmony"
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation="eager").eval()
    again = architecture_from_config(theirs.config)
    assert normal_form(again) == normal_form(ours.architecture)
    assert theirs.dtype == torch.float32
    check_same(ours, theirs, cached=can_cache(family, seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_the_target_of_one_of_its_own(family: str) -> None:
    found = set()
    for seed in range(12):
        config, _ = random_model(family, seed).config, None
        fitting = native_config(architecture_from_config(config))
        assert fitting is not None
        found.add(fitting[0].model_type)
    assert family in found


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("name", CUSTOM)
def test_what_fits_no_class_is_exported_with_its_code(name: str, tie: bool, tmp_path: Path) -> None:
    ours = custom(name, tie)
    assert export(ours, tmp_path / "new" / "folder") == "harmony"
    folder = tmp_path / "new" / "folder"
    assert {"config.json", "model.safetensors", "modeling_harmony.py", "configuration_harmony.py"} <= {
        path.name for path in folder.iterdir()
    }
    theirs = opened(folder)
    assert type(theirs).__module__.startswith("transformers_modules")
    assert theirs.num_parameters() == ours.num_params()
    assert len(load_file(folder / "model.safetensors")) == len(ours.state_dict())
    check_same(ours, theirs)


def test_capacity_drops_what_ours_drops(tmp_path: Path) -> None:
    """Whole prompts: one token a call never fills an expert."""
    mixture = {**EXPERTS, "capacity_factor": 0.6}
    blocks = [{"kind": "gqa", **HEADS, "num_kv_heads": 2}, mixture]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)))
    assert export(ours, tmp_path) == "harmony"
    check_same(ours, opened(tmp_path), cached=False)
    roomy = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=[blocks[0], EXPERTS])))
    tokens_BT = random_tokens(2, LENGTH)
    with torch.no_grad():
        assert (roomy(tokens_BT) - ours(tokens_BT)).abs().max() > 1e-3


@pytest.mark.parametrize("name", CUSTOM)
def test_a_prompt_may_come_in_pieces(name: str, tmp_path: Path) -> None:
    export(custom(name), tmp_path)
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, LENGTH)
    cache, pieces = None, []
    with torch.no_grad():
        for piece_BT in tokens_BT.split((6, 1, 7, 3), 1):
            out = theirs(piece_BT, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pieces.append(out.logits)
        torch.testing.assert_close(torch.cat(pieces, 1), theirs(tokens_BT).logits, **TOLERANCE)
    assert cache.get_seq_length() == LENGTH


def test_beams_take_their_states_along(tmp_path: Path) -> None:
    export(custom("hybrid"), tmp_path)
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, 5)
    options = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False}
    cached = theirs.generate(tokens_BT, use_cache=True, **options)
    assert torch.equal(cached, theirs.generate(tokens_BT, use_cache=False, **options))


def test_the_exported_code_trains(tmp_path: Path) -> None:
    ours = custom("hybrid")
    export(ours, tmp_path)
    theirs, tokens_BT = opened(tmp_path).train(), random_tokens(2, LENGTH)
    loss = theirs(tokens_BT, labels=tokens_BT).loss
    expected = ours.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).cross_entropy
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        found = gradients["embedding.weight" if name == "embedding" else name].grad
        torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_padding_and_what_else_would_be_computed_wrongly_is_refused(tmp_path: Path) -> None:
    export(custom("hybrid"), tmp_path)
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, 5)
    mask_BT = torch.ones_like(tokens_BT)
    theirs(tokens_BT, attention_mask=mask_BT)
    mask_BT[0, 0] = 0
    with pytest.raises(ValueError, match="attention_mask has zeros: padding would enter recurrent states"):
        theirs(tokens_BT, attention_mask=mask_BT)
    with pytest.raises(ValueError, match="attention_mask has zeros"):
        theirs.generate(tokens_BT, attention_mask=mask_BT, max_new_tokens=2)
    with pytest.raises(ValueError, match="position_ids are not 0 to 4"):
        theirs(tokens_BT, position_ids=torch.arange(1, 6))
    with pytest.raises(ValueError, match="output_attentions is not supported"):
        theirs(tokens_BT, output_attentions=True)
    with pytest.raises(TypeError, match="past_key_values is a tuple"):
        theirs(tokens_BT, past_key_values=(1, 2))


def test_the_exported_code_needs_nothing_of_ours(tmp_path: Path) -> None:
    """In a process that cannot import harmony_core."""
    export(custom("hybrid"), tmp_path)
    code = (
        "import sys; sys.modules['harmony_core'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        "import torch\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)\n"
        "print(model.generate(torch.ones(1, 3, dtype=torch.int64), max_new_tokens=2, do_sample=False).shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "torch.Size([1, 5])" in result.stdout, result.stderr


def test_the_exported_code_saves_and_opens_again(tmp_path: Path) -> None:
    export(custom("hybrid"), tmp_path / "first")
    theirs = opened(tmp_path / "first")
    theirs.save_pretrained(tmp_path / "second")
    again, tokens_BT = opened(tmp_path / "second"), random_tokens(2, 5)
    with torch.no_grad():
        assert torch.equal(again(tokens_BT).logits, theirs(tokens_BT).logits)


def test_half_precision_is_close(tmp_path: Path) -> None:
    export(custom("hybrid"), tmp_path)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True, dtype=torch.bfloat16).eval()
    tokens_BT = random_tokens(2, 5)
    with torch.no_grad():
        logits, expected = half(tokens_BT).logits, opened(tmp_path)(tokens_BT).logits
    assert logits.dtype == torch.bfloat16
    assert torch.cosine_similarity(logits.float().flatten(), expected.flatten(), dim=0) > 0.99


def test_training_alone_is_no_part_of_a_native_class(tmp_path: Path) -> None:
    """A mixture of ours with a balancing loss is a Mixtral."""
    blocks = [{"kind": "gqa", **HEADS, "num_kv_heads": 2}, {**EXPERTS, "aux_coefficient": 0.02}]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)))
    assert export(ours, tmp_path) == "mixtral"
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["output_router_logits"], config["router_aux_loss_coef"]) == (True, 0.02)
    assert config["max_position_embeddings"] == LONGEST_CONTEXT
    check_same(ours, AutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation="eager").eval())


def test_parts_of_another_checkpoint_are_not_mixed_in(tmp_path: Path) -> None:
    ours = custom("mlp")
    export(ours, tmp_path)
    export(ours, tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match=r"directory: .*: it holds model.safetensors.index.json"):
        export(ours, tmp_path)
    with pytest.raises(UserError, match=r"directory: .*: .*name a folder that can be made"):
        export(ours, tmp_path / "config.json")
