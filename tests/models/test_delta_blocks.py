"""Gated DeltaNet and Kimi Delta Attention beside the modules of `transformers`, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harmony_core.architecture import KDA, Block, GatedDeltaNet
from harmony_core.interop.hf.parts.delta import fused_gated_deltanet_weights, kda_weights
from harmony_core.interop.hf.weights import load
from harmony_core.models.block import BlockModule
from harmony_core.models.registry import module_for

BATCH, LENGTH, WIDTH = 2, 75, 24
LAYER = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "hidden_size": WIDTH}
SHAPE = {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 8, "value_head_dim": 10, "d_conv": 3}
LINEAR = {f"linear_{name}": SHAPE[name] for name in ("num_key_heads", "num_value_heads")}
LINEAR |= {"linear_key_head_dim": 8, "linear_value_head_dim": 10, "linear_conv_kernel_dim": 3}


def random_values(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            drawn = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(
                drawn / tensor.shape[-1] ** 0.5 if tensor.dim() == 2 else drawn.abs() if "A_log" in name else drawn
            )
    return module


def qwen3_next() -> tuple[nn.Module, Block, Any]:
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextConfig, Qwen3NextGatedDeltaNet

    theirs = Qwen3NextGatedDeltaNet(Qwen3NextConfig(**LAYER, **LINEAR, rms_norm_eps=1e-6), 0)
    block = GatedDeltaNet(**SHAPE, out_norm_epsilon=1e-6)
    return theirs, block, fused_gated_deltanet_weights(block, "ours", "theirs")


def olmo_hybrid() -> tuple[nn.Module, Block, Any]:
    from transformers.models.olmo_hybrid.modeling_olmo_hybrid import OlmoHybridConfig, OlmoHybridGatedDeltaNet

    theirs = OlmoHybridGatedDeltaNet(OlmoHybridConfig(**LAYER, **LINEAR, num_attention_heads=2), 0)
    block = GatedDeltaNet(**SHAPE, negative_eigenvalues=True, out_norm_epsilon=1e-5)
    names = ("q_proj", "k_proj", "v_proj", "g_proj", "b_proj", "a_proj")
    return theirs, block, {"in_proj": names, "norm.weight": "o_norm.weight", "out": "o_proj.weight"}


def kimi_linear() -> tuple[nn.Module, Block, Any]:
    from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearConfig, KimiLinearDeltaAttention

    config = KimiLinearConfig(**LAYER, linear_num_heads=3, linear_head_dim=8, linear_conv_kernel_dim=3)
    block = KDA(num_heads=3, head_dim=8, d_conv=3)
    return KimiLinearDeltaAttention(config, 0), block, kda_weights(block, "ours", "theirs")


@torch.no_grad()
def fill(ours: BlockModule, theirs: nn.Module, weights: Any) -> None:
    """Gives our module their values, by a family's declaration or, of Olmo's, by name."""
    found = theirs.state_dict()
    if not isinstance(weights, dict):
        named = {f"ours.{name}": tensor for name, tensor in ours.state_dict().items()}
        load(weights, named, {f"theirs.{name}": tensor for name, tensor in found.items()}, "theirs")
        return
    ours.in_proj.copy_(torch.cat([found[f"{name}.weight"] for name in weights["in_proj"]]))  # type: ignore[operator, union-attr]
    values = ours.state_dict()
    values["conv"].copy_(found["conv1d.weight"].squeeze(1))
    values["a_log"].copy_(found["A_log"])
    values["dt_bias"].copy_(found["dt_bias"])
    for name in ("norm.weight", "out"):
        values[name].copy_(found[weights[name]])


def outputs_and_gradient(module: nn.Module, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
    x_BTD = x_BTD.clone().requires_grad_()
    y_BTD = module(x_BTD)
    y_BTD.backward(torch.linspace(-1, 1, y_BTD.numel()).view_as(y_BTD))
    assert x_BTD.grad is not None
    return y_BTD.detach(), x_BTD.grad


@pytest.mark.parametrize("make", [qwen3_next, olmo_hybrid, kimi_linear])
def test_a_block_is_that_of_transformers(make: Any) -> None:
    theirs, block, weights = make()
    random_values(theirs)
    ours = module_for(block, WIDTH, 1e-5)
    fill(ours, theirs, weights)
    x_BTD = torch.randn(BATCH, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))
    found, expected = outputs_and_gradient(ours, x_BTD), outputs_and_gradient(theirs, x_BTD)
    assert expected[0].std() > 0.05
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
