"""What one feed-forward network costs, dense or an expert."""

from __future__ import annotations

from harmony_core.architecture.mlp import GATED, Activation
from harmony_core.machines.blocks.costs import Shape


def kept_and_made(inner: int, activation: Activation, shape: Shape) -> tuple[int, int]:
    """Elements a token that are kept for the backward pass, and that are made in it.

    Kept: the projection (gate and up), on a CPU the opened gate. Made: the inner gradient, the projection's, and the
    opened gate where it was not kept; an identity's is a view.

    Args:
        inner: hidden width, of all experts of a token together.
        activation: says whether there is a gate.
        shape: says whether the operators are fused, as a GPU's are.
    """
    if activation not in GATED:
        return inner, 2 * inner
    if shape.fused:
        return 2 * inner, 4 * inner
    return (2 if activation == "bilinear" else 3) * inner, 3 * inner


def exponentials(inner: int, activation: Activation) -> float:
    """Elements that pass through an exponential."""
    return 0.0 if activation in ("relu2", "bilinear") else float(inner)
