"""What the trainings of a sweep would take on a machine that is not here: predictions, as `harmony plan` makes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.machines import Machine, TrainingStep, plan_layouts
from harmony_core.machines.machine import Precision
from harmony_core.training.recipe import Recipe

# Devices of a node, on Frontier (GCDs) and of the usual H100 node.
NODE_DEVICES = 8
_NUMBERS = (1, 2, 4, 8)
HOUR = 3600.0


@dataclass(frozen=True)
class Price:
    """What trainings take, each on as few devices of a node as hold it.

    Args:
        machine: its name.
        device_hours: in all.
        longest_hours: wall time of the longest.
        left_out: trainings that a node does not hold.
    """

    machine: str
    device_hours: float
    longest_hours: float
    left_out: int

    def __str__(self) -> str:
        nodes = f"{self.device_hours / NODE_DEVICES:.3g} node-hours of {NODE_DEVICES} devices"
        left_out = f"; {self.left_out} trainings do not fit a node" if self.left_out else ""
        return f"{self.machine}: {nodes}, the longest training {self.longest_hours:.2g} h (predicted){left_out}"


def price(trainings: Iterable[tuple[Architecture, Recipe]], machine: Machine) -> Price:
    """What trainings would take on a machine.

    Args:
        trainings: what is trained, and how; a recipe's rungs count with trunk and branches.
        machine: on what.
    """
    hours, longest, left_out = 0.0, 0.0, 0
    for architecture, recipe in trainings:
        found = _seconds(architecture, recipe, machine)
        if found is None:
            left_out += 1
            continue
        devices, seconds = found
        hours += devices * seconds / HOUR
        longest = max(longest, seconds / HOUR)
    return Price(machine.name, hours, longest, left_out)


def _seconds(architecture: Architecture, recipe: Recipe, machine: Machine) -> tuple[int, float] | None:
    """The fewest devices that hold a training, and its seconds on them; None where a node does not hold it."""
    # What `auto` becomes on a GPU.
    precision: Precision = "fp32" if recipe.precision == "fp32" else "bf16"
    step = TrainingStep(recipe.batch_size, recipe.sequence_length, precision)
    for devices in _NUMBERS:
        try:
            best = plan_layouts(architecture, machine, devices, step).fitting[0]
        except UserError:
            # So few devices do not hold it, or cannot share its batch.
            continue
        return devices, best.seconds * recipe.all_steps
    return None
