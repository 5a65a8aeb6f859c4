"""The report's figures, as Altair charts of the width of a paper's column; axes name the quantity and its unit."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import altair as alt
import polars as pl

from harmony_core.report.chart_style import (
    HEIGHT,
    TEXT,
    family_color,
    family_legend,
    family_shape,
    finished,
    legend_height,
    padded,
)
from harmony_core.report.findings import Findings
from harmony_core.report.theme import INK, PALE, PAPER
from harmony_core.report.trade_off import TradeOff, trade_offs

_BASELINE = "M0,-1L0.29,-0.4L0.95,-0.31L0.48,0.15L0.59,0.81L0,0.5L-0.59,0.81L-0.48,0.15L-0.95,-0.31L-0.29,-0.4Z"
# A row of the test's figure is so high [pt]; of more than these the table tells.
_ROW_HEIGHT, MOST_ROWS = 15, 24
# A loss falls so fast at first that the rest would be a line at the bottom.
CURVES_FROM = 0.05


def all_figures(findings: Findings) -> dict[str, alt.TopLevelMixin]:
    """Every figure by its file's name."""
    charts: dict[str, alt.TopLevelMixin] = {one.name: front_figure(one) for one in trade_offs(findings)}
    if findings.promoted["test_bits_per_byte"].count():
        charts["test_split"] = test_split(findings)
    charts["training_curves"] = training_curves(findings)
    charts["best_loss"] = by_generation(findings, "best_val_bits_per_byte", "best bits per byte")
    charts["hypervolume"] = by_generation(findings, "hypervolume", "hypervolume")
    return charts


def front_figure(one: TradeOff) -> alt.LayerChart:
    """The loss against a cost: every family in its colour, the front edged, its line, the baselines as stars."""
    x = alt.X("x:Q", title=one.title, scale=padded(one.is_log))
    y = alt.Y("y:Q", title="validation bits per byte", scale=padded())
    present = {*one.others["family"], *one.front["family"]}
    labelled = one.front.filter(pl.col("label") != "")
    layers: list[alt.Chart] = [
        _marks(one.others, x, y, present, size=7, fillOpacity=PALE),
        alt.Chart(one.line)
        .mark_line(interpolate=one.interpolation, color=INK, strokeWidth=0.8, aria=False)
        .encode(x=x, y=y),
        _marks(one.front, x, y, present, size=34, stroke=INK, strokeWidth=0.7),
        *_outlined(labelled, x, y, "label:N", dx=4, dy=-5),
    ]
    if not one.baselines.is_empty():
        star = alt.Chart(one.baselines).mark_point(
            shape=_BASELINE, filled=True, opacity=1, color=INK, stroke=PAPER, strokeWidth=0.5, size=75
        )
        layers.append(star.encode(x=x, y=y, description="tip:N"))
        layers += _outlined(one.baselines, x, y, "name:N", dx=5, dy=5, limit=80)
    return finished(alt.layer(*layers), HEIGHT + legend_height(present))


def test_split(findings: Findings) -> alt.LayerChart:
    """Test bits per byte of what was trained again, with 95% intervals, lowest first."""
    rows = findings.promoted.filter(pl.col("test_bits_per_byte").is_not_null()).head(MOST_ROWS)
    labels = _labels(rows, dict(findings.candidates.select("architecture_id", "place").iter_rows()))
    data = rows.select(
        "family",
        "test_low",
        "test_high",
        row=pl.Series(labels, dtype=pl.String),
        x="test_bits_per_byte",
        tip=pl.format("{} test bits/byte\n{}", pl.col("test_bits_per_byte").round(4), "pattern"),
    )
    present = set(data["family"])
    axis = alt.Axis(labelLimit=92, domain=False, ticks=False, grid=True, labelOverlap=False)
    y = alt.Y("row:N", title=None, sort=labels, axis=axis)
    title = "test bits per byte, 95% interval"
    low, mean = (alt.X(f"{name}:Q", title=title, scale=padded()) for name in ("test_low", "x"))
    known = alt.Chart(data.filter(pl.col("test_low").is_not_null()))
    bars = known.mark_rule(color=INK, strokeWidth=0.9, aria=False).encode(x=low, x2="test_high:Q", y=y)
    marks = alt.Chart(data).mark_point(filled=True, opacity=1, size=34, stroke=INK, strokeWidth=0.7)
    # Beside the rows' names there is no room for two columns.
    legend = family_legend(present, columns=1)
    marks = marks.encode(
        x=mean,
        y=y,
        color=family_color(present, legend),
        shape=family_shape(present, legend),
        description="tip:N",
    )
    return finished(alt.layer(bars, marks), _ROW_HEIGHT * len(labels) + 30 + legend_height(present, 1))


