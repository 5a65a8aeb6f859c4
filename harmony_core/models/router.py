"""The router of a mixture of experts: who is chosen, with which weight, and how the load is kept even.

B batch, T tokens, D model width, E experts, K chosen per token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.architecture import MoE
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.moe.assignments import occurrences
from harmony_core.models.ops.moe.routing import route
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.models.parameter import Declared, ParameterSpec, constant, matrix


class Router(Declared):
    """Scores in fp32 whatever the precision, the best K, and the load since the last optimiser step.

    Args:
        config: the mixture's configuration.
        d_model: width D.
    """

    bias_E: Tensor
    counts_E: Tensor
    load_E: Tensor

    def __init__(self, config: MoE, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.counting = True
        self.weight = self.declare("weight", (config.n_routed, d_model), matrix(d_model))
        bias = ParameterSpec(constant(0.0))
        self.logit_bias = self.declare("logit_bias", (config.n_routed,), bias) if config.router_bias else None
        self.declare_buffer("bias_E", torch.zeros(config.n_routed), read=config.balancing == "bias")
        self.register_buffer("counts_E", torch.zeros(config.n_routed), persistent=False)
        self.register_buffer("load_E", torch.zeros(config.n_routed), persistent=False)

    @without_autocast
    def forward(self, x_BTD: Tensor, real_BT: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weights [B, T, K] in fp32, chosen experts [B, T, K], and the balancing loss for `aux`.

        Of padding (not real) there is a choice as well, which is neither counted nor balanced.
        """
        config = self.config
        logits_BTE = linear(at_least_fp32(x_BTD), at_least_fp32(self.weight), self.logit_bias)
        scores_BTE = logits_BTE.softmax(-1) if config.router == "softmax" else logits_BTE.sigmoid()
        weights_BTK, chosen_BTK = route(scores_BTE, self.bias_E, config)
        auxiliary = self._balancing_loss(scores_BTE, chosen_BTK, real_BT) if config.balancing == "aux" else None
        if self.training and self.counting:
            counted = None if real_BT is None else real_BT.unsqueeze(-1).expand_as(chosen_BTK).flatten().float()
            self.counts_E += occurrences(chosen_BTK.flatten(), config.n_routed, counted)
        return weights_BTK, chosen_BTK, auxiliary

    def _balancing_loss(self, scores_BTE: Tensor, chosen_BTK: Tensor, real_BT: Tensor | None) -> Tensor:
        """coefficient x E x sum_e (share of choices of e) (mean score of e), per sequence, then their mean.

        DeepSeek-V2, section 2.2.3, equations 12 to 14: a sequence's loss does not depend on its batch.
        """
        batch, length, experts = scores_BTE.shape
        shares_BE = torch.zeros(batch, experts, device=scores_BTE.device)
        scores_BTE = scores_BTE / scores_BTE.sum(-1, keepdim=True).clamp_min(1e-20)
        if real_BT is None:
            ones = torch.ones((), device=scores_BTE.device).expand(batch, length * chosen_BTK.shape[2])
            shares_BE.scatter_add_(1, chosen_BTK.flatten(1), ones).div_(ones.shape[1])
            mean_BE = scores_BTE.mean(1)
        else:
            weight_BT1 = (real_BT / real_BT.sum(1, keepdim=True).clamp_min(1)).unsqueeze(-1)
            weights_BTK = (weight_BT1 / chosen_BTK.shape[2]).expand_as(chosen_BTK)
            shares_BE.scatter_add_(1, chosen_BTK.flatten(1), weights_BTK.flatten(1))
            mean_BE = (scores_BTE * weight_BT1).sum(1)
        per_sequence_B = experts * (shares_BE * mean_BE).sum(-1)
        return self.config.aux_coefficient * per_sequence_B.mean()

    @torch.no_grad()
    def after_step(self) -> None:
        """Publishes the load of the step, moves the bias towards balance, and begins a new count."""
        if self.config.balancing == "bias":
            self.bias_E += self.config.bias_update_rate * torch.sign(self.counts_E.mean() - self.counts_E)
        # Where nothing was counted the load stays; that is not asked of the device, which would have to be waited for.
        total = self.counts_E.sum()
        torch.where(total > 0, self.counts_E / total.clamp_min(1), self.load_E, out=self.load_E)
        self.counts_E.zero_()
