"""Attention and Mamba-2 side by side: the sum by definition, token by token in fp64, and first values of one block."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, silu, softplus

from harmony_core.architecture import Mamba2, Parallel, block_from_dict
from harmony_core.models.block import BlockModule
from harmony_core.models.documents import Documents
from harmony_core.models.mamba2 import Mamba2Module
from harmony_core.models.ops.ssm.silu_gate import silu_gate, silu_gate_reference
from harmony_core.models.ops.ssm.ssd import ssd_reference
from harmony_core.models.parallel import ParallelModule
from harmony_core.models.parameter import initialise
from harmony_core.models.registry import module_for
from harmony_core.parametrisation import Parametrisation
from tests.models.comparison import assert_same, draw

WIDTH = 32
HEADS = {"num_heads": 4, "head_dim": 8, "num_kv_heads": 2}
STATES = {"d_state": 6, "head_dim": 8, "n_groups": 2, "inner_width": 48, "chunk_size": 8}
FACTORS = {
    "attention_in_multiplier": 0.7,
    "attention_out_multiplier": 0.9,
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.3,
}
MULTIPLIERS = (0.6, 0.25, 0.8, 0.5, 1.4)
NORMS = ("gate_first", "norm_first", "none")
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def parallel(**ssm: Any) -> Parallel:
    block = block_from_dict({"kind": "parallel", "attention": HEADS, "ssm": {**STATES, **ssm}, **FACTORS})
    assert isinstance(block, Parallel)
    return block


def filled(block: Any, dtype: torch.dtype = torch.float64) -> Any:
    """No bias of zero, no norm of one."""
    module = module_for(block, WIDTH, 1e-5)
    initialise(module, 0, 1)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * draw(*parameter.shape, seed=index))
    return module.to(dtype)


def by_definition(module: Mamba2Module, x_BTD: Tensor) -> Tensor:
    """Mamba-2 as Falcon-H1 writes it: everything projected is multiplied, then convolved, scanned and gated."""
    c = module.config
    inner, maps, heads = module.widths[0], c.n_groups * c.d_state, module.widths[2]
    sizes = (inner, inner, maps, maps, heads)
    factors = torch.cat([torch.full((n,), m, dtype=x_BTD.dtype) for n, m in zip(sizes, c.multipliers, strict=True)])
    z, xbc, dt = ((x_BTD @ module.in_proj.T) * factors).split((inner, inner + 2 * maps, heads), -1)
    padded = torch.nn.functional.pad(xbc.mT, (c.d_conv - 1, 0))
    xbc = silu(conv1d(padded, module.conv.unsqueeze(1), module.conv_bias, groups=inner + 2 * maps).mT)
    x, b, c_maps = xbc.split((inner, maps, maps), -1)
    grouped = (c.n_groups, c.d_state)
    steps = softplus(dt + module.dt_bias)
    y, _ = ssd_reference(
        x.unflatten(-1, (heads, -1)),
        steps,
        -module.a_log.exp(),
        b.unflatten(-1, grouped),
        c_maps.unflatten(-1, grouped),
        module.skip,
    )
    y = y.flatten(-2)
    if c.norm == "none":
        return (y * silu(z)) @ module.out.T
    assert module.norm is not None
    y = y * silu(z) if c.norm == "gate_first" else y
    grouped_y = y.unflatten(-1, (c.n_groups, -1))
    y = (grouped_y * torch.rsqrt(grouped_y.square().mean(-1, keepdim=True) + 1e-5)).flatten(-2) * module.norm.weight
    return (y if c.norm == "gate_first" else y * silu(z)) @ module.out.T


def one_document(x_BTD: Tensor) -> Documents:
    return Documents(torch.zeros(x_BTD.shape[:2], dtype=torch.int64))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("length", [1, 8, 21])
def test_every_factor_is_where_the_definition_has_it(norm: str, length: int) -> None:
    """In fp64, in the form that knows fp64; beside it the faster one, in fp32."""
    module, x_BTD = filled(parallel(norm=norm, multipliers=MULTIPLIERS)), draw(2, length, WIDTH).double()
    heads_BTD = module.attention.forward_documents(0.7 * x_BTD, one_document(x_BTD))
    expected = 0.9 * heads_BTD + 0.3 * by_definition(module.ssm, 1.25 * x_BTD)
    found = module.forward_documents(x_BTD, one_document(x_BTD))
    torch.testing.assert_close(found, expected, **EXACT)
    gradients = [
        torch.autograd.grad(y.sin().sum(), [*module.parameters()], retain_graph=True) for y in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    fast = module.float()(x_BTD.float())
    torch.testing.assert_close(fast.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@torch.no_grad()
def test_a_step_is_the_next_token_in_fp64(norm: str) -> None:
    module, x_BTD = filled(parallel(norm=norm, multipliers=MULTIPLIERS)).eval(), draw(2, 19, WIDTH).double()
    state = module.init_state(2, 19, x_BTD.device, torch.float64)
    stepped = torch.stack([module.step(x_BTD[:, t], state, t) for t in range(19)], 1)
    torch.testing.assert_close(stepped, module.forward_documents(x_BTD, one_document(x_BTD)), **EXACT)


@torch.no_grad()
def test_it_is_the_sum_of_its_branches_bit_by_bit() -> None:
    module, x_BTD = filled(parallel(), torch.float32), draw(2, 13, WIDTH).detach()
    expected = 0.9 * module.attention(0.7 * x_BTD) + 0.3 * module.ssm(1.25 * x_BTD)
    assert torch.equal(module(x_BTD), expected)


def test_together_they_begin_as_large_as_one() -> None:
    both = ParallelModule(parallel(), WIDTH, 1e-5)
    initialise(both, 0, 4, Parametrisation(residual_gain=2.0))
    branches: tuple[BlockModule, ...] = (both.attention, both.ssm)
    for branch in branches:
        fan_in = branch.out.shape[1]
        expected = 2.0 / math.sqrt(4) / math.sqrt(fan_in) / math.sqrt(2)
        assert float(branch.out.detach().std()) == pytest.approx(expected, rel=0.1)
    assert float(both.attention.qkv.detach().std()) == pytest.approx(1 / math.sqrt(WIDTH), rel=0.1)


@pytest.mark.parametrize("multiplier", [1.0, 0.4])
def test_an_opened_gate_without_a_norm(multiplier: float) -> None:
    inputs = (draw(2, 5, 12), draw(2, 5, 12, seed=1))
    assert_same(
        lambda y, gate: silu_gate(y, gate, multiplier), lambda y, gate: silu_gate_reference(y, gate, multiplier), inputs
    )
    with torch.no_grad():
        low = silu_gate(*(t.bfloat16() for t in inputs), multiplier)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), silu_gate_reference(*inputs, multiplier), rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_factors_that_are_one_cost_nothing() -> None:
    plain, ones = (Mamba2Module(Mamba2(**STATES, **more), WIDTH, 1e-5) for more in ({}, {"multipliers": (1.0,) * 5}))
    assert plain._taps() is plain.conv
    assert ones._taps() is ones.conv
