"""Attention's implementations beside the reference: values and gradients."""

import pytest
import torch
from torch.nn.attention import flex_attention as torch_flex

from harmony_core import tiling
from harmony_core.models import kernel_packages, kernels
from harmony_core.models.ops.attention import attention, blocked_plan
from harmony_core.models.ops.attention import blocked as blocked_attention
from harmony_core.models.ops.attention import flex as flex_attention
from harmony_core.models.ops.attention import fused as fused_attention
from harmony_core.models.ops.attention.cached import attend_cached
from tests.models.comparison import assert_same, draw

SCALE = 0.3


def draw_heads(batch, length, heads, groups, key_width=8, value_width=8):
    """Queries, keys and values as [B, T, heads, width]."""
    q = draw(batch, length, heads, key_width)
    return q, draw(batch, length, groups, key_width, seed=1), draw(batch, length, groups, value_width, seed=2)


def reference(q, k, v, window):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return attention.attention_reference(q, k, v, SCALE, window).transpose(1, 2)


def test_the_reference_is_the_formula():
    q, k, v = (x.detach() for x in draw_heads(1, 6, 2, 1))
    y = reference(q, k, v, 3)
    # Token 4 sees 2, 3 and 4.
    weights = torch.softmax(SCALE * k[0, 2:5, 0] @ q[0, 4, 1], 0)
    torch.testing.assert_close(y[0, 4, 1], weights @ v[0, 2:5, 0])


