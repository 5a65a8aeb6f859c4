"""Who is chosen, with which weight: from a token's logits to K experts.

Computed as Mixtral (arXiv:2401.04088, section 2.1), DeepSeek-V2 (arXiv:2405.04434, sections 2.2.1 and 2.2.2) and
DeepSeek-V3 (arXiv:2412.19437, equations 12 to 16) do. E experts, G groups of them, K chosen per token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.architecture import MoE

_TINY = 1e-20


def route_reference(logits_E: Tensor, bias_E: Tensor, config: MoE) -> tuple[Tensor, list[int]]:
    """One token's weights [K] and experts, by the definitions; for tests.

    Args:
        logits_E: of one token.
        bias_E: of the balancing, fp32; takes part only where `config` balances by it.
        config: the block.
    """
    scores_E = logits_E.softmax(0) if config.router == "softmax" else 1 / (1 + (-logits_E).exp())
    preferred = (scores_E + bias_E if config.balancing == "bias" else scores_E).tolist()
    width = config.n_routed // config.n_groups
    summed = 2 if config.group_score == "top2" else 1
    groups = [preferred[start : start + width] for start in range(0, config.n_routed, width)]
    worth = [sum(sorted(group)[-summed:]) for group in groups]
    best = sorted(range(config.n_groups), key=worth.__getitem__)[-config.top_groups :]
    allowed = [expert for expert in range(config.n_routed) if expert // width in best]
    chosen = sorted(allowed, key=preferred.__getitem__, reverse=True)[: config.top_k]
    weights_K = torch.stack([scores_E[expert] for expert in chosen])
    if config.normalize_top_k:
        weights_K = weights_K / (weights_K.sum() + _TINY)
    return weights_K * config.routed_scale, chosen


def route(scores: Tensor, bias_E: Tensor, config: MoE) -> tuple[Tensor, Tensor]:
    """Weights and experts of the chosen, both [.., K].

    The bias moves the choice alone, of groups and of experts (arXiv:2408.15664, equation 3). Equal scores are broken as
    `topk` does.

    Args:
        scores: [.., E], the softmax or sigmoid of the logits.
        bias_E: of the balancing, fp32; takes part only where `config` balances by it.
        config: the block.
    """
    preferred = scores.detach()
    if config.balancing == "bias":
        preferred = preferred + bias_E
    if config.top_groups < config.n_groups:
        preferred = _in_best_groups(preferred, config)
    chosen = preferred.topk(config.top_k, dim=-1).indices
    weights = scores.gather(-1, chosen)
    if config.normalize_top_k:
        weights = weights / (weights.sum(-1, keepdim=True) + _TINY)
    return weights if config.routed_scale == 1.0 else weights * config.routed_scale, chosen


def _in_best_groups(preferred: Tensor, config: MoE) -> Tensor:
    """The preferences, -inf outside of a token's best groups.

    DeepSeek-V2 fills with 0, below which no softmax goes: the same weights. Biased preferences may be negative.
    """
    grouped = preferred.unflatten(-1, (config.n_groups, -1))
    worth = grouped.amax(-1) if config.group_score == "max" else grouped.topk(2, dim=-1).values.sum(-1)
    best = worth.topk(config.top_groups, dim=-1).indices
    outside = torch.ones_like(worth, dtype=torch.bool).scatter_(-1, best, False)
    inside: Tensor = grouped.masked_fill(outside.unsqueeze(-1), -torch.inf)
    return inside.flatten(-2)
