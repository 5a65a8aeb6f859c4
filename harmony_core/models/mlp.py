"""The dense channel mixer."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import MLP
from harmony_core.models.block import BlockModule
from harmony_core.models.ops.activation import activate
from harmony_core.models.ops.matmul import linear
from harmony_core.models.parameter import matrix
from harmony_core.models.registry import implements


@implements("mlp")
class MLPModule(BlockModule):
    """Up (gate and up joined for SwiGLU), activation, down.

    Args:
        config: inner width and activation.
        d_model: width of input and output.
    """

    def __init__(self, config: MLP, d_model: int) -> None:
        super().__init__()
        self.activation = config.activation
        wide = config.d_ff * (2 if config.activation == "swiglu" else 1)
        self.up = self.declare("up", (wide, d_model), matrix(d_model))
        self.down = self.declare("down", (d_model, config.d_ff), matrix(config.d_ff, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        return linear(activate(linear(x_BTD, self.up), self.activation), self.down)
