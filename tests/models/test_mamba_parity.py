"""The Mamba blocks and their ops beside the reference functions of mamba-ssm and causal-conv1d."""

import pytest
import torch

from harmony_core.architecture import Mamba, Mamba2
from harmony_core.models.mamba import MambaModule
from harmony_core.models.mamba2 import Mamba2Module
from harmony_core.models.ops.convolution import convolution
from harmony_core.models.ops.ssm import gated_norm, selective_scan, ssd
from harmony_core.models.parameter import initialise
from tests.models.comparison import assert_same, draw
from tests.models.mamba_references import causal_conv1d, mamba_ssm

# References round in another order.
RTOL, ATOL = 1e-3, 2e-5


def positive(*shape, seed=0):
    return torch.nn.functional.softplus(draw(*shape, seed=seed)).detach().requires_grad_()


def negative(*shape):
    return (-draw(*shape).exp()).detach().requires_grad_()


def draw_parameters(module):
    """First values, moved a little, so that biases are not zero."""
    initialise(module, 0, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * draw(*parameter.shape)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("length", "taps"), [(17, 4), (2, 3), (9, 2)])
def test_convolution(length, taps, biased):
    reference = causal_conv1d()["causal_conv1d_ref"]
    inputs = (draw(2, length, 6), draw(6, taps), draw(6))[: 3 if biased else 2]

    def fast(x, w, b=None):
        return convolution.conv_silu(x, w, b)

    def plain(x, w, b=None):
        return reference(x.mT, w, b, activation="silu").mT

    assert_same(fast, plain, inputs, RTOL, ATOL)


@pytest.mark.parametrize("biased", [True, False])
def test_convolution_step(biased):
    reference = causal_conv1d()["causal_conv1d_update_ref"]
    x, w, bias = draw(2, 9, 6).detach(), draw(6, 4).detach(), draw(6).detach() if biased else None
    ours, theirs = torch.zeros(2, 4, 6), torch.zeros(2, 6, 4)
    for t in range(9):
        expected = reference(x[:, t], theirs, w, bias, activation="silu")
        torch.testing.assert_close(convolution.conv_silu_step(x[:, t], ours, w, bias), expected, rtol=RTOL, atol=ATOL)
        torch.testing.assert_close(ours.mT, theirs)


