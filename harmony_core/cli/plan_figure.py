"""The drawing of `harmony plan`: where the time of the best layouts goes, their memory, and weak scaling."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from harmony_core.machines import Estimate, Scaled

_WIDTH, _HEIGHT, _ROW = 460, 220, 30
_INK, _LIMIT_COLOR = "#1c1f23", "#c0262d"
# A thing has one colour, in seconds as in bytes; those of the time first, in the order of the terminal's line.
_COLORS = {
    "arithmetic": "#2f7ed8",
    "memory": "#9cc4f0",
    "kernels": "#7f8894",
    "recomputation": "#5e35b1",
    "expert imbalance": "#d9730d",
    "all-to-all": "#f2b176",
    "tensor": "#1e9e6a",
    "context": "#8fd3b4",
    "point-to-point": "#9b5fd0",
    "uneven stages": "#cfb2ec",
    "bubble": "#c3c9d0",
    "gradients": "#d05aa8",
    "optimizer": "#a8683f",
    "weights": "#0f9bb0",
    "activations": "#e3b505",
    "loss": "#5b6470",
}


def write_figure(
    path: Path, best: Sequence[Estimate], scaling: Sequence[Scaled], *, title: str, details: Sequence[str]
) -> None:
    """Writes one HTML file, which needs no network to be seen.

    Args:
        path: of the file.
        best: layouts to draw, the fastest first.
        scaling: the best layout with more or fewer replicas; empty draws none.
        title: above all of it: what is trained on what.
        details: lines below the title.
    """
    order = [str(one.layout) for one in best]
    seconds, memory = _seconds(best), _memory(best)
    present = {row["what"] for row in (*seconds, *memory)}
    charts: list[alt.Chart | alt.LayerChart | alt.FacetChart] = [
        _bars(seconds, "predicted seconds of a step", order, present),
        _with_limit(_bars(memory, "predicted GB on the fullest device", order, present), best[0].memory_limit / 1e9),
    ]
    if scaling:
        charts.append(_scaling(scaling))
    heading = alt.TitleParams(title, subtitle=list(details), anchor="start", fontSize=15, offset=14)
    alt.vconcat(*charts, title=heading).save(path, format="html", inline=True)


def _seconds(best: Sequence[Estimate]) -> list[dict[str, Any]]:
    return [
        {"layout": str(one.layout), "what": cause, "value": value}
        for one in best
        for cause, value in one.causes.items()
    ]


def _memory(best: Sequence[Estimate]) -> list[dict[str, Any]]:
    fullest = [(str(one.layout), max(one.memory, key=lambda stage: stage.total)) for one in best]
    return [
        {"layout": layout, "what": what, "value": value / 1e9}
        for layout, stage in fullest
        for what, value in vars(stage).items()
    ]


def _bars(rows: list[dict[str, Any]], title: str, order: list[str], present: Set[str]) -> alt.Chart:
    names = [*(name for name in _COLORS if name in present), *sorted(present - _COLORS.keys())]
    scale = alt.Scale(domain=names, range=[_COLORS.get(name, _INK) for name in names])
    chart: alt.Chart = (
        alt.Chart(pl.DataFrame(rows), width=_WIDTH, height=_ROW * len(order))
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title=title, stack="zero"),
            y=alt.Y("layout:N", title=None, sort=order, axis=alt.Axis(labelLimit=320)),
            color=alt.Color("what:N", title=None, scale=scale, sort=names),
            order=alt.Order("place:Q"),
            tooltip=["layout:N", "what:N", alt.Tooltip("value:Q", format=".3g")],
        )
    )
    return chart.transform_calculate(place=f"indexof({json.dumps(names)}, datum.what)")


def _with_limit(bars: alt.Chart, limit: float) -> alt.LayerChart | alt.FacetChart:
    """The bars with a line at what tensors can have of a device [GB]."""
    data = alt.Chart(pl.DataFrame({"limit": [limit], "told": [f"limit {limit:.3g} GB"]}))
    rule = data.mark_rule(color=_LIMIT_COLOR, strokeWidth=2, strokeDash=[6, 3]).encode(x="limit:Q")
    text = data.mark_text(color=_LIMIT_COLOR, align="right", dx=-4, dy=-6, y=0).encode(x="limit:Q", text="told:N")
    return alt.layer(bars, rule, text)


def _scaling(points: Sequence[Scaled]) -> alt.Chart:
    rows = [
        {
            "devices": point.gpus,
            "efficiency": point.efficiency,
            "layout": str(point.estimate.layout),
            "tokens/s a device": point.estimate.tokens_per_second / point.gpus,
        }
        for point in points
    ]
    chart: alt.Chart = (
        alt.Chart(pl.DataFrame(rows), width=_WIDTH, height=_HEIGHT)
        .mark_line(color=_INK, point=alt.OverlayMarkDef(color=_INK))
        .encode(
            x=alt.X("devices:Q", title="devices", scale=alt.Scale(type="log", base=2)),
            y=alt.Y("efficiency:Q", title="predicted weak-scaling efficiency", axis=alt.Axis(format="%")),
            tooltip=[
                "devices:Q",
                alt.Tooltip("efficiency:Q", format=".1%"),
                alt.Tooltip("tokens/s a device:Q", format=".0f"),
                "layout:N",
            ],
        )
    )
    return chart
