"""The documentation's figure: a search's candidates and its front; `python docs/images/front.py`.

It reads `results/nano` as `make search` leaves it, and writes `front.svg` beside this file. Known models are not in it:
they were trained once and untuned, which is no comparison (docs/science.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import polars as pl
import vl_convert

from harmony_core.metrics import LATENCY, LOSS
from harmony_core.results import leaderboard, pareto_front

GREY, RED = "#9aa5b1", "#d1495b"
X = alt.X("milliseconds:Q", title="latency: reading 4 x 256 tokens [ms]", scale=alt.Scale(zero=False, padding=20))
Y = alt.Y(f"{LOSS}:Q", title="validation bits per byte", scale=alt.Scale(zero=False, padding=20))


def figure(search: str) -> alt.LayerChart:
    """Loss against latency; the line joins those that nobody beats in these two."""
    columns = (LOSS, "pattern", (pl.col(LATENCY) * 1e3).alias("milliseconds"))
    every = leaderboard(search).filter(pl.col(LATENCY).is_not_null()).select(*columns).collect()
    front = pareto_front(search).select(*columns).sort("milliseconds").collect()
    line = front.filter(pl.col(LOSS) == pl.col(LOSS).cum_min())

    def base(frame: pl.DataFrame) -> alt.Chart:
        return alt.Chart(frame).encode(x=X, y=Y)

    layers = (
        base(every).mark_circle(color=GREY, size=45, opacity=0.8),
        base(line).mark_line(color=RED, strokeWidth=1.5, interpolate="step-after"),
        base(front).mark_circle(color=RED, size=80, opacity=1),
        base(line.head(1)).mark_text(dy=-14, align="left", color=RED, fontSize=11).encode(text="pattern:N"),
        base(line.tail(1)).mark_text(dy=16, align="left", color=RED, fontSize=11).encode(text="pattern:N"),
    )
    title = alt.TitleParams(
        f"{every.height} hybrids on Shakespeare",
        subtitle="red: beaten by none in loss, latency and active parameters together; line: in the two that are shown",
        anchor="start",
        fontSize=14,
        subtitleColor="#555555",
    )
    return alt.layer(*layers, title=title).properties(width=620, height=340)


if __name__ == "__main__":
    chart = figure(sys.argv[1] if len(sys.argv) > 1 else "nano")
    svg = vl_convert.vegalite_to_svg(chart.to_json(), vl_version=alt.SCHEMA_VERSION.rsplit(".", 1)[0])
    # Readable on a dark page too.
    svg = svg.replace(">", ' style="background:#ffffff">', 1)
    Path(__file__).with_suffix(".svg").write_text(svg)
