"""A sweep's figures: losses over sizes on each budget, and what is compute- and state-optimal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import vl_convert

from harmony_core.atomic import atomic_write
from harmony_core.scaling.isoflop import LEAST_SIZES, Curve, Optimum, Point
from harmony_core.scaling.laws import STATE, Findings

WIDTH, HEIGHT = 380, 260
PNG_SCALE = 2.0
# vl_convert calls v6.1.0 v6.1.
_VEGA_LITE = alt.SCHEMA_VERSION.rsplit(".", 1)[0]
_POINTS_OF_A_CURVE = 40
_LOG = alt.Scale(type="log", nice=False, padding=12)
_LINEAR = alt.Scale(zero=False, padding=12)


def write_figures(points: Sequence[Point], findings: Findings, folder: Path) -> list[Path]:
    """Draws every figure that there is something for, as SVG and PNG.

    Args:
        points: a run each.
        findings: what they say.
        folder: of the files.

    Returns:
        The SVG files.
    """
    charts = {"isoflop": isoflop(points, findings.optima)}
    minima = [(curve, one) for curve, one in findings.optima.items() if one is not None and one.bracketed]
    if minima:
        charts["compute_optimal"] = compute_optimal(minima)
    if any(law.of == STATE for law in findings.exponents):
        charts["state_optimal"] = state_optimal(minima)
    for name, chart in charts.items():
        svg = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=_VEGA_LITE)
        atomic_write(folder / f"{name}.svg", svg.encode())
        atomic_write(folder / f"{name}.png", vl_convert.svg_to_png(svg, scale=PNG_SCALE))
    return [folder / f"{name}.svg" for name in charts]


def isoflop(points: Sequence[Point], optima: Mapping[Curve, Optimum | None]) -> alt.TopLevelMixin:
    """Validation loss against size, a curve a budget, beside each other by architecture; a cross is a minimum."""
    dots = [{**_labels(one.curve), "params": one.params, "loss": one.loss} for one in points]
    crosses = [
        {**_labels(curve), "params": one.params, "loss": one.loss}
        for curve, one in optima.items()
        if one is not None and one.bracketed
    ]
    lines = [row for curve in optima for row in _parabola([one for one in points if one.curve == curve])]
    x = alt.X("params:Q", title="active non-embedding parameters", scale=_LOG, axis=alt.Axis(format="~s"))
    y = alt.Y("loss:Q", title="validation loss [nats/token]", scale=_LINEAR)
    color = alt.Color("budget:N", title="training FLOPs", sort=[_text(one) for one in _budgets(optima)])
    layers = [
        _chart(lines).mark_line(strokeWidth=1.2).encode(x=x, y=y, color=color),
        _chart(dots).mark_point(filled=True).encode(x=x, y=y, color=color, tooltip=["params:Q", "loss:Q"]),
        _chart(crosses).mark_point(shape="cross", size=120, filled=True).encode(x=x, y=y, color=color),
    ]
    # The data stands in each row, so that a facet can part it.
    names = sorted({curve.architecture for curve in optima})
    of_each = [
        alt.layer(*(layer.transform_filter(alt.datum.architecture == name) for layer in layers)).properties(title=name)
        for name in names
    ]
    chart: alt.TopLevelMixin = alt.hconcat(*of_each)
    return chart


def compute_optimal(minima: Sequence[tuple[Curve, Optimum]]) -> alt.TopLevelMixin:
    """Parameters, tokens and loss of the minima against the budget, on logarithmic scales."""
    rows = [
        {**_labels(curve), "flops": curve.budget, "params": one.params, "tokens": one.tokens, "loss": one.loss}
        for curve, one in minima
    ]
    titles = {"params": "active non-embedding parameters", "tokens": "tokens", "loss": "loss [nats/token]"}
    panels = [_over(rows, "flops", "training FLOPs", name, title, "architecture") for name, title in titles.items()]
    chart: alt.TopLevelMixin = alt.hconcat(*panels)
    return chart


def state_optimal(minima: Sequence[tuple[Curve, Optimum]]) -> alt.TopLevelMixin:
    """Perplexity of the minima against the bytes of cache and state there, a line a budget."""
    rows = [{**_labels(curve), "state": one.state, "perplexity": math.exp(one.loss)} for curve, one in minima]
    return _over(rows, "state", "cache and state of a sequence [bytes]", "perplexity", "perplexity", "budget")


def _over(rows: list[dict[str, Any]], x: str, x_title: str, y: str, y_title: str, by: str) -> alt.Chart:
    chart: alt.Chart = (
        _chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X(f"{x}:Q", title=x_title, scale=_LOG, axis=alt.Axis(format="~s")),
            y=alt.Y(f"{y}:Q", title=y_title, scale=_LOG),
            color=alt.Color(f"{by}:N", title=by),
            tooltip=["architecture:N", "budget:N", alt.Tooltip(f"{y}:Q", format=".4g")],
        )
    )
    return chart


def _parabola(points: Sequence[Point]) -> list[dict[str, Any]]:
    if len({one.params for one in points}) < LEAST_SIZES:
        return []
    logs = np.log([one.params for one in points])
    fitted = np.polynomial.Polynomial.fit(logs, [one.loss for one in points], 2)
    places = np.linspace(logs.min(), logs.max(), _POINTS_OF_A_CURVE)
    return [{**_labels(points[0].curve), "params": math.exp(place), "loss": float(fitted(place))} for place in places]


def _labels(curve: Curve) -> dict[str, str]:
    return {"architecture": curve.architecture, "budget": _text(curve.budget)}


def _text(budget: float) -> str:
    return f"{budget:.3g}"


def _budgets(optima: Mapping[Curve, Optimum | None]) -> list[float]:
    return sorted({curve.budget for curve in optima})


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(pl.DataFrame(rows, schema=None if rows else _EMPTY), width=WIDTH, height=HEIGHT)


_EMPTY = {"architecture": pl.String, "budget": pl.String, "params": pl.Float64, "loss": pl.Float64}
