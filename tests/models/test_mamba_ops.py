"""The ops of the Mamba blocks beside their plain forms: values, gradients, last states, and how cost grows."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harmony_core import tiling
from harmony_core.models.ops.convolution import convolution
from harmony_core.models.ops.ssm import batched_matmul, gated_norm, selective_scan, ssd
from tests.models.comparison import assert_same, draw


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("length", "taps"), [(9, 4), (2, 4), (5, 1), (4, 4)])
def test_convolution(length, taps, biased):
    inputs = (draw(2, length, 6), draw(6, taps), draw(6))
    plain = convolution.conv_silu_reference
    if biased:
        assert_same(convolution.conv_silu, plain, inputs)
    else:
        assert_same(lambda x, w: convolution.conv_silu(x, w, None), lambda x, w: plain(x, w, None), inputs[:2])


@pytest.mark.parametrize("bias", [draw(6, seed=3).detach(), None])
@pytest.mark.parametrize("prompt", [0, 1, 2, 3, 4, 7])
def test_convolution_goes_on_from_the_last_inputs(prompt, bias):
    x, w = draw(2, 9, 6).detach(), draw(6, 4).detach()
    state = convolution.last_inputs(x[:, :prompt], 4)
    stepped = [convolution.conv_silu_step(x[:, t], state, w, bias) for t in range(prompt, 9)]
    whole = convolution.conv_silu_reference(x, w, bias)
    torch.testing.assert_close(torch.stack(stepped, 1), whole[:, prompt:], rtol=1e-5, atol=1e-6)
    assert torch.equal(state, x[:, 5:])


@pytest.mark.parametrize("groups", [1, 3])
def test_gated_norm(groups):
    assert_same(
        lambda *inputs: gated_norm.gated_norm(*inputs, 1e-2, groups),
        lambda *inputs: gated_norm.gated_norm_reference(*inputs, 1e-2, groups),
        (draw(2, 5, 12), draw(2, 5, 12, seed=1), draw(12)),
    )


def test_gated_norm_without_gradient_is_the_same():
    inputs = draw(2, 5, 12), draw(2, 5, 12, seed=1), draw(12)
    with torch.no_grad():
        y = gated_norm.gated_norm(*inputs, 1e-5, 2)
    assert torch.equal(y, gated_norm.gated_norm(*inputs, 1e-5, 2))


def ssd_inputs(length, groups=2, heads=4, width=3, state=5, batch=2):
    dt = torch.nn.functional.softplus(draw(batch, length, heads)).detach().requires_grad_()
    a = (-draw(heads).exp()).detach().requires_grad_()
    maps = (draw(batch, length, groups, state, seed=1), draw(batch, length, groups, state, seed=2))
    return draw(batch, length, heads, width), dt, a, *maps, draw(heads, seed=4)


def both(scan):
    """Outputs and last state side by side, so that gradients come through both."""
    return lambda *inputs: torch.cat([t.flatten() for t in scan(*inputs)])


def chunked(chunk):
    return lambda *inputs: ssd.ssd(*inputs, chunk)


@pytest.mark.parametrize("chunk", [1, 4, 7, 64])
@pytest.mark.parametrize("length", [1, 19, 28])
def test_ssd_is_the_recurrence(length, chunk):
    assert_same(both(chunked(chunk)), both(ssd.ssd_reference), ssd_inputs(length), 1e-3, 1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_ssd_with_large_products_and_a_chunk_cut_short(groups):
    inputs = ssd_inputs(150, groups, heads=4, width=64, state=128, batch=1)
    assert 2 * 64 * 128 * 4 // groups * 64 >= batched_matmul._LARGE
    assert_same(both(chunked(64)), both(ssd.ssd_reference), inputs, 1e-3, 1e-3)


@pytest.mark.parametrize("strength", [50, 1e4])
def test_ssd_with_strong_decay(strength):
    x, dt, a, *others = ssd_inputs(40, groups=1)
    inputs = (x, dt, (a * strength).detach().requires_grad_(), *others)
    assert_same(both(chunked(8)), both(ssd.ssd_reference), inputs, 1e-3, 1e-5)


@pytest.mark.parametrize("wanted", [0, 1])
def test_ssd_with_a_gradient_of_outputs_or_state_alone(wanted):
    def plain(*inputs):
        found = ssd.ssd_reference(*inputs)
        return found[wanted] + 0 * found[1 - wanted].sum()

    assert_same(lambda *inputs: ssd.ssd(*inputs, 8)[wanted], plain, ssd_inputs(20), 1e-3)


def test_ssd_step_is_the_recurrence():
    x, dt, a, b, c, skip = (t.detach() for t in ssd_inputs(12))
    y, last = ssd.ssd_reference(x, dt, a, b, c, skip)
    state = torch.zeros_like(last)
    stepped = [ssd.ssd_step(x[:, t], dt[:, t], a, b[:, t], c[:, t], skip, state) for t in range(12)]
    torch.testing.assert_close(torch.stack(stepped, 1), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-4, atol=1e-5)


def test_ssd_keeps_the_state_in_fp32_whatever_the_inputs():
    x, dt, a, b, c, skip = ssd_inputs(70)
    y, last = ssd.ssd(x.bfloat16(), dt, a, b.bfloat16(), c.bfloat16(), skip, 16)
    assert (y.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(last, ssd.ssd_reference(x, dt, a, b, c, skip)[1], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("backward", [False, True])
def test_ssd_costs_a_multiple_of_the_length(backward):
    def flops(length):
        with FlopCounterMode(display=False) as counter:
            y, _ = ssd.ssd(*ssd_inputs(length), 8)
            if backward:
                y.sum().backward()
        return counter.get_total_flops()

    assert flops(512) == 16 * flops(32) > 0


def scan_inputs(length, state=4):
    dt = torch.nn.functional.softplus(draw(2, length, 6)).detach().requires_grad_()
    a = (-draw(6, state).exp()).detach().requires_grad_()
    return draw(2, length, 6), dt, a, draw(2, length, state, seed=1), draw(2, length, state, seed=2), draw(6, seed=3)


@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("length", [1, 2, 16, 23])
def test_selective_scan(length, chunk, monkeypatch):
    monkeypatch.setattr(tiling, "SCAN_STATES", 2 * 6 * 4 * chunk)
    inputs = scan_inputs(length)
    fast, plain = selective_scan.selective_scan, selective_scan.selective_scan_reference
    assert_same(lambda *i: fast(*i)[0], lambda *i: plain(*i)[0], inputs, 1e-3)
    torch.testing.assert_close(fast(*inputs)[1], plain(*inputs)[1], rtol=1e-4, atol=1e-5)


def test_scan_step_is_the_recurrence():
    x, dt, a, b, c, skip = (t.detach() for t in scan_inputs(11))
    y, last = selective_scan.selective_scan_reference(x, dt, a, b, c, skip)
    state = torch.zeros_like(last)
    stepped = [
        selective_scan.scan_step(x[:, t], dt[:, t], (-a).log(), b[:, t], c[:, t], skip, state) for t in range(11)
    ]
    torch.testing.assert_close(torch.stack(stepped, 1), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=1e-4, atol=1e-5)
