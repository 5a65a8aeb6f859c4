"""How a module declares its parameters: shape, first values, and how the optimiser should treat them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from harmony_core.parametrisation import DEFAULT, Parametrisation

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
        tokens: whether it has a row a token: the embedding, or a head of its own.
    """

    draw: Draw
    kind: Kind = "vector"
    fan_in: int = 1
    residual: bool = False
    stacked: bool = False
    first_expert: int = 0
    tokens: bool = False


def matrix(fan_in: int, *, residual: bool = False, stacked: bool = False) -> ParameterSpec:
    """A weight [.., fan_out, fan_in] with a standard deviation of 1 / sqrt(fan_in).

    Args:
        fan_in: inputs that one output sums over.
        residual: whether it writes into the residual stream.
        stacked: whether dimension 0 counts experts, each drawn from a generator of its own.
    """
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
    """A module that knows the specification of each parameter it owns, and which buffers are part of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.specs: dict[str, ParameterSpec] = {}
        self.unread_buffers: set[str] = set()
        self.state_buffers: set[str] = set()

    def declare(self, name: str, shape: Sequence[int], spec: ParameterSpec) -> nn.Parameter:
        """An unfilled parameter, to be assigned to the attribute `name`.

        Args:
            name: the attribute's.
            shape: of the whole parameter, as this rank holds it.
            spec: what is known of it beside its shape.
        """
        self.specs[name] = spec
        return nn.Parameter(torch.empty(tuple(shape)))

    def declare_buffer(self, name: str, values: Tensor, *, read: bool = True) -> None:
        """Registers a buffer that training changes: checkpoints, resumption and export hold it beside the parameters.

        Args:
            name: the attribute.
            values: the first ones, float32 or int64, the same on all ranks that hold the module at all times.
            read: whether the module's output depends on it; what nothing reads is exported as zeros.
        """
        self.register_buffer(name, values)
        self.state_buffers.add(name)
        if not read:
            self.unread_buffers.add(name)


def declared_buffers(model: nn.Module) -> list[tuple[str, Tensor, bool]]:
    """(qualified name, buffer, whether it is read) of every buffer that is state, in the order of the modules."""
    found = []
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:
                continue
            where = f"{prefix}.{name}" if prefix else name
            assert isinstance(module, Declared), f"{where} was never declared"
            assert name in module.state_buffers, f"{where} was never declared"
            found.append((where, buffer, name not in module.unread_buffers))
    return found


def declared_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter, ParameterSpec]]:
    """(qualified name, parameter, specification) of every parameter, in the order of the modules."""
    found = []
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            assert isinstance(module, Declared), f"{prefix or 'model'}.{name} was never declared"
            found.append((f"{prefix}.{name}" if prefix else name, parameter, module.specs[name]))
    return found


@torch.no_grad()
def initialise(model: nn.Module, seed: int, num_blocks: int, parametrisation: Parametrisation = DEFAULT) -> None:
    """Fills every parameter from a generator of its own, so that no other block changes its values.

    Args:
        model: modules that declare their parameters.
        seed: the initialisation seed.
        num_blocks: residual blocks in the model.
        parametrisation: how large embedding and residual outputs begin.
    """
    for name, parameter, spec in declared_parameters(model):
        scale = _scale(spec, num_blocks, parametrisation)
        if spec.stacked:
            for place in range(parameter.shape[0]):
                draws = generator(seed, name, spec.first_expert + place)
                parameter[place] = spec.draw(parameter.shape[1:], draws) * scale
        else:
            parameter.copy_(spec.draw(parameter.shape, generator(seed, name)) * scale)


def _scale(spec: ParameterSpec, num_blocks: int, parametrisation: Parametrisation) -> float:
    """What the drawn values of a parameter are multiplied with; tokens are drawn with a deviation of 1."""
    if spec.tokens:
        return parametrisation.embedding_std
    return parametrisation.residual_gain / math.sqrt(num_blocks) if spec.residual else 1.0


def generator(seed: int, name: str, expert: int | None = None) -> torch.Generator:
    """A CPU generator that depends on the arguments and nothing else.

    Args:
        seed: of all first weights.
        name: the parameter's, qualified by its modules.
        expert: global number of the expert; None where the parameter is not stacked.
    """
    key = f"{seed}:{name}" + ("" if expert is None else f":{expert}")
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(number)
