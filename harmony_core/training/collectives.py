"""What all processes of a training decide together; one process decides alone."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from harmony_core.training.device import uses_gpu


def largest(values: list[float]) -> list[float]:
    """Each number's maximum over all processes: a collective operation."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    numbers = torch.tensor(values, dtype=torch.float64, device=collective_device())
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    found: list[float] = numbers.tolist()
    return found


def anybody(*conditions: bool) -> list[bool]:
    """For each condition, whether it holds on any process."""
    return [value > 0 for value in largest([float(condition) for condition in conditions])]


def everybody(condition: bool) -> bool:
    """Whether it holds on all processes."""
    return not anybody(not condition)[0]


def sum_over_world(x: Tensor) -> Tensor:
    """The sum over all processes, in place where there are several."""
    if dist.get_world_size() > 1:
        dist.all_reduce(x)
    return x


def collective_device() -> torch.device:
    """Where a tensor must be for the backend: this process's GPU for NCCL, the CPU for gloo."""
    return torch.device("cuda", torch.cuda.current_device()) if uses_gpu() else torch.device("cpu")
