"""What runs, in which order, for how long at most, and where. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")
Row = dict[str, Any]
# What the steps before have found, by their names.
Before = Mapping[str, Sequence[Row]]
LIMIT_SECONDS = 540.0
# With less than this left, a step would end before it has measured anything.
LEAST_SECONDS = 5.0
# What the steps were written for. An older torch is tried all the same, and the result says so.
TORCH = (2, 10)
SEED = 0


@dataclass(frozen=True)
class Setting:
    """Where a step runs, and at which shapes.

    Args:
        small: on the CPU at tiny shapes, to see that every step runs; none of its figures means anything.
    """

    small: bool = False

    @property
    def device(self) -> str:
        """torch's name of it; ROCm's devices are called the same as CUDA's."""
        return "cpu" if self.small else "cuda"

    def choose(self, full: _T, small: _T) -> _T:
        """The value for a GPU, or the one for the small run."""
        return small if self.small else full


Rows = Callable[[Setting, Before], Iterator[Row]]


@dataclass(frozen=True)
class Step:
    """One question to the machine, answered in a process of its own.

    Args:
        name: in the JSON.
        title: on the page, with units where its columns have none in their names.
        rows: `module:function` of a `Rows`, which yields each row as soon as it has it.
        seconds: after which it is ended, and keeps the rows that it had.
    """

    name: str
    title: str
    rows: str
    seconds: float


STEPS = (
    Step("device", "The device", "benchmarks.gpu_check.device:rows", 20),
    Step("fork", "Preload, fork, compute on the device", "benchmarks.gpu_check.fork:rows", 40),
    Step("nccl", "Collectives in a world of one", "benchmarks.gpu_check.nccl:rows", 20),
    Step("values", "Values and gradients against fp64 on the CPU", "benchmarks.gpu_check.values:rows", 105),
    Step("waiting", "Where a training step waits for the device", "benchmarks.gpu_check.waiting:rows", 35),
    Step("repeat", "Trainings repeated and resumed", "benchmarks.gpu_check.repeat:rows", 40),
    Step("operators", "Operators beside other libraries", "benchmarks.gpu_check.operators:rows", 80),
    Step("training", "Training beside transformers", "benchmarks.gpu_check.training:rows", 100),
    Step("nano", "Nano candidates an hour on one GPU", "benchmarks.gpu_check.nano:rows", 80),
    Step("planner", "The planner against what was measured", "benchmarks.gpu_check.planner:rows", 10),
)
