"""The results as one HTML page without scripts: tables, and the curves as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from benchmarks.operators.tables import table
from harmony_core.report.chart_style import VEGA_LITE

Row = dict[str, Any]
WIDTH, HEIGHT = 460, 300
TITLES = {
    "training": "Forward and backward beside transformers",
    "decode": "Decoding with a cache beside transformers",
    "memory": "Peak memory of a forward and backward pass",
    "window": "The window's mixer alone against full attention alone",
    "convolution": "Blocked convolution against FFT",
    "delta": "Delta rules and their blocks",
    "short_conv": "LFM2's gated short convolution and its block",
    "cost": "Cost of each mixer against the sequence's length",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1f23; max-width: 1200px; margin: 2em auto }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { text-align: left; padding: .25em .7em; border-bottom: 1px solid #dde1e6 }
"""


def html_page(figures: Mapping[str, Any]) -> str:
    """The page of a result as `operators.json` has it."""
    shown = ("command", "cpu", "python", "packages", "measured_at", "seconds", "rounds", "attention", "note")
    sections = []
    for part, rows in figures["parts"].items():
        curves = _CURVES[part](rows) if part in _CURVES else ""
        sections.append(f"<h2>{TITLES[part]}</h2>\n{curves}\n{table(part, rows).to_html()}")
    return document("Operators", {name: figures[name] for name in shown if name in figures}, sections)


def document(title: str, facts: Mapping[str, Any], sections: Iterable[str]) -> str:
    """A page of a benchmark.

    Args:
        title: of it.
        facts: what was measured on and with, by name.
        sections: HTML.
    """
    listed = "".join(f"<li>{escape(name)}: {escape(str(value))}</li>" for name, value in facts.items())
    head = f'<meta charset="utf-8">\n<title>{title}</title>\n<style>{_STYLE}</style>'
    body = f"<h1>{title}</h1>\n<ul>{listed}</ul>\n" + "\n".join(sections)
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def cost_curves(rows: Sequence[Row]) -> str:
    """A line a kind, both axes logarithmic; the legend has the exponents."""
    points = [
        {"line": f"{row['kind']} ({row['exponent']['fitted']:.2f})", "tokens": int(length), "ms": found["median"]}
        for row in rows
        if "error" not in row
        for length, found in row["milliseconds"].items()
    ]
    return _svg(points, "kind (exponent)", "forward and backward of one sequence [ms]")


def convolution_curves(rows: Sequence[Row]) -> str:
    """A figure a kind, with a line for each way and width: forward and backward together."""
    points: dict[str, list[Row]] = {}
    for row in rows:
        for way, found in row.get("milliseconds", {}).items():
            milliseconds = sum(each["median"] for each in found.values())
            line = {"line": f"{way}, d {row['d_model']}", "tokens": row["sequence_length"], "ms": milliseconds}
            points.setdefault(row["kind"], []).append(line)
    return "\n".join(_svg(lines, kind, "forward and backward [ms]") for kind, lines in points.items())


def _svg(points: Iterable[Row], legend: str, quantity: str) -> str:
    data = pl.DataFrame(list(points))
    if data.is_empty():
        return ""
    lengths = data["tokens"].unique().sort().to_list()
    chart = (
        alt.Chart(data, width=WIDTH, height=HEIGHT)
        .mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X(
                "tokens:Q",
                title="sequence length [tokens]",
                scale=alt.Scale(type="log", base=2, nice=False),
                axis=alt.Axis(values=lengths, format="d"),
            ),
            y=alt.Y("ms:Q", title=quantity, scale=alt.Scale(type="log")),
            color=alt.Color("line:N", title=legend, sort=None, scale=alt.Scale(scheme="tableau10")),
        )
    )
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=VEGA_LITE)
    return svg


_CURVES = {"cost": cost_curves, "convolution": convolution_curves}
