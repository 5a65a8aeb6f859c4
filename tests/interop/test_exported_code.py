"""`export` with the model's own code: where no class of `transformers` fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM

from harmony_core import Architecture
from harmony_core.interop.hf import export
from harmony_core.models import build, generate
from tests.interop.exported_models import CUSTOM, EXPERTS, HEADS, LENGTH, TOLERANCE, check_same, custom, filled, opened
from tests.interop.random_models import VOCAB, random_tokens


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
        found = gradients[f"model.{'embedding.weight' if name == 'embedding' else name}"].grad
        torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", CUSTOM)
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(name: str, tmp_path: Path) -> None:
    """Whatever token stands for it."""
    ours = custom(name)
    export(ours, tmp_path)
    theirs, tokens_BT, lengths = opened(tmp_path), random_tokens(3, LENGTH), (LENGTH, 5, 11)
    for left in (False, True):
        spans = [slice(LENGTH - length, LENGTH) if left else slice(0, length) for length in lengths]
        mask_BT = torch.zeros_like(tokens_BT)
        for row, span in enumerate(spans):
            mask_BT[row, span] = 1
        logits_BTV = theirs(tokens_BT, attention_mask=mask_BT).logits
        assert logits_BTV.isfinite().all()
        for row, span in enumerate(spans):
            torch.testing.assert_close(logits_BTV[row, span], ours(tokens_BT[row : row + 1, span])[0], **TOLERANCE)
    # What the cache holds knows its padding, whether or not it is told again.
    begun = theirs(tokens_BT[:, :13], attention_mask=mask_BT[:, :13], use_cache=True).past_key_values
    ended_BTV = theirs(tokens_BT[:, 13:], past_key_values=begun).logits
    torch.testing.assert_close(ended_BTV, logits_BTV[:, 13:], **TOLERANCE)
    found_BT = theirs.generate(tokens_BT, attention_mask=mask_BT, max_new_tokens=6, do_sample=False)
    for row, span in enumerate(spans):
        assert torch.equal(
            found_BT[row, span.start :], generate(ours, tokens_BT[row : row + 1, span], 6, temperature=0)[0]
        )


@torch.no_grad()
def test_rows_are_turned_by_their_own_lengths(tmp_path: Path) -> None:
    """Where frequencies depend on the length, of which padding is no part: shorter and longer than the original."""
    longrope = {"method": "longrope", "factor": 4.0, "short_factors": [1, 1, 1.5, 2], "long_factors": [1, 2, 3, 4]}
    scalings = ({"method": "dynamic", "factor": 4.0, "original_context": 8}, {**longrope, "original_context": 8})
    blocks = [{"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_scaling": scaling} for scaling in scalings]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)))
    assert export(ours, tmp_path) == "harmony"
    theirs, tokens_BT, lengths = opened(tmp_path), random_tokens(3, LENGTH), (LENGTH, 5, 11)
    for left in (False, True):
        spans = [slice(LENGTH - length, LENGTH) if left else slice(0, length) for length in lengths]
        mask_BT = torch.zeros_like(tokens_BT)
        for row, span in enumerate(spans):
            mask_BT[row, span] = 1
        logits_BTV = theirs(tokens_BT, attention_mask=mask_BT).logits
        for row, span in enumerate(spans):
            torch.testing.assert_close(logits_BTV[row, span], ours(tokens_BT[row : row + 1, span])[0], **TOLERANCE)
    found_BT = theirs.generate(tokens_BT, attention_mask=mask_BT, max_new_tokens=6, do_sample=False)
    for row, span in enumerate(spans):
        expected_BT = generate(ours, tokens_BT[row : row + 1, span], 6, temperature=0)
        assert torch.equal(found_BT[row, span.start :], expected_BT[0])


@torch.no_grad()
def test_padding_fills_no_expert(tmp_path: Path) -> None:
    mixture = {**EXPERTS, "capacity_factor": 0.6}
    blocks = [{"kind": "gqa", **HEADS, "num_kv_heads": 2}, mixture]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)))
    export(ours, tmp_path)
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, LENGTH)
    mask_BT = torch.ones_like(tokens_BT)
    mask_BT[1, :6] = 0
    logits_BTV = theirs(tokens_BT, attention_mask=mask_BT).logits
    torch.testing.assert_close(logits_BTV[:1], ours(tokens_BT[:1]), **TOLERANCE)
    torch.testing.assert_close(logits_BTV[1:, 6:], ours(tokens_BT[1:, 6:]), **TOLERANCE)


def test_what_would_be_computed_wrongly_is_refused(tmp_path: Path) -> None:
    export(custom("hybrid"), tmp_path)
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, 5)
    mask_BT = torch.ones_like(tokens_BT)
    mask_BT[0, 2] = 0
    with pytest.raises(ValueError, match="attention_mask has zeros within a sequence; to generate, pad on the left"):
        theirs(tokens_BT, attention_mask=mask_BT)
    with pytest.raises(ValueError, match="zeros within a sequence"):
        theirs.generate(tokens_BT, attention_mask=(mask_BT.cumprod(1)), max_new_tokens=2)
    with pytest.raises(ValueError, match=r"attention_mask has shape \[2, 4\]; use \[2, 5\]"):
        theirs(tokens_BT, attention_mask=mask_BT[:, 1:])
    with pytest.raises(ValueError, match="position_ids are not the tokens' own, up to 4"):
        theirs(tokens_BT, position_ids=torch.arange(1, 6)[None])
    with pytest.raises(ValueError, match="output_attentions is not supported"):
        theirs(tokens_BT, output_attentions=True)
    with pytest.raises(ValueError, match="one of input_ids and inputs_embeds"):
        theirs(tokens_BT, inputs_embeds=theirs.get_input_embeddings()(tokens_BT))
    with pytest.raises(TypeError, match="past_key_values is a tuple"):
        theirs(tokens_BT, past_key_values=(1, 2))


@torch.no_grad()
def test_what_evaluators_ask_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of attention alone too, with sinks and windows, for the two ways to compute it."""
    ours = custom("attention")
    export(ours, tmp_path)
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, LENGTH)
    expected = theirs(tokens_BT)
    options = {"trust_remote_code": True, "attn_implementation": "eager"}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, **options).eval()
    assert (theirs.config._attn_implementation, plain.config._attn_implementation) == ("sdpa", "eager")
    with monkeypatch.context() as patch:
        patch.delattr(torch.nn.functional, "scaled_dot_product_attention")
        torch.testing.assert_close(plain(tokens_BT).logits, expected.logits, **TOLERANCE)
        with pytest.raises(AttributeError, match="scaled_dot_product_attention"):
            theirs(tokens_BT)
    embedded = theirs.get_input_embeddings()(tokens_BT)
    torch.testing.assert_close(theirs(inputs_embeds=embedded).logits, expected.logits)
    assert theirs.generate(inputs_embeds=embedded, max_new_tokens=3).shape == (2, 3)
    # The embeddings, and what leaves every block, the last one normalised.
    streams = theirs(tokens_BT, output_hidden_states=True).hidden_states
    assert expected.hidden_states is None
    assert len(streams) == theirs.config.num_hidden_layers + 1 == len(ours.architecture.blocks) + 1
    torch.testing.assert_close(streams[0], embedded * 2.0)
    torch.testing.assert_close(theirs.head(streams[-1]) / 0.5, expected.logits)
    base, told = AutoModel.from_pretrained(tmp_path, trust_remote_code=True, output_loading_info=True)
    assert type(base).__name__ == "HarmonyModel"
    assert not told["missing_keys"]
    torch.testing.assert_close(base.eval()(tokens_BT).last_hidden_state, streams[-1])
    assert len(theirs(tokens_BT, return_dict=False)) == 2


def test_blocks_are_computed_again_in_the_backward_pass(tmp_path: Path) -> None:
    export(custom("hybrid"), tmp_path)
    theirs, tokens_BT = opened(tmp_path).train(), random_tokens(2, LENGTH)

    def gradients() -> dict[str, torch.Tensor]:
        theirs.zero_grad()
        # Asked for or not, there is no cache that would be filled twice.
        theirs(tokens_BT, labels=tokens_BT, use_cache=True).loss.backward()
        return {name: parameter.grad for name, parameter in theirs.named_parameters()}

    expected = gradients()
    calls = []
    theirs.model.blocks[0].inner.register_forward_pre_hook(lambda *_: calls.append(1))
    theirs.activation_checkpointing_enable()
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    assert len(calls) == 2
    cache = theirs.eval()(tokens_BT).past_key_values
    with pytest.raises(ValueError, match="past_key_values has no place in gradient checkpointing"):
        theirs.train()(tokens_BT, past_key_values=cache)


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
