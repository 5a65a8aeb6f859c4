"""A model that learns a task: steps of AdamW on batches of examples, and what it answers.

N sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from harmony_core.mad.draws import Integers
from harmony_core.mad.examples import IGNORED, Examples
from harmony_core.mad.model import MadModel
from harmony_core.training.precision import autocast
from harmony_core.training.process import is_out_of_memory


class Diverged(Exception):
    """A loss is not finite."""


def failure(error: Exception) -> dict[str, str]:
    """The columns `status` and `error` of a training that this ended; what is no candidate's fault is raised again."""
    if isinstance(error, Diverged):
        return {"status": "diverged", "error": str(error)}
    if is_out_of_memory(error):
        return {"status": "out_of_memory", "error": (str(error).splitlines() or [type(error).__name__])[0]}
    raise error


class Learning:
    """A model and its optimiser on a device.

    Args:
        model: on that device.
        optimizer: of its parameters.
        precision: `fp32`, or `bf16` for autocast.
        gradient_clip: largest global gradient norm; infinite does not clip.
    """

    def __init__(
        self, model: MadModel, optimizer: torch.optim.Optimizer, precision: str, gradient_clip: float = math.inf
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self._precision, self._clip = precision, gradient_clip
        self._peaks = [group["lr"] for group in optimizer.param_groups]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    def step(self, batch: Examples, rate_factor: float = 1.0) -> float:
        """One optimiser step; the cross entropy of what was asked, in nats a token.

        Args:
            batch: what is learnt from.
            rate_factor: multiple of every group's first learning rate.

        Raises:
            Diverged: the loss is not finite.
        """
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * rate_factor
        inputs_NT, targets_NT = (self._tensor(one) for one in (batch.inputs_NT, batch.targets_NT))
        with autocast(self.device, self._precision):
            logits_NTV, auxiliary = self.model(inputs_NT)
        entropy = nn.functional.cross_entropy(
            logits_NTV.flatten(0, 1).float(), targets_NT.flatten(), ignore_index=IGNORED
        )
        loss = entropy.item()
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss}")
        torch.stack([entropy, *auxiliary]).sum().backward()
        if math.isfinite(self._clip):
            nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.stack.after_step()
        return loss

    @torch.no_grad()
    def answers(self, examples: Examples, batch_size: int) -> Integers:
        """The likeliest token at each place, int64 [N, T], without learning.

        Args:
            examples: what is read.
            batch_size: sequences at once.
        """
        self.model.eval()
        found = []
        for first in range(0, len(examples), batch_size):
            with autocast(self.device, self._precision):
                logits_NTV, _ = self.model(self._tensor(examples.inputs_NT[first : first + batch_size]))
            found.append(logits_NTV.argmax(-1).cpu().numpy())
        self.model.train()
        return np.concatenate(found)

    def _tensor(self, tokens_NT: Integers) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens_NT)).to(self.device)
