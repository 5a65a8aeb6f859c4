"""The Hyena operators' convolutions beside the plain formulas: values, gradients, and where blocks stop being exact."""

import pytest
import torch

from harmony_core.models.ops.convolution import blocked as blocked_convolution
from harmony_core.models.ops.convolution.blocked import BlockedConvolution, chunk_size_for, reach
from harmony_core.models.ops.convolution.direct import DirectConvolution
from harmony_core.models.ops.convolution.fft import FFTConvolution, fast_length
from harmony_core.models.ops.convolution.gated import (
    convolution_reference,
    convolve,
    gated_convolution,
    gated_convolution_reference,
)
from harmony_core.models.ops.convolution.modal import (
    ModalConvolution,
    modal_filter,
    modal_filters,
    modal_state,
    modal_step,
)
from tests.models.comparison import assert_same, draw

CONVOLUTIONS = [DirectConvolution(), BlockedConvolution(), BlockedConvolution(5), FFTConvolution()]
CHUNK = 8
# Shapes of (batch, tokens, channels, groups, taps): many groups and one, filters longer than the sequence, odd widths,
# a width at which the blocks add a group.
SHAPES = [
    (2, 37, 12, 3, 7),
    (1, 200, 8, 2, 128),
    (2, 5, 4, 4, 9),
    (1, 64, 32, 1, 30),
    (1, 1, 4, 2, 3),
    (2, 1100, 4, 2, 8),
    (2, 70, 512, 32, 20),
]


def test_the_formula_by_hand():
    u = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    h = torch.tensor([[5.0, 7.0], [1.0, -1.0]])
    y = convolution_reference(u, h)
    assert y[0, :, 0].tolist() == [5.0, 5 * 2 + 7 * 1, 5 * 3 + 7 * 2]
    assert y[0, :, 1].tolist() == [10.0, 20.0 - 10.0, 30.0 - 20.0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)
def test_convolutions(convolution, shape):
    batch, length, width, groups, taps = shape
    inputs = draw(batch, length, width), draw(groups, taps)
    assert_same(lambda u, h: convolve(u, convolution, h), convolution_reference, inputs)


@pytest.fixture(params=["image", "batched"])
def block_path(request, monkeypatch):
    """Both ways of computing the blocks' products, whatever this machine would take."""
    monkeypatch.setattr(blocked_convolution, "block_path", lambda device: request.param)


@pytest.mark.parametrize("taps", [1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 2, 2 * CHUNK, 2 * CHUNK + 1, 2 * CHUNK + 2])
@pytest.mark.parametrize("length", [1, CHUNK, 4 * CHUNK, 4 * CHUNK + 3])
def test_blocks_reach_as_far_as_the_filter(taps, length, block_path):
    inputs = draw(2, length, 6), draw(2, taps)
    blocked = BlockedConvolution(CHUNK)
    assert_same(lambda u, h: convolve(u, blocked, h), convolution_reference, inputs)


def test_how_many_blocks_are_exact():
    """Two up to a filter one tap longer than the chunk, three up to twice the chunk and one."""
    found = [reach(taps, CHUNK) + 1 for taps in (1, 2, CHUNK, CHUNK + 1, CHUNK + 2, 2 * CHUNK, 2 * CHUNK + 1)]
    assert found == [1, 2, 2, 2, 3, 3, 3]
    assert reach(2 * CHUNK + 2, CHUNK) + 1 == 4
    assert [chunk_size_for(taps, 128) for taps in (1, 7, 33, 64, 128, 129, 1000)] == [16, 16, 32, 32, 64, 128, 128]
    assert chunk_size_for(1000, 16) == 16


@pytest.mark.parametrize("shape", SHAPES)
def test_blocked_convolution_either_way(shape, block_path):
    batch, length, width, groups, taps = shape
    inputs = draw(batch, length, width), draw(groups, taps)
    assert_same(lambda u, h: convolve(u, BlockedConvolution(), h), convolution_reference, inputs)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)
def test_gated_convolution(convolution, skip):
    z, h, direct = draw(2, 21, 3 * 8), draw(4, 9), draw(8)
    if skip:
        assert_same(
            lambda z, h, s: gated_convolution(z, s, convolution, h), gated_convolution_reference, (z, h, direct)
        )
    else:
        assert_same(lambda z, h: gated_convolution(z, None, convolution, h), gated_convolution_reference, (z, h))


@pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)
def test_bf16_is_rounded_at_the_ends_alone(convolution):
    z, h, skip = draw(2, 40, 12), draw(2, 20), draw(4)
    with torch.autocast("cpu", torch.bfloat16):
        y = gated_convolution(z.bfloat16(), skip, convolution, h)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, gated_convolution_reference(z.bfloat16().float(), h, skip).bfloat16())


def recurrence(u_BTD, a_log_DN, residues_DN):
    state_BDN, outputs = torch.zeros(u_BTD.shape[0], *a_log_DN.shape), []
    for t in range(u_BTD.shape[1]):
        state_BDN = torch.exp(-torch.exp(a_log_DN)) * state_BDN + u_BTD[:, t].unsqueeze(-1)
        outputs.append((residues_DN * state_BDN).sum(-1))
    return torch.stack(outputs, 1)


def modal_inputs(batch, length, width, states):
    # Rates of 0.01 to 3: from what hardly fades to what is gone after a few tokens.
    a_log = torch.linspace(-4.6, 1.1, width * states).view(width, states).requires_grad_()
    return draw(batch, length, width), a_log, draw(width, states)


@pytest.mark.parametrize("chunk", [1, 7, 32])
@pytest.mark.parametrize("shape", [(2, 37, 6, 4), (1, 130, 3, 16), (2, 5, 3, 2), (1, 1, 2, 1)])
def test_chunked_modal_form_is_the_recurrence(shape, chunk):
    assert_same(
        lambda u, a, r: convolve(u, ModalConvolution(chunk), *modal_filters(a, r, chunk)),
        recurrence,
        modal_inputs(*shape),
    )


@pytest.mark.parametrize("shape", [(2, 37, 6, 4), (1, 130, 3, 16), (1, 1, 2, 1)])
def test_fft_modal_form_is_the_recurrence(shape):
    assert_same(
        lambda u, a, r: convolve(u, FFTConvolution(), modal_filter(a, r, u.shape[1])),
        recurrence,
        modal_inputs(*shape),
    )


def test_fft_and_chunks_agree_over_thousands_of_tokens():
    inputs = modal_inputs(1, 3000, 4, 16)
    assert_same(
        lambda u, a, r: convolve(u, ModalConvolution(32), *modal_filters(a, r, 32)),
        lambda u, a, r: convolve(u, FFTConvolution(), modal_filter(a, r, u.shape[1])),
        inputs,
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize("length", [1, 7, 32, 45])
def test_state_after_a_sequence_is_that_of_the_steps(length):
    u, a_log, residues = (x.detach() for x in modal_inputs(2, length, 5, 3))
    state, outputs = torch.zeros(2, 5, 3), []
    for t in range(length):
        outputs.append(modal_step(u[:, t], state, a_log, residues))
    torch.testing.assert_close(modal_state(u, a_log, 16), state)
    torch.testing.assert_close(torch.stack(outputs, 1), recurrence(u, a_log, residues))


@pytest.mark.parametrize("least", [1, 2, 3, 63, 64, 65, 639, 1023, 4097, 10_000])
def test_fft_lengths_have_small_factors(least):
    found, rest = fast_length(least), fast_length(least)
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    assert rest == 1
    assert found % 2 == 0
    assert least <= found <= 2 * max(1, least)
