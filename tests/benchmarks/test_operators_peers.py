"""The peers of `benchmarks.operators`, and the loops that decode with them."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("transformers", reason="the peers are of the extra hf")

import torch

from benchmarks.operators.decode import difference, our_loop, their_loop
from benchmarks.operators.families import FAMILIES, config, peer
from benchmarks.operators.pair import batch
from benchmarks.operators.settings import DECODE_PROMISE, NUM_LAYERS, SETTINGS, TRAINING_PROMISES, VOCAB_SIZE, Setting
from harmony_core import Architecture
from harmony_core.models import build, generate

TINY = Setting(128, 16, 2)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_configured_by_fields_that_it_has(family: str, setting: Setting) -> None:
    made = config(family, setting)
    # transformers keeps a field that it does not know, and goes on with the default of the one that was meant.
    known = {field.name for field in dataclasses.fields(type(made))} | {
        *made.attribute_map,
        *made.attribute_map.values(),
    }
    assert set(FAMILIES[family](setting.d_model)) - {"num_hidden_layers"} <= known
    assert (made.num_hidden_layers, made.hidden_size, made.vocab_size) == (NUM_LAYERS, setting.d_model, VOCAB_SIZE)
    assert made.model_type == family


def test_promises_are_of_families_that_exist() -> None:
    assert set(TRAINING_PROMISES) <= set(FAMILIES)
    assert DECODE_PROMISE > 1


@pytest.mark.parametrize("family", ["llama", "mamba", "bamba"])
def test_their_loop_decodes_what_the_peer_says_without_a_cache(family: str) -> None:
    model = peer(family, TINY, "eager").eval()
    prompt_BT = batch(2, 5).tokens_BT
    with torch.inference_mode():
        found = their_loop(model, prompt_BT)()
        logits_BTV = model(input_ids=torch.cat([prompt_BT, found.tokens_BT], 1)).logits[:, 4:]
    assert difference(found.first_BV, logits_BTV[:, 0]) < 1e-4
    assert difference(found.last_BV, logits_BTV[:, -1]) < 1e-4
    # A token may be one of two that are nearly tied.
    chosen_BT = logits_BTV[:, :-1].gather(-1, found.tokens_BT.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(chosen_BT, logits_BTV[:, :-1].amax(-1), atol=1e-3, rtol=0)


def test_our_loop_decodes_what_generate_does() -> None:
    blocks = [{"kind": "mha", "num_heads": 2, "head_dim": 8}, {"kind": "mlp", "d_ff": 32}]
    model = build(Architecture.parse({"d_model": 16, "vocab_size": VOCAB_SIZE, "blocks": blocks}))
    prompt_BT = batch(2, 5).tokens_BT
    with torch.inference_mode():
        found = our_loop(model, prompt_BT)()
        expected_BT = generate(model, prompt_BT, found.tokens_BT.shape[1], temperature=0.0)
        last_BV = model(expected_BT)[:, -1]
    assert torch.equal(found.tokens_BT, expected_BT[:, 5:])
    assert difference(found.last_BV, last_BV) < 1e-4
    assert found.seconds > 0
    assert found.prompt_seconds > 0


def test_a_difference_is_relative_to_the_largest_of_theirs() -> None:
    assert difference(torch.tensor([[1.0, 4.5]]), torch.tensor([[1.0, 5.0]])) == 0.1
