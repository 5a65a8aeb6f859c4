"""Hyena-LI: implicit filters as long as the sequence (Ku et al. 2025, arXiv:2503.01868, section 2)."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.block import Mode, register
from harmony_core.architecture.hyena import Hyena


@register
class HyenaLI(Hyena):
    """A Hyena operator whose filter is a sum of decaying exponentials, one filter and one direct term a channel.

    h_t = sum over n of R_n exp(p_n t), real poles: the same as a linear recurrence of `state_size` states.

    Args:
        state_size: exponentials N of a channel's filter.
        chunk_size: tokens Q convolved at once, between which states are handed on; changes speed, not the result.
    """

    kind = "hyena_li"
    width_field = "state_size"
    state_size: int = 16
    chunk_size: int = 32

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        for name in ("state_size", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")

    def documents_problem(self) -> str | None:
        return "has filters as long as the sequence, which reach over documents; use hyena_se or another mixer"

    def filter_params(self, d_model: int) -> int:
        # Poles, residues, the direct term.
        return d_model * (2 * self.state_size + 1)

    def filter_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        states = 4 * d_model * self.state_size
        return states if mode == "decode" else states + 2 * d_model * min(self.chunk_size, context)

    def filter_state_elements(self, d_model: int) -> int:
        return d_model * self.state_size
