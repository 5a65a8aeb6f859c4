"""What one device can do at most, and what share of that real work reaches; each figure with its source."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from harmony_core.base import Frozen, read_yaml
from harmony_core.machines.operator_costs import OperatorCosts
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


class Link(Frozen):
    """One level of a machine's interconnect: what joins devices that no inner level joins.

    Args:
        name: what it is (`node`, `network`).
        devices: devices that one instance of the level joins, a multiple of the inner level's.
        bandwidth: bytes/s of one device, one direction, when all devices use the level at once.
        latency: seconds before the first byte of a message arrives.
        efficiency: share of the bandwidth that large messages reach.
    """

    name: str = Field(min_length=1)
    devices: int = Field(ge=2)
    bandwidth: Figure
    latency: Figure
    efficiency: Share

    @property
    def bytes_per_second(self) -> float:
        """Bytes/s of one device, one direction, in large messages."""
        return self.bandwidth.value * self.efficiency.value


class Congestion(Frozen):
    """What a network loses when a group of ranks is wider than the part of it that is joined at full bandwidth.

    Args:
        devices: devices that are joined at full bandwidth.
        share_per_doubling: share of the outermost level's bandwidth that is left with each doubling beyond that.
    """

    devices: int = Field(ge=1)
    share_per_doubling: Share


class Machine(Frozen):
    """One device: a GPU, a GCD, or a CPU core, and what joins many of them.

    Args:
        name: how a configuration calls it (`latency.source: predicted:NAME`).
        device: what it is.
        bf16: what it computes with bf16 operands.
        fp32: what it computes with fp32 operands.
        memory_bandwidth: bytes/s between the processor and its main memory.
        memory_bytes: bytes of that memory.
        bandwidth_efficiency: share of the bandwidth that tensors stream at.
        kernel_seconds: fixed cost of starting one kernel or operation, seconds.
        links: the interconnect, from neighbours outwards; empty for a device that stands alone.
        congestion: what the outermost level loses to distance; None is nothing.
        reserved_memory_bytes: bytes that no tensor can have: context, communication buffers, fragmentation.
        operators: what operators cost one by one where that was measured (`harmony calibrate`); without it, and for
            decoding, blocks are priced by the roofline.
    """

    name: str = Field(min_length=1)
    device: str = Field(min_length=1)
    bf16: Compute
    fp32: Compute
    memory_bandwidth: Figure
    memory_bytes: Figure
    bandwidth_efficiency: Share
    kernel_seconds: Figure
    links: tuple[Link, ...] = ()
    congestion: Congestion | None = None
    reserved_memory_bytes: Figure | None = None
    operators: tuple[OperatorCosts, ...] = ()

    @model_validator(mode="after")
    def _check_links(self) -> Machine:
        for inner, outer in pairwise(self.links):
            if outer.devices % inner.devices or outer.devices == inner.devices:
                fix = f"use a multiple of the {inner.devices} of {inner.name}"
                raise ValueError(f"links: {outer.name} joins {outer.devices} devices; {fix}")
        return self

    @model_validator(mode="after")
    def _check_reserve(self) -> Machine:
        if self.usable_memory_bytes <= 0:
            raise ValueError("reserved_memory_bytes: nothing of memory_bytes is left for tensors; reserve less")
        return self

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

    def operator_costs(self, mode: str, precision: Precision) -> OperatorCosts | None:
        """What was measured of the operators in a mode and precision; None where nothing was."""
        found = (costs for costs in self.operators if (costs.mode, costs.precision) == (mode, precision))
        return next(found, None)

    @property
    def max_devices(self) -> int:
        """Devices that the links join; one without links."""
        return self.links[-1].devices if self.links else 1

    @property
    def usable_memory_bytes(self) -> float:
        """Bytes of a device's memory that tensors can have."""
        reserved = 0.0 if self.reserved_memory_bytes is None else self.reserved_memory_bytes.value
        return self.memory_bytes.value - reserved

    @property
    def bytes_per_second(self) -> float:
        """Bytes/s at which tensors stream."""
        return self.memory_bandwidth.value * self.bandwidth_efficiency.value
