"""The declaration of a metric, and the registry that everything which names, bounds or prints one reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harmony_core.errors import UserError
from harmony_core.metrics.reference import Reference, of_costs
from harmony_core.plugins import find

if TYPE_CHECKING:
    from harmony_core.architecture import Architecture

# How tables print a value: with a few decimals; as a time; with three digits and a suffix, or in full.
Format = Literal["decimal", "seconds", "count"]
Direction = Literal["minimise", "maximise"]


@dataclass(frozen=True)
class Metric:
    """A number that a candidate has.

    From it come the choices of `search.objectives`, the columns of populations and selections, the constraints of
    a space (those that an architecture alone has), the frame of the hypervolume, and what tables and progress print.

    Args:
        name: of its column, and in a configuration.
        unit: of its values; empty for a plain ratio.
        label: heading where there is room, with the unit that it is printed in.
        description: of the column, for readers of the files; what is measured says what null means.
        source: the formula that has it of an architecture, or the name of the evaluator that measures it.
        direction: whether less of it is better, or more.
        format: how it is printed.
        reference: between which points the hypervolume reads it, where a first generation has to say.
        short: heading where there is none; empty is the label.
        at_length: whether the formula also takes the recipe's sequence length; a space, which has none, cannot bound
            it.
        whole: whether its values are whole numbers.
    """

    name: str
    unit: str
    label: str
    description: str
    source: Callable[..., float] | str
    direction: Direction = "minimise"
    format: Format = "count"
    reference: Reference = of_costs
    short: str = ""
    at_length: bool = False
    whole: bool = False

    @property
    def is_static(self) -> bool:
        """Whether an architecture has it before a weight exists."""
        return callable(self.source)

    @property
    def heading(self) -> str:
        """For a column of a terminal's table."""
        return self.short or self.label

    @property
    def sign(self) -> int:
        """What makes less better: 1, or -1 where more is."""
        return 1 if self.direction == "minimise" else -1

    def of(self, architecture: Architecture, sequence_length: int | None = None) -> float:
        """Its value, of a static metric.

        Args:
            architecture: whose.
            sequence_length: tokens; needed `at_length` alone.
        """
        assert callable(self.source), f"{self.name} is measured by {self.source}"
        value = self.source(architecture, sequence_length) if self.at_length else self.source(architecture)
        return int(value) if self.whole else float(value)

    def shortfall(self, value: Any, target: float) -> Any:
        """By what share a value is worse than a target, or its column is; negative where it is better."""
        return self.sign * (value / target - 1.0)

    def excess(self, value: float, target: float) -> float:
        """`shortfall`, and 0 where the target is met."""
        return max(0.0, float(self.shortfall(value, target)))


METRICS: dict[str, Metric] = {}
# Metrics of distributions that a search had, as its manifest declares them. A metric that registers itself replaces its
# own.
_recalled: set[str] = set()

# Tables show these of every candidate, in this order.
_USUAL = (
    "val_bits_per_byte",
    "latency_seconds",
    "num_active_params",
    "num_params",
    "kv_bytes_per_token",
    "state_bytes",
)


def register(declared: Metric) -> Metric:
    """Makes a metric known under its name."""
    if declared.name in METRICS and declared.name not in _recalled:
        raise ValueError(f"metric {declared.name!r} is registered twice")
    _recalled.discard(declared.name)
    METRICS[declared.name] = declared
    return declared


def recall(declared: Metric) -> None:
    """Makes a metric known whose distribution is not there: what was recorded of it can be shown, and none computed."""
    if not is_metric(declared.name):
        METRICS[declared.name] = declared
        _recalled.add(declared.name)


def is_metric(name: str) -> bool:
    """Whether HARMONY or a distribution that is installed has such a metric."""
    return find("metrics", name, METRICS) is not None


def metric(name: str) -> Metric:
    """The metric of a name; UserError names those there are."""
    found = find("metrics", name, METRICS)
    if found is None:
        raise UserError("metric", name, f"unknown metric; use {', '.join(METRICS)}")
    return found


def static_metrics(at_length: bool = True) -> list[Metric]:
    """Those that an architecture has; without `at_length`, whatever the length of its sequences."""
    return [one for one in METRICS.values() if one.is_static and (at_length or not one.at_length)]


def shown(objectives: Iterable[str]) -> list[Metric]:
    """The columns of a table of candidates: the usual ones, then whatever else is an objective."""
    return [metric(name) for name in dict.fromkeys((*_USUAL, *objectives))]


def sign(name: Any) -> int:
    """`Metric.sign` of a column; of one that is no metric, less is better."""
    return METRICS[name].sign if name in METRICS else 1
