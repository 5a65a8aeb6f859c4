"""Mixture of experts with routed and shared experts (Mixtral, arXiv:2401.04088; DeepSeekMoE, arXiv:2401.06066)."""

from __future__ import annotations

from typing import Any, Literal

from harmony_core.architecture.block import Block, Mode, register
from harmony_core.architecture.mlp import Activation, num_matrices


@register
class MoE(Block):
    """Feed-forward experts, `top_k` of `n_routed` chosen per token, and `n_shared` that every token takes.

    Nothing is dropped: every token reaches every expert that it chose.

    Args:
        n_routed: routed experts E.
        top_k: experts a token chooses.
        d_expert: inner width of an expert, routed or shared.
        n_shared: shared experts, computed as one network of n_shared x d_expert.
        activation: as in `mlp`.
        router: scores are a softmax over experts, or independent sigmoids (DeepSeek-V3).
        normalize_top_k: the chosen scores are divided by their sum.
        balancing: `aux` adds aux_coefficient x the balancing loss (Switch, arXiv:2101.03961, section 2.2,
            per sequence as in DeepSeek-V2 section 2.2.3); `bias` shifts the choice, not the weight, by a
            bias moved after each step (loss-free balancing, arXiv:2408.15664); `none` does nothing.
        aux_coefficient: weight of the balancing loss.
        bias_update_rate: step of the bias after each optimiser step.
    """

    kind = "moe"
    role = "channel"
    n_routed: int
    top_k: int
    d_expert: int
    n_shared: int = 0
    activation: Activation = "swiglu"
    router: Literal["softmax", "sigmoid"] = "softmax"
    normalize_top_k: bool = True
    balancing: Literal["aux", "bias", "none"] = "aux"
    aux_coefficient: float = 0.01
    bias_update_rate: float = 0.001

    def model_post_init(self, context: Any, /) -> None:
        for name in ("n_routed", "top_k", "d_expert"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.n_shared < 0:
            raise ValueError(f"n_shared is {self.n_shared}; use 0 or more")
        if self.top_k > self.n_routed:
            raise ValueError(f"top_k {self.top_k} is above n_routed {self.n_routed}; use at most {self.n_routed}")

    def _expert(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.d_expert

    def num_params(self, d_model: int) -> int:
        return d_model * self.n_routed + (self.n_routed + self.n_shared) * self._expert(d_model)

    def num_active_params(self, d_model: int) -> int:
        return d_model * self.n_routed + (self.top_k + self.n_shared) * self._expert(d_model)

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * self.num_active_params(d_model)
