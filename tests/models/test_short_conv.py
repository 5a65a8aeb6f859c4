"""The gated short convolution beside a loop over tokens and taps, in every form, and beside LFM2's own module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harmony_core import tiling
from harmony_core.architecture import ShortConv
from harmony_core.errors import UserError
from harmony_core.interop.hf.parts.short_conv import short_conv_weights
from harmony_core.interop.hf.weights import load
from harmony_core.models.ops.convolution.short import (
    gated_short_conv,
    gated_short_conv_step,
    short_conv_reference,
)
from harmony_core.models.registry import module_for
from tests.models.comparison import draw

EXACT = {"rtol": 1e-10, "atol": 1e-10}
WIDTH = 6
# Tokens of a piece here: one, fewer than the taps reach, as many, more.
PIECES = (1, 2, 4, 5, 64)


def inputs(length: int, taps: int, bias: bool = True, batch: int = 2) -> tuple[Tensor, ...]:
    """B, C and x side by side, taps and biases in fp64: leaves."""
    shapes = [(batch, length, 3 * WIDTH), (WIDTH, taps), *([(WIDTH,)] if bias else [])]
    return tuple(draw(*shape, seed=seed).detach().double().requires_grad_() for seed, shape in enumerate(shapes))


def loop(z_BTE: Tensor, w_DK: Tensor, b_D: Tensor | None = None) -> Tensor:
    """The definition, a token and a tap at a time."""
    b_BTD, c_BTD, x_BTD = z_BTE.split(w_DK.shape[0], -1)
    taps, outputs = w_DK.shape[1], []
    for t in range(z_BTE.shape[1]):
        mixed = torch.zeros_like(b_BTD[:, 0]) if b_D is None else b_D.expand_as(b_BTD[:, 0])
        for lag in range(min(taps, t + 1)):
            mixed = mixed + w_DK[:, taps - 1 - lag] * b_BTD[:, t - lag] * x_BTD[:, t - lag]
        outputs.append(c_BTD[:, t] * mixed)
    return torch.stack(outputs, 1)


@pytest.fixture(params=PIECES)
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmony_core.models.ops.convolution.short.short_conv_tokens", lambda width: request.param)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("taps", [1, 3, 4, 7])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 17])
def test_pieces_are_the_loop(length: int, taps: int) -> None:
    for bias in (False, True):
        tensors = inputs(length, taps, bias)
        y_BTD, expected = gated_short_conv(*tensors), loop(*tensors)
        torch.testing.assert_close(y_BTD, expected, **EXACT)
        torch.testing.assert_close(short_conv_reference(*tensors, *([] if bias else [None])), expected, **EXACT)
        dy_BTD = draw(*y_BTD.shape, seed=4).detach().double()
        found = torch.autograd.grad(y_BTD, tensors, dy_BTD)
        for got, wanted in zip(found, torch.autograd.grad(expected, tensors, dy_BTD), strict=True):
            torch.testing.assert_close(got, wanted, **EXACT)


def test_the_pieces_of_a_real_width_are_several() -> None:
    """At the size of the benchmark, where the plain form is PyTorch's convolution, in fp32."""
    assert tiling.short_conv_tokens(256) == 512
    z, w, b = draw(2, 600, 3 * 256), draw(256, 3, seed=1), draw(256, seed=2)
    y, expected = gated_short_conv(z, w, b), short_conv_reference(z, w, b)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(each.sum(), (z, w, b)) for each in (y, expected)]
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("bias", [False, True])
def test_a_step_is_the_loop(bias: bool) -> None:
    z, w, *b = (x.detach() for x in inputs(11, 4, bias))
    state = torch.zeros(2, 4, WIDTH, dtype=torch.float64)
    stepped = torch.stack([gated_short_conv_step(z[:, t], state, w, *b) for t in range(11)], 1)
    torch.testing.assert_close(stepped, loop(z, w, *b), **EXACT)


def test_bf16_is_within_its_rounding_and_computed_in_fp32() -> None:
    """Inputs of 8 bits and one rounding of the output: relative to the output's size less than 2^-8 beside fp64."""
    z, w, b = inputs(40, 7)
    rounded = z.detach().bfloat16()
    y = gated_short_conv(rounded, w.detach().float(), b.detach().float())
    assert y.dtype == torch.bfloat16
    exact = loop(rounded.double(), w, b).detach()
    assert ((y.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()


def test_bf16_gradients_have_the_types_of_their_inputs() -> None:
    z, w, b = inputs(40, 3)
    low = z.detach().bfloat16().requires_grad_()
    kept = w.detach().float().requires_grad_(), b.detach().float().requires_grad_()
    dy = draw(2, 40, WIDTH, seed=4).detach()
    found = torch.autograd.grad(gated_short_conv(low, *kept), (low, *kept), dy.bfloat16())
    exact = loop(low.detach().double().requires_grad_(), w, b)
    assert [x.dtype for x in found] == [torch.bfloat16, torch.float32, torch.float32]
    wanted = torch.autograd.grad(exact, (w, b), dy.bfloat16().double())
    for got, one in zip(found[1:], wanted, strict=True):
        torch.testing.assert_close(got.double(), one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
def test_the_block_is_that_of_lfm2(bias: bool) -> None:
    from transformers.models.lfm2.modeling_lfm2 import Lfm2Config, Lfm2ShortConv

    config = Lfm2Config(hidden_size=WIDTH, num_hidden_layers=1, layer_types=["conv"], conv_L_cache=4, conv_bias=bias)
    theirs = Lfm2ShortConv(config, 0)
    block = ShortConv(kernel_size=4, bias=bias)
    ours = module_for(block, WIDTH, 1e-5)
    state = {f"theirs.{name}": tensor.detach() for name, tensor in theirs.named_parameters()}
    load(
        short_conv_weights(block, "ours", "theirs"),
        {f"ours.{name}": parameter for name, parameter in ours.named_parameters()},
        state,
        "theirs",
    )
    outputs = []
    for module in (ours, theirs):
        x = draw(2, 19, WIDTH)
        y = module(x)
        outputs.append((y, *torch.autograd.grad(y.square().sum(), x)))
    assert outputs[1][0].std() > 0.01
    for got, wanted in zip(*outputs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_long_kernel_reaches_over_documents_and_says_so() -> None:
    assert ShortConv(kernel_size=32).documents_problem() is None
    problem = ShortConv(kernel_size=33).documents_problem()
    assert problem is not None
    assert "33 taps" in problem
    with pytest.raises(UserError, match="kernel_size is 0; use at least 1"):
        ShortConv.parse({"kernel_size": 0}, "short_conv")
