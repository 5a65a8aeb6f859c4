"""The loss against one cost: who is drawn, the line of the best, and what the picture says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import moocore
import polars as pl

from harmony_core.metrics import LATENCY, LOSS, Metric, metric
from harmony_core.report.findings import Findings

# So many marks of others are drawn, which is more than a column's width shows apart.
MOST_MARKS = 1500
_GRID = (220, 160)
# What a label takes of a figure's width and height.
_LABEL = (0.05, 0.06)
# From this ratio of the greatest to the least on, an axis is logarithmic.
_WIDE = 12.0


@dataclass(frozen=True)
class TradeOff:
    """One figure's content; x is the cost in the axis' unit, y validation bits per byte.

    Args:
        name: of the figure.
        cost: the metric on the x axis.
        title: of that axis.
        is_log: whether it is logarithmic.
        line: x and y of those that no candidate beats in these two, by x.
        front: of all objectives: x, y, family, label (the place of those shown) and tip.
        others: the rest, one where several would lie on each other: x, y, family and tip.
        num_hidden: candidates that lie under those drawn.
        baselines: x, y, name and tip.
    """

    name: str
    cost: Metric
    title: str
    is_log: bool
    line: pl.DataFrame
    front: pl.DataFrame
    others: pl.DataFrame
    num_hidden: int
    baselines: pl.DataFrame

    @property
    def interpolation(self) -> Literal["step-after", "step-before"]:
        """How the line goes on: the best that is had at most at a cost, or where more is better, at least."""
        return "step-after" if self.cost.sign > 0 else "step-before"

    @property
    def conclusion(self) -> str:
        """What the picture says, in words."""
        if self.line.is_empty():
            return "No candidate has both numbers yet."
        ends = [self.line.row(place, named=True) for place in (0, -1)]
        span = " to ".join(f"{one['y']:.3f} bits/byte at {one['x']:.3g}" for one in ends)
        said = f"The line runs from {span}." if self.line.height > 1 else f"One candidate beats all others: {span}."
        if self.baselines.is_empty():
            return f"{said} No baseline was trained on as many tokens, so none is drawn."
        return f"{said} {self._beside(self.baselines.sort('y').row(0, named=True))}"

    def _beside(self, baseline: Mapping[str, Any]) -> str:
        """The line at the cost of the best baseline."""
        no_worse = self.line.filter(pl.col("x") * self.cost.sign <= baseline["x"] * self.cost.sign)
        name = f"the best baseline, {baseline['name']} ({baseline['y']:.3f})"
        if no_worse.is_empty():
            return f"Nothing found costs as little as {name}."
        best = min(no_worse["y"].to_list())
        if best >= baseline["y"]:
            return f"At its cost or less no candidate beats {name}."
        return f"At the cost of {name}, or less, the search has {best:.3f}: {baseline['y'] - best:.3f} lower."


def trade_offs(findings: Findings) -> list[TradeOff]:
    """Latency, active parameters, and each further objective, where any candidate has it."""
    names = dict.fromkeys([LATENCY, "num_active_params", *findings.objectives])
    return [_trade_off(findings, metric(name)) for name in names if name != LOSS]


def figure_name(cost: Metric) -> str:
    """What the figure of a cost is called."""
    return {LATENCY: "front_latency", "num_active_params": "front_active_params"}.get(cost.name, f"front_{cost.name}")


def _trade_off(findings: Findings, cost: Metric) -> TradeOff:
    factor, title = _unit(findings, cost)
    rows, baselines = (_points(frame, cost.name, factor) for frame in (findings.candidates, findings.baselines))
    values = [value for frame in (rows, baselines) for value in frame["x"].to_list()]
    is_log = bool(values) and min(values) > 0 and max(values) / min(values) >= _WIDE
    shown = findings.shown["architecture_id"].implode()
    label = pl.when(pl.col("architecture_id").is_in(shown)).then(pl.col("place").cast(pl.String)).otherwise(pl.lit(""))
    rows = rows.with_columns(label=label)
    rows = _without_overlaps(rows, is_log)
    rest = rows.filter(~pl.col("on_front"))
    others = thinned(rest, is_log)
    return TradeOff(
        name=figure_name(cost),
        cost=cost,
        title=title,
        is_log=is_log,
        line=_line(rows, cost),
        front=rows.filter("on_front").select("x", "y", "family", "label", "tip"),
        others=others.select("x", "y", "family", "tip"),
        num_hidden=rest.height - others.height,
        baselines=baselines.select("x", "y", "name", "tip"),
    )


def _without_overlaps(rows: pl.DataFrame, is_log: bool) -> pl.DataFrame:
    """The same rows, the label of one blank that would lie on that of a better one."""
    if rows.is_empty():
        return rows
    xs, ys = _shares(rows["x"].log() if is_log else rows["x"]), _shares(rows["y"])
    kept: list[tuple[float, float]] = []
    labels: list[str] = []
    for label, across, up in zip(rows["label"], xs, ys, strict=True):
        clear = all(abs(across - a) > _LABEL[0] or abs(up - b) > _LABEL[1] for a, b in kept)
        labels.append(label if label and clear else "")
        if labels[-1]:
            kept.append((across, up))
    return rows.with_columns(label=pl.Series(labels, dtype=pl.String))


def _shares(values: pl.Series) -> list[float]:
    """Where values lie between the least, 0, and the greatest, 1."""
    listed = values.to_list()
    low, span = min(listed), (max(listed) - min(listed)) or 1.0
    return [(value - low) / span for value in listed]


def thinned(points: pl.DataFrame, is_log: bool) -> pl.DataFrame:
    """At most `MOST_MARKS` of the points: of those in one cell of a grid the first.

    Args:
        points: with the columns x and y.
        is_log: whether x is drawn on a logarithmic axis.
    """
    if points.height <= MOST_MARKS:
        return points
    scale = 1.0
    while True:
        cells = [
            _cell(pl.col(name), count * scale, is_log and name == "x") for name, count in zip("xy", _GRID, strict=True)
        ]
        kept = points.with_columns(a=cells[0], b=cells[1]).unique(["a", "b"], keep="first", maintain_order=True)
        if kept.height <= MOST_MARKS:
            return kept.drop("a", "b")
        scale *= 0.85


def _cell(column: pl.Expr, count: float, is_log: bool) -> pl.Expr:
    value = column.log() if is_log else column
    width = (value.max() - value.min()) / count
    return ((value - value.min()) / width).fill_nan(0).floor().cast(pl.Int64)


def _line(rows: pl.DataFrame, cost: Metric) -> pl.DataFrame:
    if rows.is_empty():
        return rows.select("x", "y")
    values_N2 = rows.select(pl.col("x") * cost.sign, "y").to_numpy()
    return rows.filter(pl.Series(moocore.is_nondominated(values_N2))).select("x", "y").sort("x")


def _points(frame: pl.DataFrame, column: str, factor: float) -> pl.DataFrame:
    """Those that have both numbers, with what is told of a mark."""
    if column not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias(column))
    frame = frame.filter(pl.col(column).is_not_null(), pl.col(LOSS).is_not_null())
    found = frame.with_columns(x=pl.col(column).cast(pl.Float64) * factor, y=LOSS, name=pl.col("name").fill_null(""))
    who = pl.when(pl.col("name") != "").then(pl.col("name")).otherwise(pl.col("architecture_id").str.head(8))
    numbers = [pl.col("y").round(4), pl.col("x").round_sig_figs(4)]
    if "place" in frame.columns:
        who = pl.concat_str(pl.lit("place "), "place", pl.lit(", "), who)
    return found.with_columns(tip=pl.format("{}: {}\n{} bits/byte at {}\n{}", who, "family", *numbers, "pattern"))


def _unit(findings: Findings, cost: Metric) -> tuple[float, str]:
    """What a value is multiplied with, and the axis' title."""
    if cost.name == LATENCY:
        return 1e3, f"{findings.manifest.config['latency']['objective']} latency [ms]"
    if cost.name == "num_active_params":
        return 1e-6, "active parameters [millions]"
    return 1.0, cost.label
