"""The dense channel mixer: gated (Shazeer 2020, arXiv:2002.05202), GELU, or squared ReLU (So et al. 2021)."""

from __future__ import annotations

from typing import Any, Literal

from harmony_core.architecture.block import Block, Mode, register

Activation = Literal["swiglu", "gelu", "relu2", "geglu", "bilinear", "clamped_swiglu", "geglu_tanh"]
GATED: frozenset[Activation] = frozenset(("swiglu", "geglu", "bilinear", "clamped_swiglu", "geglu_tanh"))


def num_matrices(activation: Activation) -> int:
    """Matrices of one feed-forward network: gate, up and down, or up and down."""
    return 3 if activation in GATED else 2


def feed_forward_biases(d_model: int, d_ff: int, activation: Activation) -> int:
    """Elements of the biases of one feed-forward network that has them.

    Args:
        d_model: width of input and output.
        d_ff: hidden width; a gate has one more bias of it.
        activation: says whether there is a gate.
    """
    return (num_matrices(activation) - 1) * d_ff + d_model


@register
class MLP(Block):
    """A feed-forward network.

    Args:
        d_ff: inner width.
        activation: `swiglu`, `geglu`, `geglu_tanh` or `bilinear` (three matrices; the gate passes through SiLU, exact
            GELU, its approximation by tanh or nothing), `clamped_swiglu` (three; gpt-oss's, whose gate and up end at 7
            and whose up counts from 1), `gelu` or `relu2` (two).
        bias: a bias on every projection.
        gate_multiplier: factor of the gate before it is opened (Falcon-H1).
        out_multiplier: factor of what the network gives (Falcon-H1).
    """

    kind = "mlp"
    role = "channel"
    width_field = "d_ff"
    grows = ("d_ff",)
    d_ff: int
    activation: Activation = "swiglu"
    bias: bool = False
    gate_multiplier: float = 1.0
    out_multiplier: float = 1.0

    def model_post_init(self, context: Any, /) -> None:
        if self.d_ff < 1:
            raise ValueError(f"d_ff is {self.d_ff}; use at least 1")
        for name in ("gate_multiplier", "out_multiplier"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a positive number")
        if self.gate_multiplier != 1 and self.activation not in GATED:
            raise ValueError(f"gate_multiplier is {self.gate_multiplier}; {self.activation} has no gate, leave it out")

    def num_params(self, d_model: int) -> int:
        return self._matrices(d_model) + feed_forward_biases(d_model, self.d_ff, self.activation) * self.bias

    def _matrices(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.d_ff

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * self._matrices(d_model)
