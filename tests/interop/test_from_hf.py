"""`from_hf` against `transformers`: the same logits, read at once and token by token with each side's cache."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from harmony_core.errors import UserError
from harmony_core.interop.hf import from_hf
from tests.interop.random_configs import DRAWS
from tests.interop.random_models import CASES, SEEDS, can_cache, filled, random_model, random_tokens

LENGTH, PROMPT = 19, 9
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@torch.no_grad()
def stepped(model: PreTrainedModel, tokens_BT: Tensor, prompt: int) -> Tensor:
    """Their logits [B, T - prompt + 1, V] from the prompt's last token on, with their cache."""
    out = model(tokens_BT[:, :prompt], use_cache=True)
    name = "cache_params" if hasattr(out, "cache_params") else "past_key_values"
    logits = [out.logits[:, -1]]
    for position in range(prompt, tokens_BT.shape[1]):
        state = {name: getattr(out, name)}
        if name == "past_key_values":
            # Bamba would begin at 0 again.
            state["position_ids"] = torch.full((1, 1), position)
        out = model(tokens_BT[:, position : position + 1], use_cache=True, **state)
        logits.append(out.logits[:, -1])
    return torch.stack(logits, 1)


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_logits_are_those_of_transformers(family: str, seed: int) -> None:
    theirs = random_model(family, seed)
    ours, tokens_BT = from_hf(theirs), random_tokens(2, LENGTH, seed)
    with torch.no_grad():
        expected = theirs(tokens_BT, use_cache=False).logits
        torch.testing.assert_close(ours(tokens_BT), expected, **TOLERANCE)
    assert expected.std() > 0.1
    state = ours.init_state(2, LENGTH)
    logits = [ours.prefill(tokens_BT[:, :PROMPT], state)]
    logits += [ours.step(tokens_BT[:, t], state) for t in range(PROMPT, LENGTH)]
    found = torch.stack(logits, 1)
    torch.testing.assert_close(found, expected[:, PROMPT - 1 :], **TOLERANCE)
    if can_cache(family, seed):
        torch.testing.assert_close(found, stepped(theirs, tokens_BT, PROMPT), **TOLERANCE)


def test_most_families_are_compared_with_a_cache() -> None:
    for family in DRAWS:
        assert sum(can_cache(family, seed) for seed in SEEDS) >= 3, family


def limited(family: str) -> dict[str, Any]:
    return {"time_step_min": 0.2} if family == "nemotron_h" else {"time_step_limit": (0.1, 0.3)}


@pytest.mark.parametrize("family", ["mamba2", "bamba", "granitemoehybrid", "nemotron_h", "falcon_h1"])
@torch.no_grad()
def test_limits_of_dt_are_those_of_the_parallel_form(family: str) -> None:
    """`transformers` clamps there alone; here a step does as well, so that both forms agree."""
    drawn = next(
        DRAWS[family](random.Random(seed))
        for seed in range(99)
        if "linear" in kinds(family, seed) or "hybrid" in kinds(family, seed)
    )
    theirs = filled(AutoConfig.for_model(family, **{**drawn, **limited(family)}))
    ours, tokens_BT = from_hf(theirs), random_tokens(2, LENGTH)
    expected = theirs(tokens_BT, use_cache=False).logits
    torch.testing.assert_close(ours(tokens_BT), expected, **TOLERANCE)
    unlimited = filled(AutoConfig.for_model(family, **drawn))
    assert (unlimited(tokens_BT, use_cache=False).logits - expected).abs().max() > 1e-3
    state = ours.init_state(2, LENGTH)
    found = torch.stack([ours.step(tokens_BT[:, t], state) for t in range(LENGTH)], 1)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def kinds(family: str, seed: int) -> str:
    config = AutoConfig.for_model(family, **DRAWS[family](random.Random(seed)))
    return " ".join(config.layer_types)


def test_weights_are_copied_to_fp32_and_the_mode_is_kept() -> None:
    theirs = random_model("llama", 1).to(torch.bfloat16).train()
    ours = from_hf(theirs)
    assert ours.training
    assert {tensor.dtype for tensor in ours.state_dict().values()} == {torch.float32}
    before = ours.embedding.clone()
    with torch.no_grad():
        theirs.model.embed_tokens.weight.zero_()
    assert torch.equal(ours.embedding, before)
    assert torch.equal(before, random_model("llama", 1).model.embed_tokens.weight.bfloat16().float())


def test_every_value_arrives() -> None:
    """A value that no tensor of theirs filled would be whatever the memory held."""
    for family in DRAWS:
        theirs = random_model(family, 2)
        elements = {id(one): one.numel() for one in theirs.parameters()}
        assert from_hf(theirs).num_params() == sum(elements.values())


def broken(change: str) -> PreTrainedModel:
    theirs = random_model("llama", 1)
    mlp = theirs.model.layers[0].mlp
    if change == "missing":
        del mlp.up_proj
    elif change == "shape":
        mlp.up_proj.weight = torch.nn.Parameter(torch.zeros(3, 5))
    elif change == "more":
        mlp.adapter = torch.nn.Linear(2, 3)
    elif change == "meta":
        theirs = theirs.to("meta")
    return theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "missing",
            r"LlamaForCausalLM.model.layers.0.mlp.up_proj.weight: missing: give the model with this tensor of shape \[",
        ),
        ("shape", r"mlp.up_proj.weight: shape \[3, 5\]: its configuration asks for \["),
        ("more", r"mlp.adapter.weight: \[3, 2\]: no tensor here corresponds to it"),
        ("meta", r"on the meta device: load the model's values first"),
    ],
)
def test_a_model_that_is_not_as_its_configuration_says_is_refused(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_hf(broken(change))


def test_a_head_that_is_not_tied_as_its_configuration_says_is_refused() -> None:
    theirs = filled(AutoConfig.for_model("llama", **{**DRAWS["llama"](random.Random(0)), "tie_word_embeddings": True}))
    theirs.lm_head.weight = torch.nn.Parameter(theirs.model.embed_tokens.weight.detach().clone())
    tokens_BT = random_tokens(1, 5)
    with torch.no_grad():
        torch.testing.assert_close(from_hf(theirs)(tokens_BT), theirs(tokens_BT).logits, **TOLERANCE)
        theirs.lm_head.weight[3] += 1
    with pytest.raises(UserError, match=r"lm_head.weight: not the embedding: .* set its tie_word_embeddings to False"):
        from_hf(theirs)


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"hf_model: a Linear: use a PreTrainedModel"):
        from_hf(torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"hf_model: a LlamaModel: use LlamaForCausalLM"):
        from_hf(random_model("llama", 0).model)
    with pytest.raises(UserError, match=r"model_type: gpt2: unknown family"):
        from_hf(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=5)))
