"""A model with its optimiser in a DeepSpeed engine: batches in, losses out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import nn

from harmony_core.architecture import Architecture
from harmony_core.models import HybridLM, build
from harmony_core.training.engine import build_engine, start_single_process
from harmony_core.training.precision import autocast
from harmony_core.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class StepLosses:
    """One optimiser step: mean losses in nats per token, and the gradient norm before clipping."""

    cross_entropy: float
    auxiliary: float
    gradient_norm: float


class Learner:
    """What the trainer trains: weights from a seed, AdamW, clipping, the recipe's precision.

    Args:
        architecture: the model's.
        recipe: its precision must be resolved.
        init_seed: seed of the weights.
        device: where.
    """

    def __init__(self, architecture: Architecture, recipe: Recipe, init_seed: int, device: torch.device) -> None:
        start_single_process()
        self.recipe, self.device = recipe, device
        self.model = build(architecture, init_seed=init_seed).to(device)
        if recipe.compile:
            self.model.compile_blocks()
        self._objective = _Objective(self.model, recipe.precision, device)
        groups = self.model.parameter_groups(
            recipe.learning_rate, recipe.weight_decay, recipe.lr_scaling, recipe.base_width
        )
        self._peaks = [group["lr"] for group in groups]
        betas = (recipe.beta1, recipe.beta2)
        self._optimizer = torch.optim.AdamW(groups, betas=betas, eps=recipe.epsilon, fused=True)
        micro = recipe.micro_batch_size or recipe.batch_size
        self._accumulation = recipe.batch_size // micro
        self._engine = build_engine(self._objective, self._optimizer, micro, self._accumulation)

    def step(self, rows_BT: np.ndarray, learning_rate_factor: float) -> StepLosses:
        """One optimiser step on int64 [B, T + 1], inputs and targets overlapping by all but one token."""
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * learning_rate_factor
        batch = torch.from_numpy(rows_BT).to(self.device)
        cross_entropy = auxiliary = 0.0
        norm = math.nan
        for micro, part in enumerate(batch.chunk(self._accumulation)):
            self._engine.backward(self._engine(part[:, :-1], part[:, 1:]))
            cross_entropy += self._objective.cross_entropy.item() / self._accumulation
            auxiliary += self._objective.auxiliary.item() / self._accumulation
            if micro == self._accumulation - 1:
                # The engine accumulates; the norm is that of the whole batch's gradient.
                limit = self.recipe.gradient_clip or math.inf
                norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit).item()
            self._engine.step()
        self.model.after_step()
        return StepLosses(cross_entropy, auxiliary, norm)

    @torch.no_grad()
    def evaluate(self, rows_BT: np.ndarray) -> float:
        """Mean cross entropy on int64 [B, T + 1], in nats per token."""
        batch = torch.from_numpy(rows_BT).to(self.device)
        self._objective.eval()
        self._objective(batch[:, :-1], batch[:, 1:])
        self._objective.train()
        return self._objective.cross_entropy.item()


class _Objective(nn.Module):
    """What DeepSpeed calls: tokens in, one scalar loss out, in the recipe's precision."""

    def __init__(self, model: HybridLM, precision: str, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self._device, self._precision = device, precision
        self.cross_entropy = torch.zeros(())
        self.auxiliary = torch.zeros(())

    def forward(self, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        with autocast(self._device, self._precision):
            terms = self.model.loss(tokens_BT, targets_BT)
        self.cross_entropy, self.auxiliary = terms.cross_entropy.detach(), terms.auxiliary.detach()
        return terms.total
