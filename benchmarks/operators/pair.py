"""The two sides of a comparison: the peer of `transformers`, and our model with its weights.

B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.operators.families import peer
from benchmarks.operators.settings import SEED, SIDES, VOCAB_SIZE, Setting

# A relative difference that rounding explains.
TOLERANCE = 1e-4


@dataclass
class Batch:
    """Tokens and the token after each, int64 [B, T]."""

    tokens_BT: Tensor
    targets_BT: Tensor


def batch(batch_size: int, length: int) -> Batch:
    """Tokens drawn evenly from the vocabulary; a function of its arguments alone."""
    generator = torch.Generator().manual_seed(SEED)
    tokens_BT = torch.randint(0, VOCAB_SIZE, (batch_size, length + 1), generator=generator)
    return Batch(tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous())


def side(name: str, family: str, setting: Setting, attention: str) -> torch.nn.Module:
    """One side's model alone, in training mode."""
    theirs = peer(family, setting, attention)
    return (ours_of(theirs) if name == "harmony" else theirs).train()


def both(family: str, setting: Setting, attention: str) -> dict[str, torch.nn.Module]:
    """Both models in training mode, with the same weights."""
    theirs = peer(family, setting, attention)
    return dict(zip(SIDES, (ours_of(theirs).train(), theirs.train()), strict=True))


def ours_of(theirs: Any) -> torch.nn.Module:
    """Our model with the weights of a model of `transformers`."""
    from harmony_core.interop.hf import from_hf

    model: torch.nn.Module = from_hf(theirs)
    return model


def training_step(name: str, model: Any, data: Batch) -> Callable[[], Tensor]:
    """Forward and backward from cleared gradients; returns the loss in nats, a scalar."""

    def step() -> Tensor:
        model.zero_grad(set_to_none=True)
        if name == "harmony":
            loss: Tensor = model.loss(data.tokens_BT, data.targets_BT).total
        else:
            logits_BTV = model(input_ids=data.tokens_BT, use_cache=False).logits
            loss = cross_entropy(logits_BTV.float().flatten(0, 1), data.targets_BT.flatten())
        loss.backward()
        return loss.detach()

    return step


def agreement(models: dict[str, torch.nn.Module], data: Batch) -> dict[str, float]:
    """Relative differences of the losses and of the gradients' norms; RuntimeError as `differences`."""
    losses, norms = [], []
    for name, model in models.items():
        losses.append(float(training_step(name, model, data)()))
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
    return differences({"loss": losses, "gradient_norm": norms})


def differences(found: dict[str, list[float]]) -> dict[str, float]:
    """Relative differences of ours and theirs, by quantity.

    Raises:
        RuntimeError: one is above `TOLERANCE`: the two sides are not the same model.
    """
    relative = {name: abs(ours - theirs) / abs(theirs) for name, (ours, theirs) in found.items()}
    if max(relative.values()) > TOLERANCE:
        raise RuntimeError(f"the two sides are not the same model: ours and theirs are {found}")
    return {f"{name}_relative_difference": float(f"{value:.1e}") for name, value in relative.items()}
