"""What a stranger does with an exported folder: reads its card, tokenizes, generates, trains it further."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from harmony_core import Architecture
from harmony_core.data.bpe import BpeTokenizer
from harmony_core.data.tokenizer import ByteTokenizer, Tokenizer
from harmony_core.errors import UserError
from harmony_core.interop.hf import Origin, export
from harmony_core.interop.hf.export import CODE, LONGEST_CONTEXT, native_config
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.models import build, generate
from harmony_core.models.lm import HybridLM
from tests.interop.exported_models import EXPERTS, HEADS, TOLERANCE, custom, filled, opened
from tests.interop.random_models import VOCAB, random_tokens

# A separator that is spelt out, characters of several bytes, nothing.
TEXTS = ("Once, don't\n\n  twice: <|endoftext|>", " élan \U0001d518\u00a0!", "", "a")
TOKENIZERS: dict[str, Tokenizer] = {
    "byte": ByteTokenizer(),
    "bpe": BpeTokenizer.train([" ".join(TEXTS).encode() * 20], 290),
}
MIXERS: dict[str, dict[str, Any]] = {
    "llama": {"kind": "mha", **HEADS},
    "harmony": {"kind": "hyena_se", "num_groups": 4},
}
ORIGIN = Origin(
    name="nano/e9b3c223",
    text="Text: shakespeare.",
    results=(("test_bits_per_byte", "2.125", "bits/byte"), ("precision", "fp32", "")),
    recipe="recipe:\n  tokens: 400000\n",
    commands=("harmony reproduce nano/e9b3c223 --promoted",),
)


def model(kind: str, vocab_size: int = VOCAB) -> HybridLM:
    blocks = [MIXERS[kind], {"kind": "mlp", "d_ff": 20}] * 2
    return filled(build(Architecture(d_model=32, vocab_size=vocab_size, blocks=blocks)))


@pytest.mark.parametrize("kind", MIXERS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_gives_our_ids_and_our_text(name: str, kind: str, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]
    assert export(model(kind, tokenizer.vocab_size), tmp_path, tokenizer=tokenizer, context=64) == kind
    theirs = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    for text in TEXTS:
        ids = theirs(text).input_ids
        assert ids == tokenizer.encode(text.encode()).tolist()
        assert theirs.decode(ids) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (tokenizer.separator,) * 3
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.model_max_length == 64
    told = GenerationConfig.from_pretrained(tmp_path)
    assert (told.eos_token_id, told.pad_token_id) == (tokenizer.separator, tokenizer.separator)
    config = AutoConfig.from_pretrained(tmp_path, trust_remote_code=True)
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.separator, None)
    batch = theirs(list(TEXTS[:2]), padding=True, return_tensors="pt")
    assert opened(tmp_path).generate(**batch, max_new_tokens=3).shape[0] == 2


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    told = "tokenizer: byte of 257 tokens: the model's vocabulary has 53; give the tokenizer that it was trained with"
    with pytest.raises(UserError, match=told):
        export(model("llama"), tmp_path / "new", tokenizer=ByteTokenizer())
    assert not (tmp_path / "new").exists()


LIMITED = {"kind": "mamba2", "d_state": 10, "head_dim": 8, "dt_limit": [0.001, 0.1]}
CHANNELS: dict[str, list[dict[str, Any]]] = {
    "mamba2": [],
    "bamba": [{"kind": "mlp", "d_ff": 20}],
    "granitemoehybrid": [{**EXPERTS, "n_shared": 1}],
    "nemotron_h": [{"kind": "mlp", "d_ff": 20, "activation": "relu2"}],
}


@pytest.mark.parametrize("family", CHANNELS)
def test_a_model_with_limits_of_the_step_size_generates_our_text(family: str, tmp_path: Path) -> None:
    """Beside attention, where the class has a cache, which would give other text."""
    nemotron = family == "nemotron_h"
    limited = {**LIMITED, "dt_limit": [0.3, None]} if nemotron else LIMITED
    heads = {"kind": "mha", **HEADS, **({"rope_base": None} if nemotron else {})}
    blocks = [limited, *CHANNELS[family]] * 2 + ([heads, *CHANNELS[family]] if CHANNELS[family] else [])
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, tie_embeddings=not nemotron, blocks=blocks)))
    assert export(ours, tmp_path) == family
    theirs, tokens_BT = opened(tmp_path), random_tokens(4, 9)
    expected = generate(ours, tokens_BT, 16, temperature=0)
    options = {"max_new_tokens": 16, "do_sample": False}
    assert torch.equal(theirs.generate(tokens_BT, **options), expected)
    assert not torch.equal(theirs.generate(tokens_BT, use_cache=True, **options), expected)
    assert "`use_cache` is false: the class forgets the limits" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ["mamba", "mamba2", "lfm2"])
@torch.no_grad()
def test_a_class_that_is_wrong_under_padding_on_the_left_is_said_to_be(name: str, bias: bool, tmp_path: Path) -> None:
    mixers = {"mamba": {"d_state": 4}, "mamba2": {"d_state": 6, "head_dim": 8}, "lfm2": {}}
    block = {"kind": "short_conv" if name == "lfm2" else name, **mixers[name], "bias": bias}
    blocks = [block, {"kind": "mlp", "d_ff": 20}] if name == "lfm2" else [block]
    ours = filled(build(Architecture(d_model=32, vocab_size=257, blocks=blocks * 2)))
    assert export(ours, tmp_path, tokenizer=ByteTokenizer()) == name
    theirs, tokens_BT, mask_BT = opened(tmp_path), random_tokens(2, 9), torch.ones(2, 9, dtype=torch.int64)
    mask_BT[0, :4] = 0
    found_TV = theirs(tokens_BT, attention_mask=mask_BT, use_cache=False).logits[0, 4:]
    right = torch.allclose(found_TV, ours(tokens_BT[:1, 4:])[0], **TOLERANCE)
    assert right == (not bias)
    assert AutoTokenizer.from_pretrained(tmp_path).padding_side == ("left" if right else "right")
    card = (tmp_path / "README.md").read_text()
    assert ("Padding on the left gives other values" in card) == ("padding=True" not in card) == bias


def test_the_configuration_says_what_trainers_and_evaluators_read(tmp_path: Path) -> None:
    """The hyena has no heads; attention beside it has."""
    export(model("harmony"), tmp_path / "hyena", context=96)
    config = AutoConfig.from_pretrained(tmp_path / "hyena", trust_remote_code=True)
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size, config.intermediate_size) == (
        32,
        4,
        53,
        20,
    )
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, None, None)
    assert (config.use_cache, config.initializer_range, config.num_attention_heads) == (True, 0.02, 0)
    assert config.max_position_embeddings == 96
    export(custom("attention"), tmp_path / "attention")
    config = AutoConfig.from_pretrained(tmp_path / "attention", trust_remote_code=True)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 4)
    # YaRN's factor times the context before it, whatever is known of the training.
    assert config.max_position_embeddings == 32
    export(model("llama"), tmp_path / "llama")
    assert AutoConfig.from_pretrained(tmp_path / "llama").max_position_embeddings == LONGEST_CONTEXT


def test_the_card_says_what_it_is_and_how_it_is_made_again(tmp_path: Path) -> None:
    ours = model("harmony", 257)
    export(ours, tmp_path / "told", tokenizer=ByteTokenizer(), context=64, origin=ORIGIN)
    text = (tmp_path / "told" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- harmony\n---\n")
    for part in (
        "# nano/e9b3c223",
        f"{ours.num_params():,} parameters",
        "| test_bits_per_byte | 2.125 | bits/byte |",
        "harmony reproduce nano/e9b3c223 --promoted",
        "  tokens: 400000",
        "sequences of 64 tokens",
        "Tokens: bytes. Token 256 stood before each document",
        ours.architecture.to_yaml(),
    ):
        assert part in text
    export(model("llama"), tmp_path / "untold")
    text = (tmp_path / "untold" / "README.md").read_text()
    assert "- harmony\n- llama\n" in text
    assert "There is no tokenizer" in text
    assert "trust_remote_code" not in text


@pytest.mark.parametrize("kind", MIXERS)
def test_the_cards_own_code_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export(model(kind, 257), tmp_path, tokenizer=ByteTokenizer())
    _, _, rest = (tmp_path / "README.md").read_text().partition("```python\n")
    monkeypatch.chdir(tmp_path)
    exec(rest.partition("```")[0], {})
    assert "Once" in capsys.readouterr().out


def test_a_trainer_trains_it_further(tmp_path: Path) -> None:
    """Texts of several lengths, blocks computed again in the backward pass, evaluations, and what is saved."""
    blocks = [
        *({"kind": "mamba2", "d_state": 8, "head_dim": 16}, {**EXPERTS, "n_shared": 1}),
        *({"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 8}, {"kind": "hyena_se", "num_groups": 4}),
    ]
    ours = build(Architecture(d_model=32, vocab_size=257, blocks=blocks))
    export(ours, tmp_path / "first", tokenizer=ByteTokenizer(), context=64)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "first", trust_remote_code=True)
    theirs = opened(tmp_path / "first")
    texts = [tokenizer(text) for text in ("to be, or not to be", "that is", "the question", "whether 'tis nobler")]
    quiet = {"use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    steps = {"max_steps": 10, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "activation_checkpointing": True}
    trainer = transformers.Trainer(
        theirs,
        transformers.TrainingArguments(output_dir=str(tmp_path / "run"), **steps, **quiet),
        train_dataset=texts,
        eval_dataset=texts,
        processing_class=tokenizer,
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.state.global_step == 10
    after = trainer.evaluate()["eval_loss"]
    assert after < before - 1
    trainer.save_model(str(tmp_path / "second"))
    again, tokens_BT = opened(tmp_path / "second"), random_tokens(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(again(tokens_BT).logits, theirs.eval()(tokens_BT).logits)
    assert {*CODE, "tokenizer.json"} <= {path.name for path in (tmp_path / "second").iterdir()}


def test_no_class_of_a_family_here_builds_its_layers_one_by_one() -> None:
    """Every configuration has `per_layer_config`: a class that read it could take unequal layers as its own."""
    for name in FAMILIES:
        module = type(AutoConfig.for_model(name)).__module__.replace("configuration", "modeling")
        found = importlib.util.find_spec(module)
        assert found is not None
        assert "per_layer_config" not in Path(str(found.origin)).read_text(), f"export could use it for {name}"


def test_unequal_layers_of_a_family_come_with_their_code(tmp_path: Path) -> None:
    heads = {"kind": "gqa", **HEADS, "num_kv_heads": 2}
    blocks = [heads, {"kind": "mlp", "d_ff": 20}, {**heads, "num_kv_heads": 1}, {"kind": "mlp", "d_ff": 36}]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)))
    assert export(ours, tmp_path) == "harmony"


def test_families_of_other_distributions_are_asked_where_a_block_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, exporting = [], sys.modules["harmony_core.interop.hf.export"]
    monkeypatch.setattr(exporting, "distribution_of", lambda group, name: "toys 1.0" if name == "hyena_se" else None)
    monkeypatch.setattr(exporting, "load", lambda group, registry: loaded.append((group, registry)))
    native_config(model("llama").architecture)
    assert loaded == []
    native_config(model("harmony").architecture)
    assert loaded == [("families", FAMILIES)]