@pytest.mark.parametrize("groups", [1, 3])
def test_gated_norm(groups):
    reference = mamba_ssm()["rms_norm_ref"]

    def plain(y, gate, w):
        return reference(y, w, None, z=gate, eps=1e-3, group_size=12 // groups, norm_before_gate=False)

    inputs = (draw(2, 5, 12), draw(2, 5, 12, seed=1), draw(12))
    assert_same(lambda *i: gated_norm.gated_norm(*i, 1e-3, groups), plain, inputs, RTOL, ATOL)


def ssd_inputs(length, heads=4, groups=2, width=3, state=5):
    maps = (draw(2, length, groups, state, seed=1), draw(2, length, groups, state, seed=2))
    return draw(2, length, heads, width), positive(2, length, heads), negative(heads), *maps, draw(heads, seed=4)


def test_ssd_is_the_paper_s_listing():
    reference = mamba_ssm()["ssd_minimal_discrete"]

    def plain(x, dt, a, b, c, skip):
        b, c = (t.repeat_interleave(2, 2) for t in (b, c))
        y, last = reference(x * dt.unsqueeze(-1), a * dt, b, c, 8)
        return torch.cat([(y + skip[:, None] * x).flatten(), last.flatten()])

    assert_same(lambda *i: torch.cat([t.flatten() for t in ssd.ssd(*i, 5)]), plain, ssd_inputs(24), RTOL, ATOL)


@pytest.mark.parametrize("softplus", [True, False])
def test_ssd_is_the_combined_scan(softplus):
    reference = mamba_ssm()["ssd_chunk_scan_combined_ref"]

    def plain(x, dt, a, b, c, skip):
        raw = torch.log(torch.expm1(dt)) - 0.3 if softplus else dt
        bias = torch.full_like(a, 0.3) if softplus else None
        return reference(x, raw, a, b, c, 8, D=skip, dt_bias=bias, dt_softplus=softplus)

    x, dt, a, *others = ssd_inputs(32)
    # The reference takes exp of what it masks afterwards: strong decays overflow there.
    inputs = (x, dt, (a * 0.1).detach().requires_grad_(), *others)
    assert_same(lambda *i: ssd.ssd(*i, 16)[0], plain, inputs, RTOL, ATOL)


def test_selective_scan():
    reference = mamba_ssm()["selective_scan_ref"]

    def plain(x, dt, a, b, c, skip, states=False):
        return reference(x.mT, dt.mT, a, b.mT, c.mT, D=skip, return_last_state=states)

    maps = (draw(2, 19, 4, seed=1), draw(2, 19, 4, seed=2))
    inputs = (draw(2, 19, 6), positive(2, 19, 6), negative(6, 4), *maps, draw(6, seed=3))
    fast = selective_scan.selective_scan
    assert_same(lambda *i: fast(*i)[0], lambda *i: plain(*i).mT, inputs, RTOL, ATOL)
    torch.testing.assert_close(fast(*inputs)[1], plain(*inputs, states=True)[1], rtol=RTOL, atol=ATOL)


def test_steps_are_the_state_update():
    reference = mamba_ssm()["selective_state_update_ref"]
    x, dt, a, b, c, skip = (t.detach() for t in ssd_inputs(7))
    ours, theirs = torch.zeros(2, 4, 3, 5), torch.zeros(2, 4, 3, 5)
    for t in range(7):
        wide = (a[:, None, None].expand(4, 3, 5), b[:, t], c[:, t], skip[:, None].expand(4, 3))
        expected = reference(theirs, x[:, t], dt[:, t, :, None].expand(2, 4, 3), *wide)
        y = ssd.ssd_step(x[:, t], dt[:, t], a, b[:, t], c[:, t], skip, ours)
        torch.testing.assert_close(y, expected, rtol=RTOL, atol=ATOL)
        torch.testing.assert_close(ours, theirs, rtol=RTOL, atol=ATOL)


def test_mamba_1_steps_are_the_state_update():
    reference = mamba_ssm()["selective_state_update_ref"]
    x, dt, a = draw(2, 7, 6).detach(), positive(2, 7, 6).detach(), negative(6, 4).detach()
    b, c, skip = draw(2, 7, 4, seed=1).detach(), draw(2, 7, 4, seed=2).detach(), draw(6).detach()
    ours, theirs = torch.zeros(2, 6, 4), torch.zeros(2, 6, 4)
    for t in range(7):
        expected = reference(theirs, x[:, t], dt[:, t], a, b[:, t], c[:, t], D=skip)
        y = selective_scan.scan_step(x[:, t], dt[:, t], (-a).log(), b[:, t], c[:, t], skip, ours)
        torch.testing.assert_close(y, expected, rtol=RTOL, atol=ATOL)
        torch.testing.assert_close(ours, theirs, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("limit", [(0.0, None), (0.01, 0.04)])
def test_whole_mamba2_mixer(limit, bias):
    """From the projection's output to the block's, beside the authors' function for just that."""
    reference, width = mamba_ssm()["mamba_split_conv1d_scan_ref"], 16
    config = Mamba2(d_state=5, head_dim=8, dt_limit=limit, bias=bias, conv_bias=bias, chunk_size=8)
    module = Mamba2Module(config, width, 1e-3)
    draw_parameters(module)

    def plain(x):
        projected = torch.nn.functional.linear(x, module.in_proj, module.in_bias)
        return reference(
            projected,
            module.conv,
            module.conv_bias,
            module.dt_bias,
            -torch.exp(module.a_log),
            module.skip,
            chunk_size=8,
            dt_limit=(limit[0], float("inf") if limit[1] is None else limit[1]),
            rmsnorm_weight=module.norm.weight,
            rmsnorm_eps=1e-3,
            outproj_weight=module.out,
            outproj_bias=module.out_bias,
            headdim=8,
            norm_before_gate=False,
        )

    # What the block reads, and with it all parameters.
    inputs = (draw(2, 19, width), *module.parameters())
    assert_same(lambda x, *_: module(x), lambda x, *_: plain(x), inputs, RTOL, ATOL)


@pytest.mark.parametrize("bias", [True, False])
def test_whole_mamba_1_mixer(bias):
    scan, conv = mamba_ssm()["selective_scan_ref"], causal_conv1d()["causal_conv1d_ref"]
    config = Mamba(d_state=4, dt_rank=3, bias=bias, conv_bias=bias)
    module, functional = MambaModule(config, 16, 1e-3), torch.nn.functional
    draw_parameters(module)

    def plain(x):
        inner, gate = functional.linear(x, module.in_proj, module.in_bias).mT.chunk(2, 1)
        inner = conv(inner, module.conv, module.conv_bias, activation="silu")
        dt, b, c = functional.linear(inner.mT, module.x_proj).split((3, 4, 4), -1)
        raw = functional.linear(dt, module.dt_proj).mT
        options = {"D": module.skip, "z": gate, "delta_bias": module.dt_bias, "delta_softplus": True}
        y = scan(inner, raw, -torch.exp(module.a_log), b.mT, c.mT, **options)
        return functional.linear(y.mT, module.out, module.out_bias)

    inputs = (draw(2, 19, 16), *module.parameters())
    assert_same(lambda x, *_: module(x), lambda x, *_: plain(x), inputs, RTOL, ATOL)
