"""`export` with the model's own code: where no class of `transformers` fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harmony_core import Architecture
from harmony_core.interop.hf import export
from harmony_core.models import build
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
