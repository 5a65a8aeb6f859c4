"""Mixture of experts with routed and shared experts (Mixtral, arXiv:2401.04088; DeepSeekMoE, arXiv:2401.06066)."""

from __future__ import annotations

from typing import Any, Literal

from harmony_core.architecture.block import Block, Mode, changed_fields, register
from harmony_core.architecture.mlp import Activation, feed_forward_biases, num_matrices


@register
class MoE(Block):
    """Feed-forward experts, `top_k` of `n_routed` chosen per token, and `n_shared` that every token takes.

    Without a capacity nothing is dropped: every token reaches every expert that it chose.

    Args:
        n_routed: routed experts E.
        top_k: experts a token chooses.
        d_expert: inner width of an expert, routed or shared.
        d_latent: routed experts read and write at this width, between two projections that they share (Nemotron-3);
            None is d_model, without projections. Router and shared experts stay at d_model.
        latent_bias: a bias on both of these projections.
        expert_bias: a bias on both projections of every routed expert (gpt-oss).
        router_bias: a trained bias on the router's logits (gpt-oss).
        n_shared: shared experts, computed as one network of n_shared x d_expert, or of `d_shared`.
        d_shared: inner width of the shared network; None is n_shared x d_expert.
        shared_bias: a bias on every projection of the shared network.
        shared_gate: the shared network's output is multiplied with a sigmoid of a projection (Qwen2-MoE, Qwen3-Next).
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
    width_field = "d_expert"
    grows = ("d_expert", "d_shared", "d_latent")
    # An expert's number of tokens decides the sizes of its products, so a step reads it back.
    waits_for_device = True
    n_routed: int
    top_k: int
    d_expert: int
    d_latent: int | None = None
    latent_bias: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    n_shared: int = 0
    d_shared: int | None = None
    shared_bias: bool = False
    shared_gate: bool = False
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

        if self.d_latent is not None and self.d_latent < 1:
            raise ValueError(f"d_latent is {self.d_latent}; use at least 1, or leave it out")
        if self.latent_bias and self.d_latent is None:
            raise ValueError("latent_bias is True without d_latent; give d_latent, or leave latent_bias out")
        if self.d_shared is not None and (self.d_shared < 1 or self.n_shared == 0):
            raise ValueError(f"d_shared is {self.d_shared} with n_shared {self.n_shared}; use at least 1 of each")
        for name in ("shared_bias", "shared_gate"):
            if getattr(self, name) and self.n_shared == 0:
                raise ValueError(f"{name} is True with n_shared 0; use at least 1 shared expert")
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
        """Whatever changes nothing at its default; the shared width in experts if it is whole."""
        names = [*self._idle_routing(), *self._idle_balancing()]
        if self.capacity_factor is not None and self.capacity_factor * self.top_k >= self.n_routed:
            names.append("capacity_factor")
        declared = type(self).model_fields
        fields = {name: declared[name].default for name in names}
        if self.balancing == "aux" and self.aux_coefficient == 0 and self.top_k < self.n_routed:
            fields["balancing"] = "none"
        if self.d_shared is not None:
            experts, rest = divmod(self.d_shared, self.d_expert)
            fields |= {"n_shared": 1} if rest else {"n_shared": experts, "d_shared": None}
        return changed_fields(self, fields)

    def _idle_routing(self) -> list[str]:
        names = []
        # The best K experts lie in at most K groups, and those are the K groups whose best expert is best.
        if self.top_groups == self.n_groups or (self.group_score == "max" and self.top_groups >= self.top_k):
            names += ["n_groups", "top_groups", "group_score"]
        # Scores of all experts add up to one already.
        if self.top_k == self.n_routed and self.router == "softmax":
            names.append("normalize_top_k")
        return names

    def _idle_balancing(self) -> list[str]:
        # Where every expert is chosen the load is even: the bias stands still and the balancing loss is constant.
        if self.top_k == self.n_routed:
            return ["balancing", "aux_coefficient", "bias_update_rate"]
        names = [] if self.balancing == "aux" and self.aux_coefficient else ["aux_coefficient"]
        return names if self.balancing == "bias" else [*names, "bias_update_rate"]

    def unreached(self) -> str | None:
        if self.top_k == 1 and self.normalize_top_k:
            return "the router: one weight divided by itself is 1; use normalize_top_k false, or top_k from 2"
        if self.n_routed == 1 and self.router == "softmax":
            return "the router: the softmax over one expert is 1; use n_routed from 2"
        return None

    @property
    def shared_width(self) -> int:
        """Inner width of the shared network; 0 without one."""
        return self.n_shared * self.d_expert if self.d_shared is None else self.d_shared

    @property
    def num_experts(self) -> int:
        return self.n_routed

    @property
    def experts_per_token(self) -> int:
        return self.top_k

    @property
    def balancing_rate(self) -> float | None:
        return self.bias_update_rate if self.balancing == "bias" else None

    def expert_params(self, d_model: int) -> int:
        return self.n_routed * self._expert(d_model)

    def active_expert_params(self, d_model: int) -> int:
        return self.top_k * self._expert(d_model)

    def touched_params(self, d_model: int, tokens: float) -> float:
        """All of them, but for experts that no token chose.

        With independent, uniform choices of `top_k` among `n_routed`, a routed expert is idle with probability
        (1 - top_k / n_routed) ** tokens.
        """
        idle: float = self.n_routed * (1 - self.top_k / self.n_routed) ** tokens
        return self.num_params(d_model) - idle * self._expert(d_model)

    def on_expert_rank(self, ranks: int) -> Block:
        """A rank with fewer experts than a token chooses is taken to hold as many as it chooses."""
        if ranks == 1:
            return self
        held = max(self.n_routed // ranks, self.top_k)
        return self.model_copy(update={"n_routed": held, "n_groups": 1, "top_groups": 1})

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        if self.balancing == "aux" or self.capacity_factor is not None:
            return "has balancing aux or a capacity, which are of whole sequences; use bias or none, and no capacity"
        return None

    def documents_problem(self) -> str | None:
        if self.capacity_factor is not None:
            return "has a capacity, which is of whole sequences; use none"
        return None

    def expert_width(self, d_model: int) -> int:
        return d_model if self.d_latent is None else self.d_latent

    def _expert(self, d_model: int) -> int:
        return num_matrices(self.activation) * self.expert_width(d_model) * self.d_expert

    def _latent(self, d_model: int) -> int:
        return 0 if self.d_latent is None else 2 * d_model * self.d_latent

    def _shared(self, d_model: int) -> int:
        return num_matrices(self.activation) * d_model * self.shared_width

    def _biases(self, d_model: int) -> int:
        shared = feed_forward_biases(d_model, self.shared_width, self.activation) if self.shared_bias else 0
        latent = d_model + self.expert_width(d_model) if self.latent_bias else 0
        return shared + latent + (self.n_routed if self.router_bias else 0)

    def _expert_biases(self, d_model: int) -> int:
        if not self.expert_bias:
            return 0
        return feed_forward_biases(self.expert_width(d_model), self.d_expert, self.activation)

    def num_params(self, d_model: int) -> int:
        experts = self.n_routed * self._expert(d_model) + self._shared(d_model)
        routing = d_model * (self.n_routed + self.shared_gate) + self._latent(d_model)
        return routing + experts + self._biases(d_model) + self.n_routed * self._expert_biases(d_model)

    def num_active_params(self, d_model: int) -> int:
        biases = self._biases(d_model) + self.top_k * self._expert_biases(d_model)
        return self._active_matrices(d_model) + biases

    def _active_matrices(self, d_model: int) -> int:
        routing = d_model * (self.n_routed + self.shared_gate) + self._latent(d_model)
        return routing + self.top_k * self._expert(d_model) + self._shared(d_model)

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * self._active_matrices(d_model)
