"""How a module declares its parameters: shape, first values, and how the optimiser should treat them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Draw = Callable[[Sequence[int], torch.Generator], Tensor]
Kind = Literal["matrix", "embedding", "vector"]


@dataclass(frozen=True)
class ParameterSpec:
    """What is known of a parameter beside its shape.

    Args:
        draw: the first values of one tensor, fp32, from a shape and a generator.
        kind: `matrix` decays and its learning rate follows the width; `embedding` and `vector` do neither.
        fan_in: inputs that one output sums over.
        residual: whether it writes into the residual stream.
        stacked: whether dimension 0 counts experts, each drawn from a generator of its own.
        first_expert: the global number of the first of them, where a process holds some.
    """

    draw: Draw
    kind: Kind = "vector"
    fan_in: int = 1
    residual: bool = False
    stacked: bool = False
    first_expert: int = 0


def matrix(fan_in: int, *, residual: bool = False, stacked: bool = False) -> ParameterSpec:
    """A weight [.., fan_out, fan_in] with a standard deviation of 1 / sqrt(fan_in)."""
    return ParameterSpec(normal(1 / math.sqrt(fan_in)), "matrix", fan_in, residual, stacked)


def normal(std: float) -> Draw:
    """Zero mean and the given standard deviation."""
    return lambda shape, generator: torch.randn(tuple(shape), generator=generator) * std


def uniform(low: float, high: float) -> Draw:
    """Between `low` and `high`."""
    return lambda shape, generator: torch.rand(tuple(shape), generator=generator) * (high - low) + low


def constant(value: float) -> Draw:
    """One value everywhere."""
    return lambda shape, generator: torch.full(tuple(shape), value)


class Declared(nn.Module):
    """A module that knows the specification of each parameter it owns."""

    def __init__(self) -> None:
        super().__init__()
        self.specs: dict[str, ParameterSpec] = {}

    def declare(self, name: str, shape: Sequence[int], spec: ParameterSpec) -> nn.Parameter:
        """An unfilled parameter, to be assigned to the attribute `name`."""
        self.specs[name] = spec
        return nn.Parameter(torch.empty(tuple(shape)))


def declared_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter, ParameterSpec]]:
    """(qualified name, parameter, specification) of every parameter, in the order of the modules."""
    found = []
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            assert isinstance(module, Declared), f"{prefix or 'model'}.{name} was never declared"
            found.append((f"{prefix}.{name}" if prefix else name, parameter, module.specs[name]))
    return found


@torch.no_grad()
def initialise(model: nn.Module, seed: int, num_blocks: int) -> None:
    """Fills every parameter from a generator of its own, so that no other block changes its values.

    Residual outputs are scaled by 1 / sqrt(2 x num_blocks) (GPT-2's rule, Radford et al. 2019, section 2.3).

    Args:
        model: modules that declare their parameters.
        seed: the initialisation seed.
        num_blocks: residual blocks in the model.
    """
    for name, parameter, spec in declared_parameters(model):
        scale = 1 / math.sqrt(2 * num_blocks) if spec.residual else 1.0
        if spec.stacked:
            for place in range(parameter.shape[0]):
                draws = generator(seed, name, spec.first_expert + place)
                parameter[place] = spec.draw(parameter.shape[1:], draws) * scale
        else:
            parameter.copy_(spec.draw(parameter.shape, generator(seed, name)) * scale)


def generator(seed: int, name: str, expert: int | None = None) -> torch.Generator:
    """A CPU generator that depends on (seed, qualified name, global expert number) and nothing else."""
    key = f"{seed}:{name}" + ("" if expert is None else f":{expert}")
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(number)
