"""Feed-forward activations by name, over a projection that holds gate and up side by side where there is a gate."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.architecture.mlp import Activation
from harmony_core.models.ops.swiglu import swiglu


def activate(projected: Tensor, activation: Activation) -> Tensor:
    """[.., 2F] -> [.., F] for `swiglu`, [.., F] -> [.., F] for `gelu` (exact) and `relu2` (So et al. 2021)."""
    if activation == "swiglu":
        return swiglu(projected)
    if activation == "gelu":
        return torch.nn.functional.gelu(projected)
    return torch.relu(projected).square()
