"""Files as they are published: read, with `transformers`' own number of parameters, or refused for what they have.

`published` and `leftovers` hold configurations from public repositories and pages of the hub, some of them in part.

`python -m tests.interop.test_published` says of each which it is.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config, architecture_from_file, from_hf
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.loading import SAME_AS
from harmony_core.interop.hf.unsupported import MISSING
from tests.interop.random_models import random_model

FOLDER = Path(__file__).parent / "published"
# Parameters of the class of `transformers` 5.23 on the meta device, tied weights once.
READ = {
    "Bamba-9B": 9_780_235_392,
    "Falcon-H1-0.5B": 521_411_104,
    "Granite-4.0-h-350m": 340_332_224,
    "Granite-4.0-h-3B-part": 1_289_803_520,
    "Jamba-v0.1": 51_570_323_328,
    "Kimi-K2": 1_026_408_209_408,
    "Kimi-Linear-48B-A3B": 49_122_675_072,
    "LFM2-700M": 742_489_344,
    "Llama-3.1-8B": 8_030_261_248,
    "MiMo-V2-Flash": 308_778_768_832,
    "MiniMax-M2.5": 228_689_748_992,
    "Mixtral-8x7B": 46_702_792_704,
    "Nemotron-3-Nano-30B-A3B": 31_577_937_344,
    "Nemotron-3-Super-120B-A12B": 120_668_687_360,
    "Nemotron-3.5-Lightning-30B-A3B": 31_577_937_344,
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Qwen3-Next-80B-A3B": 79_674_391_296,
    "Qwen3.5-35B-A3B": 34_660_610_688,
    "gpt-oss-20b": 20_914_757_184,
}
# What each of the others is refused for.
REFUSED = {
    "DeepSeek-V3.2": ["deepseek_v32", "indexed sparse attention"],
    "DeepSeek-V4-Flash": ["deepseek_v4", "compressed sparse attention", "hyper-connections"],
    "DeepSeek-V4-Pro": ["deepseek_v4", "compressed sparse attention", "hyper-connections"],
    "HypeNet-2b": ["hypenet", "lightning attention"],
    "HypeNet-5b": ["hypenet", "lightning attention"],
    "HypeNet-9b": ["hypenet", "lightning attention"],
    "Jet-Nemotron-2B": ["jet_nemotron", "JetBlocks"],
    "Jet-Nemotron-4B": ["jet_nemotron", "JetBlocks"],
    "Llama-4-Scout": ["llama4_text", "attention in chunks", "temperature", "experts scaled at their input"],
    "MiniMax-M3": ["minimax_m3", "indexed sparse attention"],
    "MiniMax-Text-01": ["minimax_text_01", "lightning attention"],
    "RWKV7-1.5B-world": ["rwkv7", "RWKV-7"],
    "RWKV7-168M-pile": ["rwkv7", "RWKV-7"],
    "RecurrentGemma-2B": ["recurrent_gemma", "rg_lru"],
    "Step-3.7-Flash": ["step3p5", "SwiGLU clamped behind its activation"],
    "Zamba2-2.7B": ["zamba2", "blocks shared by several layers"],
    "gemma-4-26B-A4B": ["gemma4_text", "norms of values", "soft cap"],
}
# Files with fields that no class reads, and what those are.
LEFTOVERS = {
    "llama-7b-2023": (6_738_415_616, ["max_sequence_length"]),
    "mamba-codestral-7b": (
        7_285_403_648,
        ["intermediate_size", "norm_before_gate", "time_step_init_scheme", "time_step_scale"],
    ),
    "qwen3-coder-30b": (
        30_532_122_624,
        ["max_window_layers", "shared_expert_intermediate_size", "use_qk_norm", "qkv_bias"],
    ),
    "smollm-135m": (134_515_008, ["is_llama_config", "rope_interleaved"]),
    "yarn-llama-2-7b": (6_738_415_616, ["finetuned"]),
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_published_file_is_read_and_counted_or_refused_for_what_it_has(path: Path) -> None:
    assert (path.stem in READ) != (path.stem in REFUSED)
    if path.stem in READ:
        assert architecture_from_file(path).num_params() == READ[path.stem]
        return
    with pytest.raises(UserError) as raised:
        architecture_from_file(path)
    assert "\n" not in str(raised.value)
    for feature in REFUSED[path.stem]:
        assert feature in str(raised.value)


def test_every_file_is_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == READ.keys() | REFUSED.keys()
    assert (len(READ), len(READ) + len(REFUSED)) == (20, 37)


@pytest.mark.parametrize("name", LEFTOVERS)
def test_fields_that_nothing_reads_are_left_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    count, names = LEFTOVERS[name]
    with caplog.at_level(logging.WARNING):
        found = architecture_from_file(FOLDER.parent / "leftovers" / f"{name}.json")
    assert found.num_params() == count
    said = [record.getMessage() for record in caplog.records if record.name.startswith("harmony_core")]
    assert [words.partition("left out: ")[2] for words in said] == [", ".join(names)]


@pytest.mark.parametrize("name", ["Kimi-K2", "Granite-4.0-h-350m", "gpt-oss-20b"])
def test_the_count_is_that_of_the_class(name: str) -> None:
    values = json.loads((FOLDER / f"{name}.json").read_text())
    model_type = SAME_AS.get(values["model_type"], values["model_type"])
    config = CONFIG_MAPPING[model_type].from_dict({**values, "model_type": model_type})
    config.quantization_config = None
    with torch.device("meta"):
        assert AutoModelForCausalLM.from_config(config).num_parameters() == READ[name]


def test_a_file_is_read_like_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((FOLDER / "Qwen3-0.6B.json").read_text())
    found = architecture_from_file(tmp_path)
    assert found == architecture_from_file(FOLDER / "Qwen3-0.6B.json")
    assert found == architecture_from_config(AutoConfig.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "file: .*: not JSON .*; give a config.json"),
        pytest.param("[" * 100_000, "file: .*: not JSON .*; give a config.json", id="deep"),
        ('{"model_type": "llama", "num_attention_heads": 0}', "file: .*ZeroDivisionError.*; give a config.json"),
        ("[1]", "it has no model_type; give a config.json"),
        ('{"vocab_size": 3}', "it has no model_type; give a config.json"),
        ('{"model_type": "no_such"}', "model_type: no_such: unknown family; use one of llama"),
        ('{"model_type": "gpt2"}', "model_type: gpt2: unknown family; use one of llama"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "file: .*hidden_size.*; give a config.json"),
        ('{"model_type": "llama", "hidden_size": 65}', "file: .*hidden size.*; give a config.json"),
    ],
)
def test_what_is_no_configuration_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        architecture_from_file(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file: .*config.json: No such file.*; name a config.json"):
        architecture_from_file(tmp_path)


def test_a_family_is_read_or_refused_and_not_both() -> None:
    assert not MISSING.keys() & (FAMILIES.keys() | SAME_AS.keys())


@pytest.mark.parametrize("kind", ["zamba2", "recurrent_gemma", "minimax", "mamba3", "rwkv7", "deepseek_v32"])
def test_kinds_that_no_block_computes_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    """As a class where there is one, and as a file."""
    features = "; ".join(MISSING[kind])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(UserError) as raised:
        architecture_from_file(tmp_path)
    assert f"{kind}: it has {features}, which no block here computes; use one of llama" in str(raised.value)
    if kind in CONFIG_MAPPING:
        with pytest.raises(UserError, match="which no block here computes"):
            architecture_from_config(AutoConfig.for_model(kind))


def test_a_configuration_of_the_authors_own_code_is_that_of_the_class_under_its_name() -> None:
    class KimiConfig(PreTrainedConfig):
        """As `trust_remote_code` would give it."""

        model_type = "kimi_k2"
        max_position_embeddings = 4096

    path = FOLDER / "Kimi-K2.json"
    config = KimiConfig(**json.loads(path.read_text()))
    assert config.model_type == "kimi_k2"
    assert architecture_from_config(config) == architecture_from_file(path)


def test_of_several_modalities_it_is_the_language_model() -> None:
    path = FOLDER / "Qwen3.5-35B-A3B.json"
    config = CONFIG_MAPPING["qwen3_5_moe"].from_dict(json.loads(path.read_text()))
    assert config.vision_config is not None
    found = architecture_from_config(config)
    assert found == architecture_from_config(config.text_config) == architecture_from_file(path)


def test_what_is_left_of_a_model_is_said(caplog: pytest.LogCaptureFixture) -> None:
    theirs = random_model("deepseek_v3", 0)
    theirs.config.num_nextn_predict_layers = 1
    theirs.config.quantization_config = {"quant_method": "fp8"}
    with caplog.at_level(logging.WARNING):
        from_hf(theirs)
    for name in ("num_nextn_predict_layers", "quantization_config"):
        assert f"deepseek_v3.{name}: left out" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        from_hf(random_model("nemotron_h", 0))
    assert "left out" not in caplog.text


def test_weights_in_a_quantised_form_are_refused() -> None:
    theirs = random_model("llama", 0)
    weight = theirs.model.layers[0].mlp.up_proj.weight
    theirs.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(UserError, match=r"up_proj.weight: torch.float8_e4m3fn: .*; give the model dequantised"):
        from_hf(theirs)


def says(path: Path) -> Any:
    """The number of parameters, or why there is none."""
    try:
        return f"{architecture_from_file(path).num_params():,}"
    except UserError as error:
        return str(error).partition("; use one of")[0]


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("*.json")):
        print(f"{file.stem:32} {says(file)}")
    print(f"{len(READ)} of {len(READ) + len(REFUSED)}")
