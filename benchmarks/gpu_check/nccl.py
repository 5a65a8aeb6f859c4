"""Every collective that HARMONY asks for, in a world of this process alone (RCCL on ROCm, gloo on a CPU)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.gpu_check.clock import milliseconds
from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.settings import Before, Row, Setting
from harmony_core.training.rendezvous import World, start, stop


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a collective: whether it gives back what a world of one must, and milliseconds a call."""
    start(World.from_environment())
    numbers = setting.choose(1 << 22, 1 << 6)
    x_N = torch.arange(numbers, dtype=torch.float32, device=setting.device)
    for name, collective in collectives(x_N).items():
        identity = {"backend": dist.get_backend(), "collective": name, "bytes": 4 * numbers}
        yield attempted(identity, _checked, collective, x_N, setting)
    stop()


def collectives(x_N: Tensor) -> dict[str, Callable[[], Tensor]]:
    """By name, each of fp32 numbers of the device."""

    def all_reduce() -> Tensor:
        y_N = x_N.clone()
        dist.all_reduce(y_N)
        return y_N

    def all_gather() -> Tensor:
        y_1N = [torch.empty_like(x_N)]
        dist.all_gather(y_1N, x_N)
        return y_1N[0]

    def all_to_all() -> Tensor:
        y_N = torch.empty_like(x_N)
        dist.all_to_all_single(y_N, x_N)
        return y_N

    def broadcast() -> Tensor:
        y_N = x_N.clone()
        dist.broadcast(y_N, 0)
        return y_N

    return {one.__name__: one for one in (all_reduce, all_gather, all_to_all, broadcast)}


def _checked(run: Callable[[], Tensor], x_N: Tensor, setting: Setting) -> Row:
    return {"ok": torch.equal(run(), x_N), "milliseconds": milliseconds(run, setting)}
