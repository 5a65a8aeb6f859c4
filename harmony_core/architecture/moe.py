"""Mixture of experts with routed and shared experts (Mixtral, arXiv:2401.04088; DeepSeekMoE, arXiv:2401.06066)."""

from __future__ import annotations

from typing import Any, Literal

from harmony_core.architecture.block import Block, Mode, register
from harmony_core.architecture.mlp import Activation, feed_forward_biases, num_matrices


@register
class MoE(Block):
    """Feed-forward experts, `top_k` of `n_routed` chosen per token, and `n_shared` that every token takes.

    Without a capacity nothing is dropped: every token reaches every expert that it chose.

    Args:
        n_routed: routed experts E.
        top_k: experts a token chooses.
        d_expert: inner width of an expert, routed or shared.
        n_shared: shared experts, computed as one network of n_shared x d_expert, or of `d_shared`.
        d_shared: inner width of the shared network; None is n_shared x d_expert.
        shared_bias: a bias on every projection of the shared network.
        activation: as in `mlp`.
        router: scores are a softmax over experts, or independent sigmoids (DeepSeek-V3).
        normalize_top_k: the chosen scores are divided by their sum.
        routed_scale: factor of the chosen scores (DeepSeek-V3's routed_scaling_factor).
        n_groups: groups of experts of which a token may use `top_groups` (DeepSeek-V2, section 2.2.2).
        top_groups: groups that a token may use.
        group_score: a group is worth its best score (DeepSeek-V2) or the sum of its best two (DeepSeek-V3).
        capacity_factor: an expert takes at most ceil(this x T x top_k / n_routed) of a sequence's T tokens, the
            first ones, and drops the rest (Switch, section 2.2, per sequence); None drops nothing.
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
    d_shared: int | None = None
    shared_bias: bool = False
    activation: Activation = "swiglu"
    router: Literal["softmax", "sigmoid"] = "softmax"
    normalize_top_k: bool = True
    routed_scale: float = 1.0
    n_groups: int = 1
    top_groups: int = 1
    group_score: Literal["max", "top2"] = "max"
    capacity_factor: float | None = None
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

        if self.d_shared is not None and (self.d_shared < 1 or self.n_shared == 0):
            raise ValueError(f"d_shared is {self.d_shared} with n_shared {self.n_shared}; use at least 1 of each")
        if self.shared_bias and self.n_shared == 0:
            raise ValueError("shared_bias is True with n_shared 0; use at least 1 shared expert")
        if self.routed_scale <= 0:
            raise ValueError(f"routed_scale is {self.routed_scale}; use a positive number")
        if self.capacity_factor is not None and self.capacity_factor <= 0:
            raise ValueError(f"capacity_factor is {self.capacity_factor}; use a positive number, or leave it out")
        self._check_groups()

    def _check_groups(self) -> None:
        if self.n_groups < 1 or self.n_routed % self.n_groups:
            raise ValueError(f"n_groups {self.n_groups} does not divide n_routed {self.n_routed}; use a divisor")
        if not 1 <= self.top_groups <= self.n_groups:
            raise ValueError(f"top_groups is {self.top_groups}; use 1 to n_groups {self.n_groups}")
        per_group = self.n_routed // self.n_groups
        if self.top_k > self.top_groups * per_group:
            raise ValueError(
                f"top_k {self.top_k} is above the {self.top_groups * per_group} experts of top_groups "
                f"{self.top_groups}; use at most that"
            )
        if self.group_score == "top2" and self.n_groups > 1 and per_group < 2:
            raise ValueError(f"group_score top2 with {per_group} expert a group; use max")

    def canonical(self) -> Block:
        """Groups, capacity and shared width where they change something; that width in experts if it is whole."""
        fields: dict[str, Any] = {}
        if self.top_groups == self.n_groups:
            fields |= {"n_groups": 1, "top_groups": 1, "group_score": "max"}
        if self.capacity_factor is not None and self.capacity_factor * self.top_k >= self.n_routed:
            fields["capacity_factor"] = None
        if self.d_shared is not None:
            experts, rest = divmod(self.d_shared, self.d_expert)
            fields |= {"n_shared": 1} if rest else {"n_shared": experts, "d_shared": None}
        return self.model_copy(update=fields) if fields else self

    @property
    def shared_width(self) -> int:
        """Inner width of the shared network; 0 without one."""
        return self.n_shared * self.d_expert if self.d_shared is None else self.d_shared

    def _expert(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.d_expert

    def _shared(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.shared_width

    def _biases(self, d_model: int) -> int:
        return feed_forward_biases(d_model, self.shared_width, self.activation) if self.shared_bias else 0

    def num_params(self, d_model: int) -> int:
        experts = self.n_routed * self._expert(d_model) + self._shared(d_model)
        return d_model * self.n_routed + experts + self._biases(d_model)

    def num_active_params(self, d_model: int) -> int:
        return self._active_matrices(d_model) + self._biases(d_model)

    def _active_matrices(self, d_model: int) -> int:
        return d_model * self.n_routed + self.top_k * self._expert(d_model) + self._shared(d_model)

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * self._active_matrices(d_model)
