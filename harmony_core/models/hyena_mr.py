"""Hyena-MR: explicit filters of medium length under a fixed decay (Ku et al. 2025, arXiv:2503.01868, section 2).

D model width, G filter groups, K taps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import HyenaMR
from harmony_core.models.hyena import GroupedFIRModule
from harmony_core.models.parameter import ParameterSpec, normal
from harmony_core.models.registry import implements

# The filters begin close to zero, where the direct term is all there is (the authors' training code).
_FIRST_SCALE = 1e-5


@implements("hyena_mr")
class HyenaMRModule(GroupedFIRModule):
    """The filter is `filter` [G, K] x exp(-r t), log r spaced evenly over the groups; direct term `skip`."""

    decay: Tensor

    def __init__(self, config: HyenaMR, d_model: int, norm_epsilon: float) -> None:
        super().__init__(config, d_model, norm_epsilon)
        spec = ParameterSpec(normal(_FIRST_SCALE / math.sqrt(config.decay_tokens)), fan_in=self.taps)
        self.filter = self.declare("filter", (self.num_groups, self.taps), spec)
        self.skip = self.declare_skip(d_model)
        rate_G1 = torch.logspace(*config.decay_range, self.num_groups).unsqueeze(1)
        time_K = torch.arange(self.taps) / max(1, config.decay_tokens - 1)
        self.register_buffer("decay", torch.exp(-rate_G1 * time_K), persistent=False)

    @override
    def taps_GK(self) -> Tensor:
        return self.filter * self.decay
