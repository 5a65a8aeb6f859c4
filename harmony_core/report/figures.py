"""The report's figures, as Altair charts of the width of a paper's column; axes name the quantity and its unit."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from harmony_core.metrics import LOSS, Metric, metric
from harmony_core.report.family import FAMILIES
from harmony_core.report.findings import Findings
from harmony_core.report.theme import GRID, INK, MUTED, PAPER
from harmony_core.report.trade_off import TradeOff, trade_offs

# Altair writes for this Vega-Lite; vl_convert calls v6.1.0 v6.1.
VEGA_LITE = alt.SCHEMA_VERSION.rsplit(".", 1)[0]

# Points of a PDF: 3.5 inches, a column of a page of two. A page shows the same picture larger.
WIDTH, HEIGHT = 252, 190
_TEXT, _TITLE = 7, 7.5
_LOSS_TITLE = "validation bits per byte (lower is better)"
_BASELINE = "M0,-1L0.29,-0.4L0.95,-0.31L0.48,0.15L0.59,0.81L0,0.5L-0.59,0.81L-0.48,0.15L-0.95,-0.31L-0.29,-0.4Z"
# A test's rows are so high; more baselines than this are for the table.
_ROW_HEIGHT, MOST_ROWS = 15, 24


def all_figures(findings: Findings) -> dict[str, alt.TopLevelMixin]:
    """Every figure by its file's name."""
    charts: dict[str, alt.TopLevelMixin] = {one.name: front_figure(one) for one in trade_offs(findings)}
    if not findings.promoted["test_bits_per_byte"].drop_nulls().is_empty():
        charts["test_split"] = test_split(findings)
    charts["training_curves"] = training_curves(findings)
    charts["best_loss"] = by_generation(findings, "best_val_bits_per_byte", "best validation bits per byte")
    charts["hypervolume"] = by_generation(findings, "hypervolume", "hypervolume (1 is the ideal point)")
    return charts


def front_figure(one: TradeOff) -> alt.LayerChart:
    """The loss against a cost: every family in its colour, the front ringed, its line, the baselines as stars."""
    x = alt.X("x:Q", title=one.title, scale=_scale(one.is_log))
    y = alt.Y("y:Q", title=_LOSS_TITLE, scale=_scale(False))
    layers: list[alt.Chart] = [
        _marks(one.others, x, y, size=7),
        alt.Chart(one.line).mark_line(interpolate=one.interpolation, color=INK, strokeWidth=0.8).encode(x=x, y=y),
        _marks(one.front, x, y, size=34, stroke=INK),
        alt.Chart(one.front.filter(pl.col("label") != ""))
        .mark_text(align="left", dx=4, dy=-4, fontSize=_TEXT, color=INK, fontWeight="bold")
        .encode(x=x, y=y, text="label:N"),
    ]
    if not one.baselines.is_empty():
        stars = alt.Chart(one.baselines)
        layers += [
            stars.mark_point(shape=_BASELINE, filled=True, color=INK, stroke=PAPER, strokeWidth=0.15, size=70).encode(
                x=x, y=y, description="tip:N"
            ),
            stars.mark_text(align="left", dx=5, dy=5, fontSize=_TEXT, fontStyle="italic", color=INK, limit=80).encode(
                x=x, y=y, text="name:N"
            ),
        ]
    return _finished(alt.layer(*layers), HEIGHT)


def test_split(findings: Findings) -> alt.LayerChart:
    """Test bits per byte of what was trained again, with 95% intervals, lowest first."""
    rows = findings.promoted.filter(pl.col("test_bits_per_byte").is_not_null()).head(MOST_ROWS)
    places = dict(findings.candidates.select("architecture_id", "place").iter_rows())
    labels = _labels(rows, places)
    data = rows.select(
        "family",
        "test_low",
        "test_high",
        row=pl.Series(labels, dtype=pl.String),
        x="test_bits_per_byte",
        tip=pl.format("{} test bits/byte\n{}", pl.col("test_bits_per_byte").round(4), "pattern"),
    )
    y = alt.Y("row:N", title=None, sort=labels, axis=alt.Axis(labelLimit=92, domain=False, ticks=False, grid=True))
    title = "test bits per byte, mean and 95% interval (lower is better)"
    low, mean = (alt.X(f"{name}:Q", title=title, scale=_scale(False)) for name in ("test_low", "x"))
    known = alt.Chart(data.filter(pl.col("test_low").is_not_null()))
    bars = known.mark_rule(color=INK, strokeWidth=0.9).encode(x=low, x2="test_high:Q", y=y)
    return _finished(alt.layer(bars, _marks(data, mean, y, size=34, stroke=INK)), _ROW_HEIGHT * len(labels) + 56)


