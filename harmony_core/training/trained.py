"""A model with the weights that a training has reached."""

from __future__ import annotations

from pathlib import Path

import torch

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.models import HybridLM, build
from harmony_core.models.parameter import declared_buffers, declared_parameters
from harmony_core.training.checkpoint import newest
from harmony_core.training.state import BUFFERS


@torch.no_grad()
def load_trained(folder: Path | str) -> HybridLM:
    """The model of the newest whole checkpoint in `folder`, whatever layout wrote it: fp32 weights on the CPU.

    Args:
        folder: of one training's checkpoints.

    Raises:
        UserError: there is none that is whole.
    """
    found = newest(Path(folder))
    if found is None:
        raise UserError("checkpoints", folder, "none there that is whole; train it again")
    with found:
        model = build(Architecture.from_json(found.facts["architecture"]))
        for name, parameter, _ in declared_parameters(model):
            found.fill(f"weights/{name}", 0, parameter.view(-1))
        for name, buffer, _ in declared_buffers(model):
            found.fill(f"{BUFFERS}/{name}", 0, buffer.view(-1))
    return model