def training_curves(findings: Findings) -> alt.LayerChart:
    """Training loss against tokens, a line for each of the front's first members, with its place at the end."""
    about = findings.shown.select("architecture_id", "family", "pattern", label=pl.col("place").cast(pl.String))
    data = findings.curves.join(about, on="architecture_id", how="inner", maintain_order="left")
    late = data.filter(pl.col("tokens") >= CURVES_FROM * pl.col("tokens").max().over("architecture_id"))
    data = late.with_columns(tip=pl.format("{}, {}\n{}", "label", "family", "pattern"))
    ends = _spread(data.group_by("architecture_id", maintain_order=True).last(), data["train_loss"].to_list())
    x = alt.X("tokens:Q", title="training tokens", axis=alt.Axis(format="~s"), scale=padded())
    y = alt.Y("train_loss:Q", title="training loss [nats/token]", scale=padded())
    present = set(data["family"])
    color = family_color(present, family_legend(present, symbolType="stroke", symbolStrokeWidth=1.5))
    lines = alt.Chart(data).mark_line(strokeWidth=1.1)
    layers = [lines.encode(x=x, y=y, color=color, detail="architecture_id:N", description="tip:N")]
    layers += _outlined(ends, x, y, "label:N", dx=2, dy=0)
    return finished(alt.layer(*layers), HEIGHT)


def by_generation(findings: Findings, column: str, title: str) -> alt.LayerChart:
    """A number of all generations so far.

    Args:
        findings: has it as a column of `progress`.
        column: its name.
        title: of its axis.
    """
    data = findings.progress.select("generation", value=column).drop_nulls()
    data = data.with_columns(tip=pl.format("generation {}: {}", "generation", pl.col("value").round_sig_figs(6)))
    x = alt.X("generation:Q", title="generation", axis=alt.Axis(format="d", tickMinStep=1), scale=padded())
    # Vega gives ticks as many digits as tell them apart, which no one format would for every range.
    y = alt.Y("value:Q", title=title, scale=padded(), axis=alt.Axis(tickCount=5))
    line = alt.Chart(data).mark_line(interpolate="step-after", color=INK, strokeWidth=1, aria=False).encode(x=x, y=y)
    points = alt.Chart(data).mark_point(filled=True, color=INK, opacity=1, size=9)
    return finished(alt.layer(line, points.encode(x=x, y=y, description="tip:N")), 120)


def _marks(data: pl.DataFrame, x: alt.X, y: alt.Y, present: Set[str], **settings: Any) -> alt.Chart:
    chart: alt.Chart = alt.Chart(data).mark_point(filled=True, opacity=1, **settings)
    return chart.encode(x=x, y=y, color=family_color(present), shape=family_shape(present), description="tip:N")


def _outlined(data: pl.DataFrame, x: alt.X, y: alt.Y, text: str, **settings: Any) -> list[alt.Chart]:
    """Text that is legible on what lies under it; in one font, since a PDF with two has them in no certain order."""
    places = alt.Chart(data).encode(x=x, y=y, text=text)
    look = {"align": "left", "fontSize": TEXT, "aria": False, **settings}
    return [
        places.mark_text(color=PAPER, stroke=PAPER, strokeWidth=2, strokeJoin="round", **look),
        places.mark_text(color=INK, **look),
    ]


def _spread(ends: pl.DataFrame, losses: list[float]) -> pl.DataFrame:
    """The ends of curves, apart by at least what a label takes of the axis, on which all `losses` are."""
    if ends.is_empty():
        return ends
    least = 0.055 * (max(losses) - min(losses))
    ends, placed = ends.sort("train_loss"), list[float]()
    for loss in ends["train_loss"]:
        placed.append(max(loss, placed[-1] + least) if placed else loss)
    return ends.with_columns(train_loss=pl.Series(placed, dtype=pl.Float64))


def _labels(rows: pl.DataFrame, places: dict[str, int]) -> list[str]:
    """What each row is called, each once: a baseline by its name, a candidate by its place."""
    labels: list[str] = []
    for row in rows.iter_rows(named=True):
        place = places.get(row["architecture_id"])
        label = row["name"] or (row["operator"] if place is None else f"{place}: {row['pattern']}")
        labels.append(label if label not in labels else f"{label} ({row['architecture_id'][:8]})")
    return labels
