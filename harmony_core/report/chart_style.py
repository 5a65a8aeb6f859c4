"""How every figure looks: the width of a paper's column, its type, and one colour and shape for each family."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import altair as alt

from harmony_core.report.family import FAMILIES
from harmony_core.report.theme import GRID, INK, MUTED, PAPER

# Altair writes for this Vega-Lite; vl_convert calls v6.1.0 v6.1.
VEGA_LITE = alt.SCHEMA_VERSION.rsplit(".", 1)[0]

# Points of a PDF: 3.5 inches, a column of a page of two. A web page shows the same picture larger.
WIDTH, HEIGHT = 252, 200
TEXT, TITLE = 7.5, 8

_NAMES = [one.name for one in FAMILIES]
_FIT = alt.AutoSizeParams(type="fit", contains="padding")
_AXIS: dict[str, Any] = {
    "labelColor": INK,
    "titleColor": INK,
    "gridColor": GRID,
    "domainColor": MUTED,
    "tickColor": MUTED,
    "labelFontSize": TEXT,
    "titleFontSize": TITLE,
    "titleFontWeight": "normal",
    "gridWidth": 0.5,
    "domainWidth": 0.6,
    "tickWidth": 0.6,
    "tickSize": 3,
    "labelPadding": 2,
    "titlePadding": 4,
    "labelOverlap": True,
}
_LEGEND: dict[str, Any] = {
    "orient": "bottom",
    "direction": "horizontal",
    "columns": 2,
    # The two longest names side by side are as wide as the figure.
    "labelFontSize": 7,
    "labelColor": INK,
    "labelLimit": 150,
    "symbolSize": 26,
    "rowPadding": 1,
    "columnPadding": 2,
    "offset": 6,
}


def finished(chart: alt.LayerChart | alt.FacetChart, height: float) -> alt.LayerChart:
    """A chart with its size, which holds axes and legend too, and its colours.

    Args:
        chart: its layers.
        height: of the whole picture [pt].
    """
    assert isinstance(chart, alt.LayerChart)
    padding = {"left": 2, "top": 3, "right": 8, "bottom": 2}
    sized = chart.properties(width=WIDTH, height=height, background=PAPER, padding=padding, autosize=_FIT)
    styled: alt.LayerChart = sized.configure_axis(**_AXIS).configure_legend(**_LEGEND).configure_view(stroke=None)
    return styled


def padded(is_log: bool = False) -> alt.Scale:
    """A scale whose padding keeps marks off the frame; without a zero they do not press into a corner."""
    if is_log:
        return alt.Scale(type="log", padding=8, nice=False)
    return alt.Scale(zero=False, padding=8, nice=False)


def family_color(present: Set[str], legend: alt.Legend | None = None) -> alt.Color:
    """Colours of families, with a legend of those that are there; layers share one where they ask for the same.

    Args:
        present: names of the families that are drawn.
        legend: another one.
    """
    scale = alt.Scale(domain=_NAMES, range=[one.color for one in FAMILIES])
    return alt.Color("family:N", title=None, scale=scale, legend=legend or family_legend(present))


def family_shape(present: Set[str], legend: alt.Legend | None = None) -> alt.Shape:
    """Shapes of families; arguments as for `family_color`."""
    scale = alt.Scale(domain=_NAMES, range=[one.shape for one in FAMILIES])
    return alt.Shape("family:N", title=None, scale=scale, legend=legend or family_legend(present))


def family_legend(present: Set[str], **settings: Any) -> alt.Legend:
    """A legend of the families that are there, in their own order.

    Args:
        present: their names.
        **settings: more of Vega-Lite's.
    """
    return alt.Legend(values=[name for name in _NAMES if name in present], **settings)


def legend_height(present: Set[str], columns: int = 2) -> float:
    """What a legend takes of a figure's height [pt]."""
    return 8 + 10.0 * -(-len(present) // columns)
