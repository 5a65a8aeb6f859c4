"""A function beside its plain form: outputs and gradients from the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., Tensor | tuple[Tensor, ...]]


def drawn(*shapes: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Normal numbers of each shape, fp32."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def results(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, and the gradient of every input for a fixed random gradient of the first output."""
    given = [x.detach().clone().requires_grad_() for x in inputs]
    found = function(*given)
    outputs = found if isinstance(found, tuple) else (found,)
    (dy,) = drawn(outputs[0].shape, seed=7)
    gradients = torch.autograd.grad(outputs[0], given, dy.to(outputs[0].dtype))
    return [*(y.detach() for y in outputs), *gradients]


def differences(one: Function, other: Function, inputs: Sequence[Tensor]) -> list[float]:
    """Of each output and gradient the norm of the difference over the norm of the second's."""
    pairs = zip(results(one, inputs), results(other, inputs), strict=True)
    return [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in pairs]
