"""Delta rules beside their recurrence: values, gradients, last states, documents, steps, and how cost grows."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harmony_core import tiling
from harmony_core.models.ops.linear import l2_norm, norm_then_gate
from harmony_core.models.ops.linear.gated_delta import gated_delta, gated_delta_reference, gated_delta_step
from harmony_core.models.ops.linear.kda import kda, kda_reference, kda_step
from tests.models.comparison import draw

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def scalar_inputs(length, *, batch=2, groups=2, heads=4, keys=6, values=5, dtype=torch.float64, decay=1.0, most=2.0):
    """Queries above keys of length one, values, log decays, strengths: leaves."""
    qk = torch.nn.functional.normalize(draw(batch, length, 2 * groups, keys).detach(), dim=-1)
    log = -decay * draw(batch, length, heads, seed=1).detach().abs()
    beta = most * draw(batch, length, heads, seed=2).detach().sigmoid()
    inputs = (qk, draw(batch, length, heads, values, seed=3).detach(), log, beta)
    return tuple(x.to(dtype).requires_grad_() for x in inputs)


def channel_inputs(length, **options):
    """The same with a decay a channel, some far stronger than others."""
    qk, v, log, beta = scalar_inputs(length, **{"groups": 4, **options})
    strength = torch.logspace(-2, 1, qk.shape[-1], dtype=log.dtype)
    raw = draw(*log.shape, qk.shape[-1], seed=5).detach().to(log.dtype).abs() * options.get("decay", 1.0)
    return qk, v, (-strength * raw).requires_grad_(), beta


RULES = {
    "gated_delta": (gated_delta, gated_delta_reference, gated_delta_step, scalar_inputs),
    "kda": (kda, kda_reference, kda_step, channel_inputs),
}
every_rule = pytest.mark.parametrize("name", RULES)


def assert_the_recurrence(rule, reference, inputs, tolerance):
    """Outputs, the last state, and every gradient."""
    (y, last), (expected, expected_last) = rule(*inputs), reference(*inputs)
    torch.testing.assert_close(y, expected, **tolerance)
    torch.testing.assert_close(last, expected_last, **tolerance)
    dy = draw(*y.shape, seed=4).detach().to(y.dtype)
    for got, wanted in zip(torch.autograd.grad(y, inputs, dy), torch.autograd.grad(expected, inputs, dy), strict=True):
        torch.testing.assert_close(got, wanted, **tolerance)


@every_rule
@pytest.mark.parametrize("chunk", [1, 7, 16])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 33])
def test_chunks_are_the_recurrence(name, length, chunk):
    rule, reference, _, inputs = RULES[name]
    assert_the_recurrence(lambda *i: rule(*i, chunk), reference, inputs(length), EXACT)


def test_value_heads_that_share_a_key_head_in_spans_of_several_chunks(monkeypatch):
    inputs = scalar_inputs(70, groups=1)
    for together in (1, 3):
        monkeypatch.setattr(tiling, "SPAN_BYTES", 2 * 4 * 8 * 8 * 8 * together)
        assert tiling.span_chunks(8, 8, 6, 8) == together
        assert_the_recurrence(lambda *i: gated_delta(*i, 8), gated_delta_reference, inputs, EXACT)


@every_rule
@pytest.mark.parametrize("decay", [0.0, 30.0, 1e4])
def test_without_decay_and_with_a_strong_one(name, decay):
    rule, reference, _, inputs = RULES[name]
    tolerance = {"rtol": 1e-9, "atol": 1e-9}
    assert_the_recurrence(lambda *i: rule(*i, 16), reference, inputs(40, decay=decay), tolerance)


@every_rule
def test_a_rule_that_corrects_nothing(name):
    rule, reference, _, make = RULES[name]
    qk, v, log, beta = make(20)
    inputs = (qk, v, log, (beta * 0).detach().requires_grad_())
    assert_the_recurrence(lambda *i: rule(*i, 8), reference, inputs, EXACT)


@every_rule
def test_in_fp32_and_of_bf16(name):
    rule, reference, _, make = RULES[name]
    exact = make(100, keys=16, values=16, most=1.0)
    expected = reference(*exact)[0].detach()
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        y, last = rule(*(x.detach().to(dtype) for x in exact), 32)
        assert y.dtype == last.dtype == torch.float32
        assert (y - expected).norm() < bound * expected.norm()


@every_rule
def test_a_step_is_the_recurrence(name):
    _, reference, step, make = RULES[name]
    inputs = tuple(x.detach() for x in make(12))
    y, last = reference(*inputs)
    state = torch.zeros_like(last)
    stepped = [step(*(x[:, t] for x in inputs), state) for t in range(12)]
    torch.testing.assert_close(torch.stack(stepped, 1), y, **EXACT)
    torch.testing.assert_close(state, last, **EXACT)


@every_rule
@pytest.mark.parametrize("beginnings", [(0, 5, 6, 20), (0, 8, 16), (0, 23)])
def test_documents_are_those_of_each_alone(name, beginnings):
    rule, reference, _, make = RULES[name]
    number = torch.zeros(1, 24, dtype=torch.int64)
    number[0, list(beginnings)] = 1
    ends = (*beginnings[1:], 24)

    def apart(*inputs):
        pieces = [reference(*(x[:, a:b] for x in inputs)) for a, b in zip(beginnings, ends, strict=True)]
        return torch.cat([y for y, _ in pieces], 1), pieces[-1][1]

    assert_the_recurrence(lambda *i: rule(*i, 8, number.cumsum(1)), apart, make(24, batch=1), EXACT)


@every_rule
@pytest.mark.parametrize("backward", [False, True])
def test_cost_is_a_multiple_of_the_length(name, backward):
    rule, _, _, make = RULES[name]

    def flops(length):
        with FlopCounterMode(display=False) as counter:
            y, _ = rule(*make(length), 8)
            if backward:
                y.sum().backward()
        return counter.get_total_flops()

    assert flops(512) == 16 * flops(32) > 0


def assert_gradients(fast, plain, inputs):
    for function in (fast, plain):
        torch.autograd.gradcheck(function, inputs, fast_mode=True)
    torch.testing.assert_close(fast(*inputs), plain(*inputs), **EXACT)
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), plain(*inputs), **EXACT)


def test_l2_norm():
    assert_gradients(l2_norm.l2_norm, l2_norm.l2_norm_reference, (draw(2, 3, 5).detach().double().requires_grad_(),))


@pytest.mark.parametrize("activation", ["silu", "sigmoid"])
def test_norm_then_gate(activation):
    inputs = tuple(x.detach().double().requires_grad_() for x in (draw(2, 3, 4, 5), draw(2, 3, 4, 5, seed=1), draw(5)))
    assert_gradients(
        lambda *i: norm_then_gate.norm_then_gate(*i, 1e-2, activation),
        lambda *i: norm_then_gate.norm_then_gate_reference(*i, 1e-2, activation),
        inputs,
    )
