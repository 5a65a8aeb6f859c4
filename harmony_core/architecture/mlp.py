"""The dense channel mixer: SwiGLU (Shazeer 2020, arXiv:2002.05202), GELU, or squared ReLU (So et al. 2021)."""

from __future__ import annotations

from typing import Any, Literal

from harmony_core.architecture.block import Block, Mode, register

Activation = Literal["swiglu", "gelu", "relu2"]


def num_matrices(activation: Activation) -> int:
    """Matrices of one feed-forward network: gate, up and down, or up and down."""
    return 3 if activation == "swiglu" else 2


@register
class MLP(Block):
    """A feed-forward network without biases.

    Args:
        d_ff: inner width.
        activation: `swiglu` (three matrices), `gelu` or `relu2` (two).
    """

    kind = "mlp"
    role = "channel"
    d_ff: int
    activation: Activation = "swiglu"

    def model_post_init(self, context: Any, /) -> None:
        if self.d_ff < 1:
            raise ValueError(f"d_ff is {self.d_ff}; use at least 1")

    def num_params(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.d_ff

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * self.num_params(d_model)
