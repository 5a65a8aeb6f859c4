"""What one device can do at most, and what share of that real work reaches; each figure with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from harmony_core.base import Frozen, read_yaml
from harmony_core.resources import named_yaml

Precision = Literal["fp32", "bf16"]


class Figure(Frozen):
    """A number and where it is from.

    Args:
        value: the number, in the unit that the field which holds it gives.
        source: a document, `measured: ...` or `assumed: ...`.
    """

    value: float = Field(gt=0)
    source: str = Field(min_length=1)


class Share(Figure):
    """A part of a peak, at most all of it."""

    value: float = Field(gt=0, le=1)


class Compute(Frozen):
    """What a device computes at one precision.

    Args:
        peak_flops: dense matrix FLOP/s; a multiply-add is two.
        matrix_efficiency: share of the peak that products with weights reach.
        mixing_efficiency: share of the peak that attention scores and scans reach.
    """

    peak_flops: Figure
    matrix_efficiency: Share
    mixing_efficiency: Share


class Machine(Frozen):
    """One device: a GPU, a GCD, or a CPU core.

    Args:
        name: how a configuration calls it (`latency.source: predicted:NAME`).
        device: what it is.
        bf16: what it computes with bf16 operands.
        fp32: what it computes with fp32 operands.
        memory_bandwidth: bytes/s between the processor and its main memory.
        memory_bytes: bytes of that memory.
        bandwidth_efficiency: share of the bandwidth that tensors stream at.
        kernel_seconds: fixed cost of starting one kernel or operation, seconds.
    """

    name: str = Field(min_length=1)
    device: str = Field(min_length=1)
    bf16: Compute
    fp32: Compute
    memory_bandwidth: Figure
    memory_bytes: Figure
    bandwidth_efficiency: Share
    kernel_seconds: Figure

    @classmethod
    def from_yaml(cls, name_or_path: str | Path) -> Machine:
        """Reads a machine of resources/machines by its name, or a file by its path (which ends in .yaml).

        Raises:
            UserError: there is no such name (the known ones are listed), or the file is wrong.
        """
        path = named_yaml("machines", name_or_path)
        return cls.parse(read_yaml(path), path.name)

    def compute(self, precision: Precision) -> Compute:
        """What the device computes at this precision."""
        return self.bf16 if precision == "bf16" else self.fp32

    @property
    def bytes_per_second(self) -> float:
        """Bytes/s at which tensors stream."""
        return self.memory_bandwidth.value * self.bandwidth_efficiency.value
