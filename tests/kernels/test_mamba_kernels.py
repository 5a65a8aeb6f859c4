"""mamba-ssm's Triton kernels, loaded without its package's CUDA extension, beside our plain forms."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from harmony_core.architecture import Architecture
from harmony_core.models import build, kernel_packages, kernels
from harmony_core.models.ops.ssm.gated_norm import gated_norm_reference, run_group_norm
from harmony_core.models.ops.ssm.mamba_kernels import run_ssd_kernel
from harmony_core.models.ops.ssm.ssd import ssd
from tests.kernels.conftest import found
from tests.kernels.differences import differences, drawn

EVERY = (0.0, None)
Limits = tuple[float, float | None]


@pytest.mark.parametrize(
    ("heads", "groups", "length", "chunk", "limits"),
    [(2, 1, 37, 16, EVERY), (4, 2, 16, 16, (0.03, 0.08)), (1, 1, 5, 32, EVERY)],
)
def test_the_scan_is_the_plain_one(heads: int, groups: int, length: int, chunk: int, limits: Limits) -> None:
    x, dt, b, c = drawn((2, length, heads, 8), (2, length, heads), (2, length, groups, 16), (2, length, groups, 16))
    rates, skip, bias = drawn((heads,), (heads,), (heads,), seed=1)
    # Step sizes about as large as first values have them: where they are near one, sums over all tokens cancel.
    bias -= 3
    kernel = found("mamba2-scan").function

    def fused(*inputs: Tensor) -> tuple[Tensor, ...]:
        y, last = run_ssd_kernel(kernel, *inputs, limits, chunk, with_state=True)
        assert last is not None
        return y, last

    def plain(x: Tensor, raw: Tensor, *maps_skip_bias: Tensor) -> tuple[Tensor, ...]:
        *maps_skip, bias = maps_skip_bias
        dt = softplus(raw + bias).clamp(limits[0], torch.inf if limits[1] is None else limits[1])
        return ssd(x, dt, *maps_skip, chunk)

    found_differences = differences(fused, plain, (x, dt, -rates.exp(), b, c, skip, bias))
    assert len(found_differences) == 9, "an output, a state and seven gradients"
    assert max(found_differences) < 1e-6, found_differences


@pytest.mark.parametrize("gate_first", [True, False])
@pytest.mark.parametrize(("width", "groups"), [(24, 1), (24, 3)])
def test_the_norm_of_groups_is_the_plain_one(width: int, groups: int, gate_first: bool) -> None:
    inputs = drawn((3, 5, width), (3, 5, width), (width,))
    kernel = found("gated-norm").function

    def fused(y: Tensor, gate: Tensor, w: Tensor) -> Tensor:
        return run_group_norm(kernel, y, gate, w, 1e-5, groups, gate_first)

    def plain(y: Tensor, gate: Tensor, w: Tensor) -> Tensor:
        if gate_first:
            return gated_norm_reference(y, gate, w, 1e-5, groups)
        shares = y.unflatten(-1, (groups, -1))
        normed = shares * torch.rsqrt(shares.square().mean(-1, keepdim=True) + 1e-5)
        return normed.flatten(-2) * w * torch.nn.functional.silu(gate)

    assert max(differences(fused, plain, inputs)) < 1e-6


def test_a_whole_block_takes_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    block = {"kind": "mamba2", "head_dim": 8, "d_state": 16, "chunk_size": 16, "inner_width": 16}
    model = build(Architecture.model_validate({"d_model": 16, "vocab_size": 11, "blocks": [block]}))
    tokens = torch.randint(11, (1, 19), generator=torch.Generator().manual_seed(0))
    asked: list[str] = []
    losses, gradients = [], []
    for taken in (False, True):

        def vendor(_: str, name: str, taken: bool = taken) -> kernel_packages.Loaded | None:
            asked.append(name)
            return found(name) if taken else None

        monkeypatch.setattr(kernels, "vendor", vendor)
        model.zero_grad()
        loss = model.loss(tokens, tokens.roll(-1, 1)).total
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert set(asked) == {"short-convolution", "mamba2-scan", "gated-norm"}
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert (gradients[1] - gradients[0]).norm() < 2e-6 * gradients[0].norm()


def test_the_package_is_never_run() -> None:
    """Its `__init__` imports a CUDA extension that is not here."""
    assert importlib.util.find_spec("selective_scan_cuda") is None
    found("mamba2-scan")
    assert not hasattr(sys.modules["mamba_ssm"], "selective_scan_fn")
    with pytest.raises(ImportError):
        kernel_packages.function_of(kernel_packages.KERNELS["mamba-scan"][1][0])