def training_curves(findings: Findings) -> alt.LayerChart:
    """Training loss against tokens, a line for each of the front's first members, with its place at the end."""
    about = findings.shown.select("architecture_id", "family", "pattern", label=pl.col("place").cast(pl.String))
    data = findings.curves.join(about, on="architecture_id", how="inner", maintain_order="left")
    data = data.with_columns(tip=pl.format("{}, {}: {}", "label", "family", "pattern"))
    ends = data.group_by("architecture_id", maintain_order=True).last()
    x = alt.X("tokens:Q", title="training tokens", axis=alt.Axis(format="~s"), scale=alt.Scale(padding=6))
    y = alt.Y("train_loss:Q", title="training loss [nats/token]", scale=_scale(False))
    lines = alt.Chart(data).mark_line(strokeWidth=1.1)
    texts = alt.Chart(ends).mark_text(align="left", dx=2, fontSize=_TEXT, color=INK, fontWeight="bold")
    chart = alt.layer(
        lines.encode(x=x, y=y, color=_color(data), detail="architecture_id:N", description="tip:N"),
        texts.encode(x=x, y=y, text="label:N"),
    )
    return _finished(chart, HEIGHT)


def by_generation(findings: Findings, column: str, title: str) -> alt.LayerChart:
    """A number of all generations so far.

    Args:
        findings: has it as a column of `progress`.
        column: its name.
        title: of its axis.
    """
    data = findings.progress.select("generation", value=column).drop_nulls()
    data = data.with_columns(tip=pl.format("generation {}: {}", "generation", "value"))
    x = alt.X("generation:Q", title="generation", axis=alt.Axis(format="d", tickMinStep=1), scale=alt.Scale(nice=False))
    # Vega gives ticks as many digits as tell them apart, which no format of ours would for every range.
    y = alt.Y("value:Q", title=title, scale=_scale(False), axis=alt.Axis(tickCount=5))
    line = alt.Chart(data).mark_line(interpolate="step-after", color=INK, strokeWidth=1).encode(x=x, y=y)
    points = alt.Chart(data).mark_point(filled=True, color=INK, opacity=1, size=12)
    return _finished(alt.layer(line, points.encode(x=x, y=y, description="tip:N")), 120)


def other_objectives(findings: Findings) -> dict[str, Metric]:
    """By its figure's name, each objective that has a figure beside latency and active parameters."""
    names = [one.name for one in trade_offs(findings)]
    return {f"front_{name}": metric(name) for name in findings.objectives if name != LOSS and f"front_{name}" in names}


def _marks(data: pl.DataFrame, x: alt.X, y: alt.Y, *, size: float, stroke: str | None = None) -> alt.Chart:
    settings: dict[str, Any] = {"filled": True, "opacity": 1, "size": size}
    if stroke is not None:
        settings |= {"stroke": stroke, "strokeWidth": 0.7}
    chart: alt.Chart = alt.Chart(data).mark_point(**settings)
    return chart.encode(x=x, y=y, color=_color(data), shape=_shape(data), description="tip:N")


def _color(data: pl.DataFrame) -> alt.Color:
    scale = alt.Scale(domain=[one.name for one in FAMILIES], range=[one.color for one in FAMILIES])
    return alt.Color("family:N", title=None, scale=scale, legend=_legend(data))


def _shape(data: pl.DataFrame) -> alt.Shape:
    scale = alt.Scale(domain=[one.name for one in FAMILIES], range=[one.shape for one in FAMILIES])
    return alt.Shape("family:N", title=None, scale=scale, legend=_legend(data))


def _legend(data: pl.DataFrame) -> alt.Legend:
    present = set(data["family"])
    return alt.Legend(values=[one.name for one in FAMILIES if one.name in present])


def _scale(is_log: bool) -> alt.Scale:
    """The padding keeps points off the frame; without a zero they do not press into a corner."""
    return alt.Scale(type="log", padding=8, nice=False) if is_log else alt.Scale(zero=False, padding=8, nice=False)


def _labels(rows: pl.DataFrame, places: dict[str, int]) -> list[str]:
    """What each row is called, each once: a baseline by its name, a candidate by its place."""
    labels: list[str] = []
    for row in rows.iter_rows(named=True):
        place = places.get(row["architecture_id"])
        label = row["name"] or (row["operator"] if place is None else f"{place}: {row['pattern']}")
        labels.append(label if label not in labels else f"{label} ({row['architecture_id'][:8]})")
    return labels


def _finished(chart: alt.LayerChart, height: float) -> alt.LayerChart:
    """The chart with its size, which holds axes and legend too, and its colours."""
    axis = {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": _TEXT,
        "titleFontSize": _TITLE,
        "titleFontWeight": "normal",
        "gridWidth": 0.5,
        "domainWidth": 0.6,
        "tickWidth": 0.6,
        "tickSize": 3,
        "labelPadding": 2,
        "titlePadding": 4,
    }
    legend = {
        "orient": "bottom",
        "direction": "horizontal",
        "columns": 2,
        "labelFontSize": _TEXT,
        "labelColor": INK,
        "labelLimit": 130,
        "symbolSize": 30,
        "symbolStrokeWidth": 0,
        "rowPadding": 1,
        "columnPadding": 8,
        "offset": 6,
    }
    sized = chart.properties(width=WIDTH, height=height, background=PAPER, padding=2, autosize=_FIT)
    styled: alt.LayerChart = sized.configure_axis(**axis).configure_legend(**legend).configure_view(stroke=None)
    return styled


_FIT = alt.AutoSizeParams(type="fit", contains="padding")
