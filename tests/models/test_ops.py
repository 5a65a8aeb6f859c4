"""Each hand-written op beside its plain form: values and gradients."""

import pytest
import torch

from harmony_core.models.ops import (
    activation,
    attention,
    blocked_attention,
    convolution,
    cross_entropy,
    experts,
    fused_attention,
    linear_scan,
    matmul,
    rms_norm,
    rotary,
    ssd,
)


def draw(*shape, seed=0, scale=1.0):
    tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * scale
    return tensor.requires_grad_()


def assert_same(fast, plain, inputs, rtol=1e-4, atol=1e-5):
    """`fast` and `plain`, called on the same inputs, agree in values and in every gradient."""
    results = []
    for function in (fast, plain):
        y = function(*inputs)
        seed = torch.Generator().manual_seed(7)
        results.append((y, torch.autograd.grad(y, inputs, torch.randn(y.shape, generator=seed))))
    (y_fast, grads_fast), (y_plain, grads_plain) = results
    torch.testing.assert_close(y_fast, y_plain, rtol=rtol, atol=atol)
    for got, expected in zip(grads_fast, grads_plain, strict=True):
        size = 1 + float(expected.abs().sum()) / max(1, expected.numel())
        torch.testing.assert_close(got, expected, rtol=rtol, atol=3 * atol * size)


@pytest.mark.parametrize("shape", [((2, 7, 12), (20, 12)), ((1, 1, 12), (3, 12)), ((5, 40), (8, 40)), ((0, 6), (4, 6))])
def test_linear(shape):
    x, w = draw(*shape[0]), draw(*shape[1])
    assert_same(matmul.linear, torch.nn.functional.linear, (x, w))


def test_linear_takes_any_strides():
    base, w = draw(6, 9, 8), draw(5, 6)
    assert_same(
        lambda b, w: matmul.linear(b.permute(1, 2, 0), w),
        lambda b, w: torch.nn.functional.linear(b.permute(1, 2, 0), w),
        (base, w),
    )


def test_rms_norm():
    assert_same(
        lambda x, w: rms_norm.rms_norm(x, w, 1e-5),
        lambda x, w: rms_norm.rms_norm_reference(x, w, 1e-5),
        (draw(3, 5, 16), draw(16)),
    )


@pytest.mark.parametrize("kind", ["swiglu", "gelu", "relu2"])
def test_activation(kind):
    x = (draw(3, 5, 16),)
    assert_same(lambda x: activation.activate(x, kind), lambda x: activation.activate_reference(x, kind), x)


def test_rotary():
    assert_same(
        lambda x: rotary.rotate(x, 3, 100.0),
        lambda x: rotary.rotate_reference(x, 3, 100.0),
        (draw(2, 9, 3, 8),),
    )


def test_rotary_scores_depend_on_distance_alone():
    q, k = draw(1, 1, 1, 8).expand(1, 12, 1, 8), draw(1, 1, 1, 8, seed=5).expand(1, 12, 1, 8)
    scores = torch.einsum("bihk,bjhk->ij", rotary.rotate(q, 0, 100.0), rotary.rotate(k, 0, 100.0))
    assert scores[7, 3].item() == pytest.approx(scores[11, 7].item(), abs=1e-5)
    assert abs(scores[7, 3].item() - scores[7, 4].item()) > 1e-3


def test_rotary_orders_are_inverse_and_mean_what_llama_means():
    w, head = draw(16, 5), 8
    pairs = rotary.pairs_from_halves(w, head)
    assert torch.equal(rotary.halves_from_pairs(pairs, head), w)
    assert torch.equal(pairs[1], w[4])
    assert torch.equal(pairs[2], w[1])
    assert torch.equal(pairs[8 + 3], w[8 + 5])


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize(("length", "window"), [(5, None), (130, None), (130, 20), (70, 64), (64, 1), (200, 90)])
def test_blocked_attention(heads, length, window):
    q, k, v = draw(2, length, heads[0], 8), draw(2, length, heads[1], 8, seed=1), draw(2, length, heads[1], 6, seed=2)
    assert_same(
        lambda q, k, v: blocked_attention.blocked_attention(q, k, v, 0.3, window),
        lambda q, k, v: plain_attention(q, k, v, window),
        (q, k, v),
    )


