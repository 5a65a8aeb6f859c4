"""Hyena-SE: short explicit filters (Ku et al. 2025, arXiv:2503.01868, section 2).

D model width, G filter groups, K taps.
"""

from __future__ import annotations

import math

from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import HyenaSE
from harmony_core.models.hyena import GroupedFIRModule
from harmony_core.models.parameter import ParameterSpec, uniform
from harmony_core.models.registry import implements


@implements("hyena_se")
class HyenaSEModule(GroupedFIRModule):
    """The filter is the parameter `filter` [G, K]; there is no direct term."""

    def __init__(self, config: HyenaSE, d_model: int, norm_epsilon: float) -> None:
        super().__init__(config, d_model, norm_epsilon)
        bound = 1 / math.sqrt(self.taps)
        spec = ParameterSpec(uniform(-bound, bound), fan_in=self.taps)
        self.filter = self.declare("filter", (self.num_groups, self.taps), spec)

    @override
    def taps_GK(self) -> Tensor:
        return self.filter
