"""Mamba-1: a selective state space with a decay per channel and state (Gu and Dao 2023, arXiv:2312.00752).

For the Jamba and Samba baselines; no default space samples it.
"""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.block import NORM_EPSILON, Block, Mode, changed_fields, register


@register
class Mamba(Block):
    """The Mamba-1 mixer.

    Args:
        d_state: width N of the state of each channel.
        expand: inner width over d_model.
        d_conv: taps of the short causal convolution.
        dt_rank: rank of the step size's projection; None is ceil(d_model / 16).
        inner_norms: RMSNorm over dt, B and C, as Jamba has it (arXiv:2403.19887, section 3).
        bias: a bias on the projections in and out.
        conv_bias: a bias on the convolution.
    """

    kind = "mamba"
    role = "mixer"
    width_field = "d_state"
    grows = ("dt_rank",)
    d_state: int = 16
    expand: int = 2
    d_conv: int = 4
    dt_rank: int | None = None
    inner_norms: bool = False
    bias: bool = False
    conv_bias: bool = True

    def model_post_init(self, context: Any, /) -> None:
        for name in ("d_state", "expand", "d_conv"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.dt_rank is not None and self.dt_rank < 1:
            raise ValueError(f"dt_rank is {self.dt_rank}; use at least 1, or leave it out")

    def d_inner(self, d_model: int) -> int:
        """Inner width."""
        return self.expand * d_model

    def rank(self, d_model: int) -> int:
        """Rank of the step size's projection."""
        return self.dt_rank if self.dt_rank is not None else -(-d_model // 16)

    def canonical_in(self, d_model: int, norm_epsilon: float = NORM_EPSILON) -> Block:
        return changed_fields(self, {"dt_rank": None} if self.dt_rank == -(-d_model // 16) else {})

    def _matrices(self, d_model: int) -> int:
        d_inner, rank = self.d_inner(d_model), self.rank(d_model)
        return 3 * d_model * d_inner + d_inner * (rank + 2 * self.d_state) + rank * d_inner

    def num_params(self, d_model: int) -> int:
        d_inner = self.d_inner(d_model)
        # Convolution, A, the bias of dt, D.
        vectors = d_inner * (self.d_conv + self.conv_bias) + d_inner * self.d_state + 2 * d_inner
        vectors += 2 * d_inner + d_model if self.bias else 0
        norms = self.rank(d_model) + 2 * self.d_state if self.inner_norms else 0
        return self._matrices(d_model) + vectors + norms

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        # The recurrence: decay x state + (dt x) B, then C . state, and the decay's dt x A.
        recurrence = 7 * self.d_inner(d_model) * self.d_state
        return 2 * self._matrices(d_model) + 2 * self.d_inner(d_model) * self.d_conv + recurrence

    def state_elements(self, d_model: int) -> int:
        return self.d_inner(d_model) * (self.d_state + self.d_conv)

    def documents_problem(self) -> str | None:
        return None
