"""flash-linear-attention's kernels beside our plain forms.

Its chunked delta rules do not run in Triton 3.9's interpreter, in which a loop's counter is no tensor; their calls are
held against its own recurrences, which say what queries, decays and states mean there.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from harmony_core.models.kernel_packages import Loaded
from harmony_core.models.ops.convolution.convolution import conv_silu_reference
from harmony_core.models.ops.convolution.kernels import run_conv_kernel
from harmony_core.models.ops.linear.delta_kernels import run_delta_kernel
from harmony_core.models.ops.linear.gated_delta import gated_delta
from harmony_core.models.ops.linear.kda import kda
from harmony_core.models.ops.linear.norm_then_gate import Gate, norm_then_gate_reference
from tests.kernels.conftest import found
from tests.kernels.differences import differences, drawn


@pytest.mark.parametrize(("length", "taps", "biased"), [(21, 4, True), (21, 3, False), (2, 4, True)])
def test_the_short_convolution_is_the_plain_one(length: int, taps: int, biased: bool) -> None:
    kernel, inputs = found("short-convolution"), drawn((2, length, 10), (10, taps), (10,))

    def fused(x: Tensor, w: Tensor, *bias: Tensor) -> Tensor:
        return run_conv_kernel(kernel, x, w, bias[0] if bias else None)

    def plain(x: Tensor, w: Tensor, *bias: Tensor) -> Tensor:
        return conv_silu_reference(x, w, bias[0] if bias else None)

    assert max(differences(fused, plain, inputs if biased else inputs[:2])) < 1e-6


def test_the_convolution_takes_what_a_projection_was_split_into_and_keeps_fp32_taps() -> None:
    kernel, (joined, w) = found("short-convolution"), drawn((2, 9, 24), (8, 4))
    x = joined.bfloat16()[..., 8:16]
    y = run_conv_kernel(kernel, x, w, None, activation=None)
    padded = torch.nn.functional.pad(x.float().mT, (3, 0))
    expected = torch.nn.functional.conv1d(padded, w.unsqueeze(1), groups=8).mT
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("activation", ["silu", "sigmoid"])
def test_the_norm_of_a_head_is_the_plain_one(activation: Gate) -> None:
    kernel = found("head-norm").function

    def fused(y: Tensor, gate: Tensor, w: Tensor) -> Tensor:
        z: Tensor = kernel(y, gate, w, None, activation, eps=1e-5)
        return z

    def plain(y: Tensor, gate: Tensor, w: Tensor) -> Tensor:
        return norm_then_gate_reference(y, gate, w, 1e-5, activation)

    assert max(differences(fused, plain, drawn((2, 5, 3, 12), (2, 5, 3, 12), (12,)))) < 1e-6


@pytest.mark.parametrize("rule", ["gated-delta-rule", "kda"])
def test_a_delta_rules_call_means_what_ours_does(rule: str) -> None:
    heads, groups, width, values = (4, 2, 8, 6) if rule == "gated-delta-rule" else (2, 2, 8, 8)
    qk, v, log, beta = drawn((2, 13, 2 * groups, width), (2, 13, heads, values), (2, 13, heads, width), (2, 13, heads))
    qk, log = torch.nn.functional.normalize(qk, dim=-1), -log.exp()
    log = log[..., 0] if rule == "gated-delta-rule" else log
    module = importlib.import_module(found(rule).function.__module__.rpartition(".")[0] + ".naive")

    def recurrence(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, output_final_state: bool) -> Any:
        q, k = (x.repeat_interleave(heads // groups, 2) for x in (q, k))
        name = "naive_recurrent_kda" if rule == "kda" else "naive_recurrent_gated_delta_rule"
        return getattr(module, name)(q, k, v, g=g, beta=beta, output_final_state=output_final_state)

    def theirs(*inputs: Tensor) -> tuple[Tensor, ...]:
        y, last = run_delta_kernel(recurrence, *inputs, torch.float32, with_state=True)
        assert last is not None
        return y, last

    def ours(*inputs: Tensor) -> tuple[Tensor, ...]:
        return (kda if rule == "kda" else gated_delta)(*inputs, 8)

    assert max(differences(theirs, ours, (qk, v, log, beta.sigmoid()))) < 2e-6


def test_the_kernels_know_the_arguments_that_are_given() -> None:
    import inspect

    for rule in ("gated-delta-rule", "kda"):
        names = list(inspect.signature(found(rule).function).parameters)
        assert names[:5] == ["q", "k", "v", "g", "beta"]
        assert "output_final_state" in names
    assert isinstance(found("kda"), Loaded)
