"""Between which two points a search's hypervolume is measured, and on which scales: the frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from harmony_core.base import Frozen, read_yaml
from harmony_core.errors import UserError
from harmony_core.metrics import LATENCY, METRICS, is_metric
from harmony_core.resources import named_yaml

KEY, AUTO = "search.hypervolume", "auto"


class Scale(Frozen):
    """The searches that a pilot's frame is made for.

    Args:
        space: name of their space.
        data: source of their text, as prepared.
        tokens: of each candidate's training.
    """

    space: str
    data: str
    tokens: int = Field(ge=1)


class Frame(Frozen):
    """Ideal and reference point of the hypervolume, a value per metric.

    Args:
        origin: where it comes from, for people.
        ideal: at this or better, a metric counts as all that can be had.
        reference: at this or worse, a candidate adds nothing, whatever its other metrics are.
        log: metrics that are read on a logarithmic scale, so that halving a cost is worth the same everywhere.
        relative_latency: whether `latency_seconds` is in multiples of the reference architecture's, which makes a
            frame the same on every machine, and not in seconds.
        scale: the searches that `search.hypervolume: auto` takes it for; None: none, it has to be named.
    """

    origin: str = ""
    ideal: dict[str, float]
    reference: dict[str, float]
    log: tuple[str, ...] = ()
    relative_latency: bool = False
    scale: Scale | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field, keys in (("ideal", self.ideal), ("reference", self.reference), ("log", self.log)):
            for name in keys:
                if not is_metric(name):
                    raise UserError(f"{field}.{name}", name, f"unknown metric; use {', '.join(METRICS)}")
        if self.ideal.keys() != self.reference.keys():
            odd = sorted(self.ideal.keys() ^ self.reference.keys())
            raise UserError("ideal", ", ".join(odd), "give each metric in ideal and in reference")
        for name, best in self.ideal.items():
            worst, sign = self.reference[name], METRICS[name].sign
            if sign * best >= sign * worst:
                side = "below" if sign > 0 else "above"
                raise UserError(f"ideal.{name}", best, f"must be {side} the reference ({worst:g})")
            for field, value in (("ideal", best), ("reference", worst)) if name in self.log else ():
                if value <= 0:
                    raise UserError(f"{field}.{name}", value, "must be positive on a logarithmic scale")
        return self

    @classmethod
    def read(cls, name_or_path: str | Path) -> Frame:
        """A frame of resources/frames by name, or any `.yaml` file, another search's `frame.yaml` for one."""
        return cls.from_file(named_yaml("frames", name_or_path))

    @classmethod
    def from_file(cls, path: Path) -> Frame:
        """The frame that a file holds; mistakes are `UserError`."""
        return cls.parse(read_yaml(path), str(path))

    def holds(self, objectives: Iterable[str]) -> bool:
        """Whether it has every one of these metrics."""
        return all(name in self.ideal for name in objectives)

    def require(self, objectives: Iterable[str], value: Any) -> None:
        """Refuses, as the value of `search.hypervolume`, a frame that lacks an objective."""
        for name in objectives:
            if name not in self.ideal:
                raise UserError(KEY, value, f"this frame has no {name}, an objective; add it there, or use auto")

    def in_seconds(self, reference_seconds: float) -> Frame:
        """The frame with its latency in seconds, given the reference architecture's own."""
        return self._scaled(reference_seconds, False) if self.relative_latency else self

    def in_references(self, reference_seconds: float) -> Frame:
        """The frame with its latency in multiples of the reference architecture's own."""
        return self if self.relative_latency else self._scaled(1 / reference_seconds, True)

    def _scaled(self, factor: float, is_relative: bool) -> Frame:
        points = {"ideal": self.ideal, "reference": self.reference}
        scaled = {
            point: {name: value * factor if name == LATENCY else value for name, value in values.items()}
            for point, values in points.items()
        }
        return self.model_copy(update={**scaled, "relative_latency": is_relative})
