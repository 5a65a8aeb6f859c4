"""Parameter groups for AdamW: what decays, and whose learning rate is another."""

from __future__ import annotations

from typing import Any

from torch import nn

from harmony_core.models.parameter import ParameterSpec, declared_parameters
from harmony_core.parametrisation import Parametrisation


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, width_factor: float, parametrisation: Parametrisation
) -> list[dict[str, Any]]:
    """One group for each (decay, learning-rate multiplier), in the order of first use.

    Matrices decay; embeddings, norms, biases, convolutions and the A, D and step sizes of state spaces do not.

    Args:
        model: modules that declare their parameters.
        learning_rate: the recipe's peak.
        weight_decay: the recipe's.
        width_factor: what a matrix's learning rate is multiplied with for the model's width.
        parametrisation: what the other groups' learning rates are multiplied with.

    Returns:
        `{"params", "lr", "weight_decay", "lr_multiplier", "names"}` each; a schedule sets
        `lr = scheduled x lr_multiplier`.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter, spec in declared_parameters(model):
        multiplier = _multiplier(spec, width_factor, parametrisation)
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


def _multiplier(spec: ParameterSpec, width_factor: float, parametrisation: Parametrisation) -> float:
    of_matrix = width_factor * (parametrisation.residual_rate if spec.residual else 1.0)
    rates = {
        "matrix": of_matrix,
        "embedding": parametrisation.embedding_rate,
        "vector": parametrisation.vector_rate,
    }
    return rates[spec.kind]
