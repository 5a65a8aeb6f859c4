"""Parameter groups for AdamW: what decays, and whose learning rate follows the width."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from harmony_core.models.parameter import ParameterSpec, declared_parameters


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    lr_scaling: Literal["none", "mup"],
    base_width: int,
) -> list[dict[str, Any]]:
    """One group for each (decay, learning-rate multiplier), in the order of first use.

    Matrices decay; embeddings, norms, biases, convolutions and the A, D and step sizes of state spaces do
    not. With `mup` a matrix's learning rate is multiplied by base_width / fan_in (arXiv:2203.03466, table 3).

    Returns:
        `{"params", "lr", "weight_decay", "lr_multiplier", "names"}` each; a schedule sets
        `lr = scheduled x lr_multiplier`.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter, spec in declared_parameters(model):
        multiplier = _multiplier(spec, base_width) if lr_scaling == "mup" else 1.0
        decay = weight_decay if spec.kind == "matrix" else 0.0
        fresh = {
            "params": [],
            "names": [],
            "lr": learning_rate * multiplier,
            "weight_decay": decay,
            "lr_multiplier": multiplier,
        }
        group = groups.setdefault((decay, multiplier), fresh)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _multiplier(spec: ParameterSpec, base_width: int) -> float:
    return base_width / spec.fan_in if spec.kind == "matrix" else 1.0
