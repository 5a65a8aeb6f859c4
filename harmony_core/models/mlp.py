"""The dense channel mixer."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from harmony_core.architecture import MLP
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.ops.activation import gates
from harmony_core.models.ops.feed_forward import feed_forward
from harmony_core.models.ops.scaling import scaled
from harmony_core.models.parameter import ParameterSpec, constant, matrix
from harmony_core.models.registry import implements


@implements("mlp")
class MLPModule(BlockModule):
    """Up (gate and up joined, gate first, where there is a gate), activation, down.

    Args:
        config: inner width, activation, biases, factors of gate and output.
        d_model: width of input and output.
        norm_epsilon: not used here.
    """

    up_bias: nn.Parameter | None
    down_bias: nn.Parameter | None

    def __init__(self, config: MLP, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.activation = config.activation
        self.gate_multiplier, self.out_multiplier = config.gate_multiplier, config.out_multiplier
        wide = config.d_ff * gates(config.activation)
        self.up = self.declare("up", (wide, d_model), matrix(d_model))
        self.down = self.declare("down", (d_model, config.d_ff), matrix(config.d_ff, residual=True))
        self.up_bias = self.down_bias = None
        if config.bias:
            self.up_bias = self.declare("up_bias", (wide,), ParameterSpec(constant(0.0)))
            self.down_bias = self.declare("down_bias", (d_model,), ParameterSpec(constant(0.0)))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        return self._network(x_BTD)

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        return self._network(x_BD)

    def _network(self, x: Tensor) -> Tensor:
        weights = (self.up, self.up_bias, self.down, self.down_bias)
        return scaled(feed_forward(x, *weights, self.activation, self.gate_multiplier), self.out_multiplier)
