"""How the short convolutions of causal-conv1d (1.7) and flash-linear-attention (0.6) want to be called.

B batch, T tokens, C channels, K taps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.models.kernel_packages import Loaded


def run_conv_kernel(
    kernel: Loaded, x_BTC: Tensor, w_CK: Tensor, b_C: Tensor | None, activation: str | None = "silu"
) -> Tensor:
    """The short convolution and SiLU or nothing, [B, T, C] in the type of `x_BTC`.

    Taps and bias keep their own type, one for both: either kernel computes in fp32 whatever is stored.

    Args:
        kernel: causal-conv1d's `causal_conv1d_fn`, or fla's `causal_conv1d`.
        x_BTC: inputs.
        w_CK: taps of each channel, the token's own one last.
        b_C: bias of each channel, or None.
        activation: `silu`; None is nothing.
    """
    if kernel.package == "fla":
        y_BTC: Tensor = kernel.function(x_BTC, w_CK, b_C, activation=activation)[0]
        return y_BTC
    # Channels may come last only where every stride is a multiple of 8, else this copies. `contiguous` does not copy a
    # single token, whatever the strides.
    strides = (x_BTC.shape[2], x_BTC.stride(0), x_BTC.stride(1))
    aligned = all(stride % 8 == 0 for stride in strides)
    x_BCT = x_BTC.mT if aligned else x_BTC.mT.clone(memory_format=torch.contiguous_format)
    y_BCT: Tensor = kernel.function(x_BCT, w_CK, b_C, activation=activation)
    return y_BCT.mT


def conv_path(kernel: Loaded | None) -> str:
    """The package whose kernel computes it, for the log."""
    if kernel is None:
        return "torch shifted products"
    return "flash-linear-attention" if kernel.package == "fla" else "causal-conv1d"
