"""RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) as a module."""

from __future__ import annotations

from torch import Tensor

from harmony_core.models.ops.rms_norm import rms_norm
from harmony_core.models.parameter import Declared, ParameterSpec, constant


class RMSNorm(Declared):
    """x / rms(x) x weight over the last dimension, in fp32 whatever the input is.

    Args:
        width: size of the last dimension.
        epsilon: added to the mean square.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = self.declare("weight", (width,), ParameterSpec(constant(1.0)))

    def forward(self, x: Tensor) -> Tensor:
        """[.., width] in, [.., width] out; under autocast in the autocast type."""
        return rms_norm(x, self.weight, self.epsilon)
