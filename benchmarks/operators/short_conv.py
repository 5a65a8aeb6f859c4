"""LFM2's gated short convolution and its whole block beside the module of `transformers`, with the same weights.

B batch, T tokens, D width, E the 3D channels B, C and x, K taps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators.settings import SEED, SHORT_CONV_PROMISES, SIDES, Setting
from benchmarks.operators.sides import measured, passes
from harmony_core.architecture import ShortConv
from harmony_core.models import keep_freed_memory
from harmony_core.models.ops.convolution.short import gated_short_conv
from harmony_core.models.registry import module_for

KERNEL_SIZES = (3, 7)
WHATS = tuple(SHORT_CONV_PROMISES)


def measure(what: str, taps: int, setting: Setting, rounds: int) -> dict[str, Any]:
    """Forward and backward of both sides in turns; to be run in a process of its own.

    Args:
        what: the `operator` between the projections, or the whole `block`.
        taps: K.
        setting: width, length, batch.
        rounds: how often.
    """
    keep_freed_memory()
    sides = operators(taps, setting) if what == "operator" else blocks(taps, setting)
    return measured(sides, rounds, SHORT_CONV_PROMISES[what])


def operators(taps: int, setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """What lies between the projections, from [B, T, 3D] to [B, T, D], as each side's module has it."""
    from transformers.models.lfm2.modeling_lfm2 import causal_conv1d_fn

    width = setting.d_model
    generator = torch.Generator().manual_seed(SEED)
    shape = (setting.batch_size, setting.sequence_length)
    z_BTE = torch.randn(*shape, 3 * width, generator=generator).requires_grad_()
    w_DK = torch.randn(width, taps, generator=generator).requires_grad_()
    dy_BTD = torch.randn(*shape, width, generator=generator)

    def ours() -> Tensor:
        return torch.autograd.grad(gated_short_conv(z_BTE, w_DK), (z_BTE, w_DK), dy_BTD)[0]

    def theirs() -> Tensor:
        b_BDT, c_BDT, x_BDT = z_BTE.transpose(-1, -2).chunk(3, dim=-2)
        y_BDT = c_BDT * causal_conv1d_fn(b_BDT * x_BDT, w_DK, None)
        return torch.autograd.grad(y_BDT.transpose(-1, -2).contiguous(), (z_BTE, w_DK), dy_BTD)[0]

    return dict(zip(SIDES, (ours, theirs), strict=True))


def blocks(taps: int, setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """The whole module on each side, projections included; returns the input's gradient."""
    from transformers.models.lfm2.modeling_lfm2 import Lfm2Config, Lfm2ShortConv

    layer = {"hidden_size": setting.d_model, "num_hidden_layers": 1, "layer_types": ["conv"], "conv_L_cache": taps}
    theirs = Lfm2ShortConv(Lfm2Config(**layer), 0)
    ours = module_for(ShortConv(kernel_size=taps), setting.d_model, 1e-5)
    with torch.no_grad():
        ours.in_proj.copy_(theirs.in_proj.weight)
        ours.conv.copy_(theirs.conv.weight.squeeze(1))
        ours.out.copy_(theirs.out_proj.weight)
    return passes((ours, theirs), setting)
