"""The norm of the whole model's gradient, each element counted once, however the model is spread."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from harmony_core.training.collectives import collective_device, sum_over_world


class GradientNorm:
    """Measures the global gradient norm before each optimiser step, and clips to it.

    DeepSpeed's own differs from it without ZeRO: of a pipeline it counts the first stage alone.

    Args:
        copies: of each parameter held here, how many ranks hold the same values; 0 for one that is counted elsewhere
            (the second copy of tied embeddings).
        limit: largest norm; infinite does not clip.
    """

    def __init__(self, copies: dict[nn.Parameter, int], limit: float) -> None:
        self._copies, self._limit = copies, limit
        self.last = math.nan

    def clip(self, *_: object) -> None:
        """For gradients that every data rank has whole: a hook before the optimiser's step."""
        squares: dict[int, list[Tensor]] = {}
        for parameter, copies in self._copies.items():
            if parameter.grad is not None and copies:
                squares.setdefault(copies, []).append(parameter.grad)
        total = sum((nn.utils.get_total_norm(found).square() / n for n, found in squares.items()), torch.zeros(()))
        norm = sum_over_world(total.to(collective_device())).sqrt()
        self.last = norm.item()
        if math.isfinite(self._limit):
            nn.utils.clip_grads_with_norm_(list(self._copies), self._limit, norm)

    def of_partitions(self, gradients: Iterable[tuple[Tensor, nn.Parameter]]) -> Tensor:
        """For ZeRO, where each element of a gradient is on one rank: (piece, its parameter) of those held here."""
        pieces = [piece for piece, parameter in gradients if self._copies[parameter]]
        total = nn.utils.get_total_norm(pieces).square() if pieces else torch.zeros(())
        norm = sum_over_world(total.to(collective_device())).sqrt()
        self.last = norm.item()
        return norm

    def take_over(self, optimizer: Any) -> None:
        """Replaces the norm of a DeepSpeed ZeRO optimizer (stage 1 or 2), which clips by it.

        DeepSpeed sums once a parameter group over the pipeline, and stages need not have as many groups.
        """

        def scaled_global_norm(norm_type: float = 2) -> Tensor:
            groups = range(len(optimizer.bit16_groups))
            return self.of_partitions(pair for i in groups for pair in _pieces(optimizer, i))

        optimizer.scaled_global_norm = scaled_global_norm


def _pieces(optimizer: Any, group: int) -> Iterable[tuple[Tensor, nn.Parameter]]:
    gradients = (g for g in optimizer.averaged_gradients[group] if not getattr(g, "_zero_padding", False))
    # The last partition has padding behind its last parameter.
    return zip(gradients, optimizer.params_in_partition[group], strict=False)
