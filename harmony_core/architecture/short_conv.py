"""The gated short convolution of LFM2 (Liquid AI 2025; arXiv:2511.23404, section 2)."""

from __future__ import annotations

from harmony_core.architecture.block import Block, Exchange, Mode, register
from harmony_core.architecture.hyena import RESET_TAPS


@register
class ShortConv(Block):
    """Linear D -> 3D to B, C and x, a short depthwise convolution of B * x, its product with C, and Linear D -> D.

    Args:
        kernel_size: taps of the causal convolution, one row for each channel.
        bias: biases on both projections and on the convolution.
    """

    kind = "short_conv"
    role = "mixer"
    kernel_size: int = 3
    bias: bool = False

    def model_post_init(self, context: object, /) -> None:
        if self.kernel_size < 1:
            raise ValueError(f"kernel_size is {self.kernel_size}; use at least 1")

    def num_params(self, d_model: int) -> int:
        biases = 5 * d_model if self.bias else 0
        return 4 * d_model * d_model + d_model * self.kernel_size + biases

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * 4 * d_model * d_model + self.convolution_flops_per_token(d_model)

    def convolution_flops_per_token(self, d_model: int) -> float:
        """FLOPs of the convolution alone."""
        return 2 * d_model * self.kernel_size

    def state_elements(self, d_model: int) -> int:
        return d_model * self.kernel_size

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        return f"has {d_model} channels, which {ranks} ranks do not divide" if d_model % ranks else None

    def context_exchanges(self, d_model: int) -> tuple[Exchange, ...]:
        """B, C and x of a rank's own tokens for all tokens of some channels, and one output back."""
        return (Exchange("all_to_all", 3 * d_model), Exchange("all_to_all", d_model))

    def documents_problem(self) -> str | None:
        """A pass over all tokens a tap is cheap for few of them."""
        if self.kernel_size > RESET_TAPS:
            return f"has a kernel of {self.kernel_size} taps, which reaches over documents; use at most {RESET_TAPS}"
        return None

    def check_length(self, sequence_length: int) -> None:
        if self.kernel_size > sequence_length:
            raise ValueError(
                f"kernel_size {self.kernel_size} is longer than the sequence; use at most {sequence_length}"
            )
