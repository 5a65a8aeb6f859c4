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
    """Elements of the biases of one feed-forward network that has them."""
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
    """

    kind = "mlp"
    role = "channel"
    width_field = "d_ff"
    d_ff: int
    activation: Activation = "swiglu"
    bias: bool = False

    def model_post_init(self, context: Any, /) -> None:
        if self.d_ff < 1:
            raise ValueError(f"d_ff is {self.d_ff}; use at least 1")

    def num_params(self, d_model: int) -> int:
        return self._matrices(d_model) + feed_forward_biases(d_model, self.d_ff, self.activation) * self.bias

    def _matrices(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.d_ff

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * self._matrices(d_model)
