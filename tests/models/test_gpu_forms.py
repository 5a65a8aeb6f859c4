"""Forms that a GPU takes and a CPU does not, beside those of the CPU: values, gradients, and what is called."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu_check import cases as gpu_cases
from harmony_core.architecture import Architecture, block_kinds
from harmony_core.models import build, determinism, kernel_packages, kernels
from harmony_core.models.ops import matmul
from harmony_core.models.ops import running_sum as running_sums
from harmony_core.models.ops.attention import attention, fused
from harmony_core.models.ops.attention.attention import attend, attention_reference
from harmony_core.models.ops.convolution import blocked
from harmony_core.models.ops.convolution.gated import convolve
from tests.models.comparison import draw

SCALE = 0.3


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], object]]:
    """Attention as a GPU computes it; records SDPA's width of values and its mask."""
    called: list[tuple[tuple[int, ...], object]] = []

    def sdpa(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        called.append(((q.shape[-1], k.shape[-1], v.shape[-1]), options.get("attn_mask")))
        return scaled_dot_product_attention(q, k, v, **options)  # type: ignore[arg-type]

    for where in (attention, fused):
        for name, answer in (("blocked_products", False), ("lower_right", True), ("flash_widths", True)):
            if hasattr(where, name):
                monkeypatch.setattr(where, name, lambda _, answer=answer: answer)
    monkeypatch.setattr(fused, "sdpa", sdpa)
    return called


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize(("keys", "values"), [(24, 16), (16, 24), (16, 16)])
def test_values_of_another_width_and_sinks_reach_flash_attention(
    keys: int, values: int, sinks: bool, gpu: list[tuple[tuple[int, ...], torch.nn.attention.bias.CausalBias | None]]
) -> None:
    q, k = draw(2, 11, 4, keys), draw(2, 11, 2, keys, seed=1)
    v, sinks_H = draw(2, 11, 2, values, seed=2), draw(4, seed=3) if sinks else None
    given = [x for x in (q, k, v, sinks_H) if x is not None]
    y = attend(q, k, v, SCALE, None, sinks_H)
    q_, k_, v_ = (x.transpose(1, 2) for x in (q, k, v))
    expected = attention_reference(q_, k_, v_, SCALE, None, sinks_H).transpose(1, 2)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    dy = draw(*y.shape, seed=4).detach()
    for one, other in zip(torch.autograd.grad(y, given, dy), torch.autograd.grad(expected, given, dy), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    ((widths, mask),) = gpu
    assert len(set(widths)) == 1, "flash attention wants one width"
    assert mask is None or isinstance(mask, torch.nn.attention.bias.CausalBias), "it takes no mask of booleans"


def test_projections_are_padded_to_eight_and_nothing_of_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    # 4 * 24 + 2 * 6 + 3 heads: three over a multiple of eight.
    block = {"kind": "mamba2", "head_dim": 32, "inner_width": 96, "d_state": 6, "bias": True}
    architecture = Architecture.model_validate(
        {"d_model": 24, "vocab_size": 13, "blocks": [block, {"kind": "mlp", "d_ff": 20}]}
    )
    model = build(architecture)
    tokens = torch.randint(13, (2, 9), generator=torch.Generator().manual_seed(0))
    names = {name: parameter.shape for name, parameter in model.named_parameters()}
    widths: list[int] = []

    def eight(_: str, __: torch.dtype, width: int) -> int:
        widths.append(width)
        return -(-width // 8) * 8

    losses, gradients = [], []
    for padded in (False, True):
        if padded:
            monkeypatch.setattr(matmul, "projected_width", eight)
        model.zero_grad()
        loss = model.loss(tokens, tokens.roll(-1, 1)).total
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert any(width % 8 for width in widths)
    assert {name: parameter.shape for name, parameter in model.named_parameters()} == names
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)


def test_only_a_gpus_16_bits_are_padded() -> None:
    assert kernels.projected_width("cuda", torch.bfloat16, 203) == 208
    assert kernels.projected_width("cuda", torch.float32, 203) == 203
    assert kernels.projected_width("cpu", torch.bfloat16, 203) == 203


def test_more_windows_than_dynamo_allows_are_all_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[object] = []
    compile_ = torch.compile

    def counting(function: object) -> object:
        torch._dynamo.reset()
        return compile_(function, backend=lambda graph, _: graphs.append(graph) or graph.forward)

    def window(x: Tensor, size: int) -> Tensor:
        return x.tril() if size % 2 else x * size

    monkeypatch.setattr(kernels, "_function", lambda *_: window)
    monkeypatch.setattr(torch, "compile", counting)
    kernels._compiled_flex_attention.cache_clear()
    # What the code sets, `patch` takes back; each size is a graph of its own, as each window is.
    limits = {name: getattr(torch._dynamo.config, name) for name in ("recompile_limit", "accumulated_recompile_limit")}
    try:
        with torch._dynamo.config.patch(automatic_dynamic_shapes=False, **limits):
            run = kernels.window_kernel("cuda", 64)
            assert run is not None
            for size in range(1, 21):
                run(torch.ones(3, 3), size)
        assert len(graphs) == 20
    finally:
        kernels._compiled_flex_attention.cache_clear()
        torch._dynamo.reset()


def test_hyenas_products_in_bf16_stay_near_those_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "block_path", lambda _: "batched")
    u, h = draw(2, 50, 12), draw(3, 20, seed=1)
    dy, found = draw(2, 50, 12, seed=2).detach(), []
    for products in (torch.float32, torch.bfloat16):
        y = convolve(u, blocked.BlockedConvolution(16, products), h)
        assert y.dtype == torch.float32
        found.append([y, *torch.autograd.grad(y, (u, h), dy)])
    for exact, rounded in zip(*found, strict=True):
        assert (rounded - exact).norm() < 5e-3 * exact.norm()
    assert kernels.filter_products("cuda", torch.bfloat16) == torch.bfloat16
    assert kernels.filter_products("cuda", torch.float32) == torch.float32
    assert kernels.filter_products("cpu", torch.bfloat16) == torch.float32


def test_hyenas_three_taps_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    block = {"kind": "hyena_se", "num_groups": 4, "filter_length": 5}
    model = build(Architecture.model_validate({"d_model": 16, "vocab_size": 13, "blocks": [block]}))
    tokens = torch.randint(13, (2, 9), generator=torch.Generator().manual_seed(0))
    calls: list[str | None] = []

    def kernel(x_BCT: Tensor, w_CK: Tensor, b_C: Tensor | None, activation: str | None) -> Tensor:
        calls.append(activation)
        padded = torch.nn.functional.pad(x_BCT, (w_CK.shape[1] - 1, 0))
        return torch.nn.functional.conv1d(padded, w_CK.unsqueeze(1), b_C, groups=w_CK.shape[0])

    plain = model.loss(tokens, tokens.roll(-1, 1)).total
    expected = torch.autograd.grad(plain, list(model.parameters()))
    monkeypatch.setattr(kernels, "vendor", lambda _, __: kernel_packages.Loaded("causal_conv1d", kernel))
    loss = model.loss(tokens, tokens.roll(-1, 1)).total
    assert calls == [None]
    torch.testing.assert_close(loss, plain)
    for one, other in zip(torch.autograd.grad(loss, list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


# PyTorch raises at these on a GPU that is to repeat its bits (torch.use_deterministic_algorithms, 2.13).
_NONE_REPEATS = {
    "cumsum",
    "cumprod",
    "bincount",
    "histc",
    "kthvalue",
    "median",
    "put_",
    "nll_loss_forward",
    "nll_loss2d",
}


class Called(TorchDispatchMode):
    """The operations that are called, with a floating input."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(x, Tensor) and x.is_floating_point() for x in args):
            self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", sorted(block_kinds()))
def test_a_deterministic_step_calls_nothing_that_does_not_repeat(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the plain forms, which a GPU takes where a kernel is waived."""
    monkeypatch.setattr(running_sums, "sums_by_products", lambda _: True)
    blocks = [gpu_cases.block(kind, 32, 8)] + ([] if kind in ("mlp", "moe") else [{"kind": "mlp", "d_ff": 16}])
    model = build(Architecture.model_validate({"d_model": 32, "vocab_size": 13, "blocks": blocks}))
    tokens = torch.randint(13, (2, 70), generator=torch.Generator().manual_seed(0))
    with Called() as called:
        model.loss(tokens, tokens.roll(-1, 1)).total.backward()
    assert len(called.names) > 10
    assert called.names & _NONE_REPEATS == set()


def test_a_running_sum_by_products_is_the_running_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(3, 50, 4).detach()
    expected = [x.cumsum(dim) for dim in (0, 1, -1)]
    monkeypatch.setattr(running_sums, "sums_by_products", lambda _: True)
    for dim, sums in zip((0, 1, -1), expected, strict=True):
        torch.testing.assert_close(running_sums.running_sum(x, dim), sums, rtol=1e-5, atol=1e-5)


def test_the_mode_is_set_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", said.append)
    monkeypatch.setattr(determinism, "pin_picks", lambda packages: said.append(tuple(packages)))
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    for name in ("CUBLAS_WORKSPACE_CONFIG", "MAMBA_DETERMINISTIC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")
    determinism.use_deterministic(True, torch.device("cpu"))
    assert said == []
    determinism.use_deterministic(False, torch.device("cuda"))
    assert os.environ["MAMBA_DETERMINISTIC"] == ""
    determinism.use_deterministic(True, torch.device("cuda"))
    assert said == [False, ("fla", "mamba_ssm"), True]
    assert os.environ["MAMBA_DETERMINISTIC"] == "1"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.utils.deterministic.fill_uninitialized_memory
