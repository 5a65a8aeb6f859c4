"""Attention sinks beside the formula in every implementation, and beside gpt-oss's own module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harmony_core import tiling
from harmony_core.architecture import GQA, SWA
from harmony_core.models import kernels
from harmony_core.models.ops.attention import attention
from harmony_core.models.ops.attention.blocked import blocked_attention
from harmony_core.models.ops.attention.cached import attend_cached
from harmony_core.models.registry import module_for
from tests.models.comparison import assert_same, draw

SCALE = 0.3
PLANS = {
    "as chosen": {},
    "single": {"LARGE_BLOCK": 0},
    "single, made again": {"LARGE_BLOCK": 0, "KEPT_KEYS": 0},
    "together, made again": {"KEPT_KEYS": 0},
    "a pair at a time": {"CACHED_BYTES": 1},
}


def inputs(length: int, groups: int, double: bool = True) -> tuple[Tensor, ...]:
    """Queries, keys, values and sinks from far below to far above the scores."""
    shapes = ((2, length, 4, 8), (2, length, groups, 8), (2, length, groups, 6))
    drawn = [draw(*shape, seed=seed).detach() for seed, shape in enumerate(shapes)]
    drawn.append(torch.tensor([-30.0, -1.0, 0.5, 4.0]))
    return tuple((x.double() if double else x).requires_grad_() for x in drawn)


def reference(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, window: int | None) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return attention.attention_reference(q, k, v, SCALE, window, sinks).transpose(1, 2)


def test_the_reference_is_the_formula() -> None:
    q, k, v, sinks = (x.detach() for x in inputs(6, 1))
    y = reference(q, k, v, sinks, 3)
    scores = (SCALE * k[0, 2:5, 0] @ q[0, 4, 3]).exp()
    torch.testing.assert_close(y[0, 4, 3], scores @ v[0, 2:5, 0] / (scores.sum() + sinks[3].exp()))
    plain = attention.attention_reference(*(x.transpose(1, 2) for x in (q, k, v)), SCALE, 3)
    torch.testing.assert_close(y[:, :, 0], plain.transpose(1, 2)[:, :, 0])


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize(("length", "window"), [(1, None), (130, None), (130, 20), (64, 1)])
def test_blocked(length: int, window: int | None, groups: int, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANS[plan].items():
        monkeypatch.setattr(tiling, name, value)
    assert_same(
        lambda q, k, v, s: blocked_attention(q, k, v, SCALE, window, s),
        lambda q, k, v, s: reference(q, k, v, s, window),
        inputs(length, groups, double="single" not in plan),
        rtol=1e-4 if "single" in plan else 1e-10,
        atol=1e-5 if "single" in plan else 1e-10,
    )


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that is no CPU."""
    monkeypatch.setattr(attention, "blocked_products", lambda device: False)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("window", [None, 4])
def test_a_key_of_its_own_where_kernels_know_no_sinks(window: int | None) -> None:
    assert kernels.blocked_products("cpu")
    assert_same(
        lambda q, k, v, s: attention.attend(q, k, v, SCALE, window, s),
        lambda q, k, v, s: reference(q, k, v, s, window),
        inputs(21, 2),
        1e-10,
        1e-10,
    )


def test_a_huge_sink_takes_all_and_overflows_nothing() -> None:
    q, k, v, _ = inputs(40, 2, double=False)
    sinks = torch.tensor([1e4, 1e4, -1e4, -1e4]).requires_grad_()
    y = blocked_attention(q, k, v, SCALE, None, sinks)
    y.sum().backward()
    assert not y[:, :, :2].any()
    torch.testing.assert_close(y[:, :, 2:], blocked_attention(q, k, v, SCALE)[:, :, 2:])
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v, sinks))


def test_a_step_of_decoding() -> None:
    q, k, v, sinks = (x.detach().float() for x in inputs(300, 2))
    cached = attend_cached(q[:, -1].unflatten(1, (2, 2)), k.transpose(1, 2), v.transpose(1, 2), SCALE, sinks.view(2, 2))
    torch.testing.assert_close(cached.flatten(1, 2), reference(q, k, v, sinks, None)[:, -1])


def test_bf16_is_within_two_hundredths() -> None:
    q, k, v, sinks = (x.detach() for x in inputs(200, 2))
    low = blocked_attention(*(x.bfloat16() for x in (q, k, v)), SCALE, None, sinks.float())
    expected = reference(q, k, v, sinks, None)
    assert low.dtype == torch.bfloat16
    assert (low.double() - expected).norm() < 2e-2 * expected.norm()


@pytest.mark.parametrize("window", [None, 7])
def test_the_block_is_that_of_gpt_oss(window: int | None) -> None:
    from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention, GptOssConfig, GptOssRotaryEmbedding

    from harmony_core.interop.hf.parts.attention import attention_weights
    from harmony_core.interop.hf.weights import load

    kind = "full_attention" if window is None else "sliding_attention"
    config = GptOssConfig(
        **{"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "layer_types": [kind]},
        **{"num_hidden_layers": 1, "sliding_window": window, "attn_implementation": "eager"},
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    )
    theirs = GptOssAttention(config, 0)
    with torch.no_grad():
        for number, parameter in enumerate(theirs.parameters()):
            parameter.copy_(0.4 * draw(*parameter.shape, seed=number))
    shape = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "rope_base": 1000.0}
    options = {"bias": True, "out_bias": True, "sinks": True}
    block = GQA(**shape, **options) if window is None else SWA(window=window, **shape, **options)
    ours = module_for(block, 24, 1e-5)
    values = {f"theirs.{name}": tensor.detach() for name, tensor in theirs.named_parameters()}
    targets = {f"ours.{name}": parameter for name, parameter in ours.named_parameters()}
    load(attention_weights(block, "ours", "theirs"), targets, values, "theirs")
    x = draw(2, 19, 24).detach()
    mask = create_causal_mask if window is None else create_sliding_window_causal_mask
    seen = mask(config=config, inputs_embeds=x, attention_mask=None, past_key_values=None)
    turns = GptOssRotaryEmbedding(config)(x, torch.arange(19).unsqueeze(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x, turns, seen)[0], rtol=1e-4, atol=1e-5)
