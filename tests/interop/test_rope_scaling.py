"""Positions scaled by the sequence's length: `transformers`' logits below and above the original one, with a cache too.

What is decoded behind a prompt sees keys that were turned when the sequence was shorter, on both sides.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, PreTrainedModel

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config, export, from_hf
from harmony_core.models import build
from tests.interop.exported_models import filled as filled_ours
from tests.interop.exported_models import opened
from tests.interop.random_configs import DRAWS
from tests.interop.random_models import VOCAB, filled, random_tokens

ORIGINAL, LENGTH = 12, 23
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
WIDTHS = {"llama": 16, "qwen3_next": 8, "deepseek_v3": 8}


def parameters(method: str, pairs: int) -> dict[str, Any]:
    found: dict[str, Any] = {"rope_type": method, "rope_theta": 100.0, "factor": 4.0}
    if method.startswith("longrope"):
        rng = random.Random(pairs)
        found |= {
            "rope_type": "longrope",
            "original_max_position_embeddings": ORIGINAL,
            "short_factor": [rng.uniform(1, 2) for _ in range(pairs)],
            "long_factor": [rng.uniform(2, 9) for _ in range(pairs)],
        }
    if method == "longrope-factor":
        found["attention_factor"] = 1.3
    if method == "longrope-ratio":
        del found["factor"]
    return found


def scaled(family: str, method: str) -> Any:
    """A configuration whose heads turn `WIDTHS` elements."""
    values = DRAWS[family](random.Random(5))
    width = WIDTHS[family]
    rope = parameters(method, width // 2)
    if family == "qwen3_next":
        values |= {"head_dim": 2 * width, "layer_types": ["full_attention"] * values["num_hidden_layers"]}
        rope["partial_rotary_factor"] = 0.5
    elif family == "llama":
        values["head_dim"] = width
    else:
        values["qk_rope_head_dim"] = width
    values["max_position_embeddings"] = ORIGINAL if method == "dynamic" else 4 * ORIGINAL
    return AutoConfig.for_model(family, **{**values, "rope_parameters": rope})


METHODS = ["dynamic", "longrope", "longrope-factor", "longrope-ratio"]


@pytest.mark.parametrize("prompt", [5, ORIGINAL, 17])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", WIDTHS)
@torch.no_grad()
def test_prompts_and_decoding_are_those_of_transformers(family: str, method: str, prompt: int) -> None:
    config = scaled(family, method)
    theirs: PreTrainedModel = filled(config)
    ours, tokens_BT = from_hf(theirs), random_tokens(2, LENGTH)
    state = ours.init_state(2, LENGTH)
    found = [ours.prefill(tokens_BT[:, :prompt], state)]
    found += [ours.step(tokens_BT[:, t], state) for t in range(prompt, LENGTH)]
    out = theirs(tokens_BT[:, :prompt], use_cache=True)
    torch.testing.assert_close(ours(tokens_BT[:, :prompt]), out.logits, **TOLERANCE)
    expected = [out.logits[:, -1]]
    for t in range(prompt, LENGTH):
        out = theirs(tokens_BT[:, t : t + 1], past_key_values=out.past_key_values, use_cache=True)
        expected.append(out.logits[:, -1])
    torch.testing.assert_close(torch.stack(found, 1), torch.stack(expected, 1), **TOLERANCE)
    if prompt > ORIGINAL:
        plain = copy.deepcopy(config)
        plain.rope_parameters = unscaled(config)
        assert (filled(plain)(tokens_BT[:, :prompt]).logits - ours(tokens_BT[:, :prompt])).abs().max() > 1e-3


def unscaled(config: Any) -> dict[str, Any]:
    kept = ("rope_theta", "partial_rotary_factor")
    return {
        "rope_type": "default",
        **{name: config.rope_parameters[name] for name in kept if name in config.rope_parameters},
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", WIDTHS)
@torch.no_grad()
def test_they_are_exported_as_their_class(family: str, method: str, tmp_path: Path) -> None:
    ours, tokens_BT = from_hf(filled(scaled(family, method))), random_tokens(2, LENGTH)
    assert export(ours, tmp_path) != "harmony"
    torch.testing.assert_close(opened(tmp_path)(tokens_BT).logits, ours(tokens_BT), **TOLERANCE)


@pytest.mark.parametrize("method", METHODS[:3])
@torch.no_grad()
def test_the_exported_code_scales_them(method: str, tmp_path: Path) -> None:
    scaling = architecture_from_config(scaled("llama", method)).blocks[0].model_dump()["rope_scaling"]
    block = {"kind": "mha", "num_heads": 2, "head_dim": 16, "out_bias": True, "rope_scaling": scaling}
    ours = filled_ours(build(Architecture(d_model=24, vocab_size=VOCAB, blocks=[block, {"kind": "mlp", "d_ff": 8}])))
    assert export(ours, tmp_path) == "harmony"
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, LENGTH)
    torch.testing.assert_close(theirs(tokens_BT).logits, ours(tokens_BT), **TOLERANCE)
    prompt = tokens_BT[:, :9]
    state = ours.init_state(2, LENGTH)
    found = [ours.prefill(prompt, state), *(ours.step(tokens_BT[:, t], state) for t in range(9, LENGTH))]
    out = theirs(prompt, use_cache=True)
    expected = [out.logits[:, -1]]
    for t in range(9, LENGTH):
        out = theirs(tokens_BT[:, t : t + 1], past_key_values=out.past_key_values, use_cache=True)
        expected.append(out.logits[:, -1])
    torch.testing.assert_close(torch.stack(found, 1), torch.stack(expected, 1), **TOLERANCE)


def test_documents_are_refused_with_the_method_that_hangs_on_the_length() -> None:
    architecture = architecture_from_config(scaled("llama", "dynamic"))
    problem = architecture.blocks[0].documents_problem()
    assert problem == "has positions scaled by the length of the sequence (rope_scaling dynamic); use another method"
    assert architecture.blocks[0].padding_problem() == problem
    assert architecture_from_config(scaled("llama", "linear")).blocks[0].documents_problem() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short_factor": [1.0]}, "short_factors has 1 numbers; use one a frequency, 8"),
        ({"long_factor": None}, "rope_parameters.long_factor: None: use a list of numbers"),
        ({"long_factor": [0.0] * 8}, "one that is not positive; use positive numbers"),
    ],
)
def test_factors_that_do_not_fit_are_one_line(changes: dict[str, Any], message: str) -> None:
    config = scaled("llama", "longrope")
    config.rope_parameters |= changes
    with pytest.raises(UserError, match=message):
        architecture_from_config(config)
