"""The drawing of `harmony plan`: where the time of the best layouts goes, their memory, and weak scaling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from harmony_core.machines import Estimate, Scaled

_WIDTH, _HEIGHT = 460, 220


def write_figure(path: Path, best: Sequence[Estimate], scaling: Sequence[Scaled]) -> None:
    """Writes one HTML file, which needs no network to be seen.

    Args:
        path: of the file.
        best: layouts to draw, the fastest first.
        scaling: the best layout with more or fewer replicas; empty draws none.
    """
    order = [str(one.layout) for one in best]
    charts = [_bars(_seconds(best), "seconds of a step", order), _bars(_memory(best), "GB of a device", order)]
    if scaling:
        charts.append(_scaling(scaling))
    figure = alt.vconcat(*charts).resolve_scale(color="independent")
    figure.save(path, format="html", inline=True)


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


def _bars(rows: list[dict[str, Any]], title: str, order: list[str]) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(pl.DataFrame(rows), width=_WIDTH, height=_HEIGHT)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title=title, stack="zero"),
            y=alt.Y("layout:N", title=None, sort=order, axis=alt.Axis(labelLimit=320)),
            color=alt.Color("what:N", title=None),
            tooltip=["layout:N", "what:N", alt.Tooltip("value:Q", format=".3g")],
        )
    )
    return chart


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
        .mark_line(point=True)
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