PLANS = {
    "as chosen": {},
    "single": {"LARGE_BLOCK": 0},
    "single, made again": {"LARGE_BLOCK": 0, "KEPT_KEYS": 0},
    "together, made again": {"KEPT_KEYS": 0},
    "a pair at a time": {"CACHED_BYTES": 1},
    "sequences and a rest": {"CACHED_BYTES": 4 * (2 * 64) * 130 * 4},
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize(("length", "window"), [(5, None), (130, None), (130, 20), (70, 64), (64, 1), (200, 90)])
def test_blocked_attention(groups, length, window, plan, monkeypatch):
    for name, value in PLANS[plan].items():
        monkeypatch.setattr(tiling, name, value)
    assert_same(
        lambda q, k, v: blocked_attention.blocked_attention(q, k, v, SCALE, window),
        lambda q, k, v: reference(q, k, v, window),
        draw_heads(3, length, 4, groups, value_width=6),
    )


def test_plans_are_what_their_names_say(monkeypatch):
    q = draw(3, 130, 4, 8)

    def plan(**constants):
        for name, value in constants.items():
            monkeypatch.setattr(tiling, name, value)
        return blocked_plan.make_plan(q, 2, None, torch.float32, train=True)

    assert not plan().single
    assert plan().kept
    assert plan(**PLANS["sequences and a rest"]).pairs == 4
    parts = list(plan().parts(3, 2))
    assert [part[0] for part in parts] == [slice(0, 2), slice(2, 4)]
    assert plan(**PLANS["a pair at a time"]).pairs == 1
    assert plan(**PLANS["single, made again"]).single
    assert not plan().kept


def test_large_work_goes_to_single_products_and_long_contexts_keep_no_weights():
    def plan(length, window, dtype=torch.float32, train=True):
        return blocked_plan.make_plan(torch.empty(1, length, 8, 64), 8, window, dtype, train)

    assert plan(2048, None).single
    assert not plan(2048, None).kept
    assert not plan(2048, 128).single
    assert plan(2048, 128).kept
    assert plan(512, None).kept
    assert not plan(512, None, train=False).kept
    assert not plan(2048, None, torch.bfloat16).single


@pytest.mark.parametrize("window", [None, 40])
def test_values_of_masked_tokens_do_not_leak(window):
    q, k, v = (x.detach() for x in draw_heads(1, 150, 4, 2))
    before = attention.attend(q, k, v, SCALE, window)
    k[:, 100:], v[:, 100:] = 1e4, float("inf")
    assert torch.equal(attention.attend(q, k, v, SCALE, window)[:, :64], before[:, :64])
    v[:, 100:] = 1e30
    torch.testing.assert_close(attention.attend(q, k, v, SCALE, window)[:, :100], before[:, :100])


def test_blocked_attention_in_fp64_is_exact_to_fp64():
    inputs = [x.detach().double().requires_grad_() for x in draw_heads(1, 150, 2, 1)]
    mask = fused_attention.visible(150, 90, torch.device("cpu"))

    def plain(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=SCALE, enable_gqa=True)
        return y.transpose(1, 2)

    assert_same(lambda *x: blocked_attention.blocked_attention(*x, SCALE, 90), plain, inputs, 1e-12, 1e-12)


@pytest.mark.parametrize("kept", [512, 0])
def test_blocked_attention_under_autocast(kept, monkeypatch):
    monkeypatch.setattr(tiling, "KEPT_KEYS", kept)
    q, k, v = draw_heads(2, 150, 4, 2)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = attention.attend(q, k, v, SCALE, None)
        assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
        results.append((y.float(), *torch.autograd.grad(y.float().square().sum(), (q, k, v))))
    for name, exact, low in zip(("y", "dq", "dk", "dv"), *results, strict=True):
        assert low.dtype == torch.float32
        assert torch.cosine_similarity(exact.flatten(), low.flatten(), 0) > 0.9995, name


@pytest.mark.parametrize("widths", [(8, 8), (8, 6)])
@pytest.mark.parametrize(("length", "window"), [(9, 16), (20, 16), (33, 8), (40, 8), (64, 16)])
def test_fused_window_attention(length, window, widths):
    def fused(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return fused_attention.window_sdpa(q, k, v, SCALE, window).transpose(1, 2)

    inputs = draw_heads(2, length, 4, 2, *widths)
    assert_same(fused, lambda q, k, v: reference(q, k, v, window), inputs)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("length", "window", "groups"), [(40, 7, 4), (150, 20, 2), (300, 129, 1)])
def test_flex_attention(length, window, groups, monkeypatch):
    # PyTorch refuses gradients of FlexAttention on a CPU, though its plain form has them: only the refusal goes.
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *inputs: None)

    def flex(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return flex_attention.flex_window(q, k, v, SCALE, window, torch_flex.flex_attention).transpose(1, 2)

    assert_same(flex, lambda q, k, v: reference(q, k, v, window), draw_heads(2, length, 4, groups, 16, 16))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("path", ["sdpa", "flex_attention"])
@pytest.mark.parametrize("window", [None, 24, 80, 500])
def test_the_paths_of_a_gpu_agree_with_a_cpus(window, path, monkeypatch):
    q, k, v = (x.detach() for x in draw_heads(1, 80, 2, 1, 16, 16))
    blocked = attention.attend(q, k, v, SCALE, window)
    kernel = torch_flex.flex_attention if path == "flex_attention" else None
    called = []

    def counted(*args, **options):
        called.append(args)
        return kernel(*args, **options)

    monkeypatch.setattr(attention, "blocked_products", lambda device_type: False)
    monkeypatch.setattr(attention, "window_kernel", lambda device_type, head_dim: kernel and counted)
    torch.testing.assert_close(attention.attend(q, k, v, SCALE, window), blocked, rtol=1e-4, atol=1e-5)
    assert bool(called) == (path == "flex_attention" and window == 24)
    assert attention.attention_path("cuda", 16, None) == "sdpa"
    assert attention.attention_path("cuda", 16, 24) == path


def test_flex_attention_is_for_gpus_and_heads_that_its_kernels_take(monkeypatch):
    assert kernels.window_kernel("cpu", 64) is None
    loaded = kernel_packages.Loaded("torch", torch_flex.flex_attention)
    monkeypatch.setattr(kernels, "vendor", lambda device_type, name: loaded)
    kernels._compiled_flex_attention.cache_clear()
    try:
        assert kernels.window_kernel("cuda", 8) is None
        assert kernels.window_kernel("cuda", 16) is not None
    finally:
        kernels._compiled_flex_attention.cache_clear()


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("seen", [1, 40, 300])
def test_attention_to_a_cache_is_the_last_row(seen, groups):
    q, k, v = (x.detach() for x in draw_heads(2, seen, 4, groups, 8, 6))
    expected = reference(q, k, v, None)[:, -1]
    # A cache with room for more, whose rest is not to be read.
    caches = [torch.full((2, groups, seen + 5, x.shape[3]), float("nan")) for x in (k, v)]
    for cache, x in zip(caches, (k, v), strict=True):
        cache[:, :, :seen] = x.transpose(1, 2)
    q_BGRK = q[:, -1].unflatten(1, (groups, -1))
    y = attend_cached(q_BGRK, *(cache[:, :, :seen] for cache in caches), SCALE)
    torch.testing.assert_close(y.flatten(1, 2), expected, rtol=1e-4, atol=1e-5)


def test_long_caches_are_read_keys_first_where_a_head_has_its_own():
    assert kernels.keys_first(torch.empty(2, 4, 1, 8), 256)
    assert not kernels.keys_first(torch.empty(2, 4, 1, 8), 255)
    assert not kernels.keys_first(torch.empty(2, 2, 2, 8), 256)
    assert not kernels.keys_first(torch.empty(2, 4, 1, 8, dtype=torch.bfloat16), 256)