@pytest.mark.parametrize(("length", "window"), [(9, 16), (20, 16), (33, 8), (40, 8), (64, 16)])
def test_fused_window_attention(length, window):
    q, k, v = draw(2, length, 4, 8), draw(2, length, 2, 8, seed=1), draw(2, length, 2, 8, seed=2)

    def fused(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return fused_attention.window_sdpa(q, k, v, 0.3, window).transpose(1, 2)

    assert_same(fused, lambda q, k, v: plain_attention(q, k, v, window), (q, k, v))


def plain_attention(q, k, v, window):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return attention.attention_reference(q, k, v, 0.3, window).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 24])
def test_long_sequences_leave_the_blocked_path_and_agree(window, monkeypatch):
    q, k, v = draw(1, 80, 2, 8), draw(1, 80, 2, 8, seed=1), draw(1, 80, 2, 8, seed=2)
    blocked = attention.attend(q, k, v, 0.3, window)
    monkeypatch.setattr(attention, "BLOCKED_CONTEXT", 8)
    monkeypatch.setattr(attention, "blocked_attention", None)
    torch.testing.assert_close(attention.attend(q, k, v, 0.3, window), blocked, rtol=1e-4, atol=1e-5)


def test_linear_cross_entropy(monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_ELEMENTS", 40)
    hidden, head = draw(23, 6), draw(11, 6)
    targets = torch.arange(23) % 11
    assert_same(
        lambda h, w: cross_entropy.linear_cross_entropy(h, w, targets),
        lambda h, w: cross_entropy.cross_entropy_reference(h, w, targets),
        (hidden, head),
    )


def test_cross_entropy_survives_huge_logits():
    hidden, head = torch.full((2, 1), 300.0), torch.tensor([[1.0], [-1.0]])
    loss = cross_entropy.linear_cross_entropy(hidden, head, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(300.0)


@pytest.mark.parametrize(("length", "taps"), [(9, 4), (2, 4), (5, 1)])
def test_conv_silu(length, taps):
    assert_same(convolution.conv_silu, convolution.conv_silu_reference, (draw(2, length, 6), draw(6, taps), draw(6)))


def scan_inputs(length, groups=2, heads=4):
    dt = torch.nn.functional.softplus(draw(2, length, heads)).detach().requires_grad_()
    a = (-draw(heads).exp()).detach().requires_grad_()
    maps = (draw(2, length, groups, 5, seed=1), draw(2, length, groups, 5, seed=2))
    return draw(2, length, heads, 3), dt, a, *maps


@pytest.mark.parametrize("chunk", [1, 4, 7, 64])
@pytest.mark.parametrize("length", [1, 19, 28])
def test_ssd_is_the_recurrence(length, chunk):
    assert_same(lambda *inputs: ssd.ssd(*inputs, chunk), ssd.ssd_reference, scan_inputs(length), 1e-3, 1e-5)


def test_ssd_with_one_group_and_strong_decay():
    x, dt, a, b, c = scan_inputs(40, groups=1)
    inputs = (x, dt, (a * 50).detach().requires_grad_(), b, c)
    assert_same(lambda *inputs: ssd.ssd(*inputs, 8), ssd.ssd_reference, inputs, 1e-3, 1e-5)


def test_ssd_does_not_depend_on_the_chunk():
    inputs = scan_inputs(50)
    torch.testing.assert_close(ssd.ssd(*inputs, 16), ssd.ssd(*inputs, 5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 16, 23])
def test_linear_scan(length):
    decay = torch.sigmoid(draw(2, length, 6)).detach().requires_grad_()
    assert_same(linear_scan.linear_scan, linear_scan.linear_scan_reference, (decay, draw(2, length, 6)))


@pytest.mark.parametrize("kind", ["swiglu", "gelu", "relu2"])
@pytest.mark.parametrize("rows", [1, 5, 150])
def test_experts_are_the_loop_over_tokens(rows, kind):
    wide = 12 if kind == "swiglu" else 6
    x, up, down = draw(rows, 8), draw(4, wide, 8), draw(4, 8, 6)
    weights = draw(rows, 2)
    # Expert 2 is chosen by nobody.
    chosen = torch.stack([torch.arange(rows) % 2, torch.full((rows,), 3)], 1)
    assert_same(
        lambda x, w, u, d: experts.routed_experts(x, w, chosen, u, d, kind),
        lambda x, w, u, d: experts.experts_reference(x, w, chosen, u, d, kind),
        (x, weights, up, down),
        1e-3,
    )


def test_filling_rows_stay_few():
    chosen = torch.randint(8, (4096, 1), generator=torch.Generator().manual_seed(0))
    order = experts._sort(chosen, 8)
    assert all(size % 64 == 0 for size in order.sizes)
    assert sum(order.sizes) < 4096 * 1.125 + 64
    few = experts._sort(chosen[:9], 8)
    assert sum(few.sizes) == 9
