"""Writes the report of a search: a page, figures, diagrams and a leaderboard in Markdown."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import vl_convert

from harmony_core.architecture import Architecture
from harmony_core.report.chart_style import VEGA_LITE
from harmony_core.report.diagram import architecture_svg
from harmony_core.report.figures import all_figures
from harmony_core.report.findings import Findings, gather
from harmony_core.report.page import LEADERBOARD_ROWS, html_page
from harmony_core.report.printable import printable
from harmony_core.report.tables import leaderboard_table, promoted_table
from harmony_core.report.theme import flat
from harmony_core.store import SearchFolder, atomic_write

# Of a PNG of a column's 3.5 inches.
DOTS_PER_INCH = 300.0
# Of files that are missing or damaged so many are named above the leaderboard; the page has all of them.
_MOST_LINES = 10


def write_report(search: SearchFolder | Path | str, out_dir: Path | str | None = None, *, whole: bool = False) -> Path:
    """Writes the report of what is done by now; the same rows give the same bytes.

    Makes `index.html` (self-contained), `leaderboard.md`, `figures/NAME.svg`, `.png` and `.pdf`, and
    `architectures/ID.svg` of the front's first members.

    Args:
        search: a folder (`results/nano`) or a name under `results/`.
        out_dir: where to; None is the search's own `report/`.
        whole: whether a damaged table is an error; else the report is made without it, and says so.

    Returns:
        The path of `index.html`.

    Raises:
        UserError: there is no such search, its manifest is damaged, or a table where all is to be whole.
    """
    folder = SearchFolder.find(search)
    return write_findings(gather(folder, whole), folder.report if out_dir is None else Path(out_dir))


def write_findings(findings: Findings, out: Path) -> Path:
    """Writes the report of what was gathered into a folder; returns the path of `index.html`."""
    figures = {name: _rendered(chart) for name, chart in all_figures(findings).items()}
    diagrams = _diagrams(findings)
    for name, svg in figures.items():
        atomic_write(out / "figures" / f"{name}.svg", svg.encode())
        atomic_write(out / "figures" / f"{name}.png", vl_convert.svg_to_png(svg, ppi=DOTS_PER_INCH))
        atomic_write(out / "figures" / f"{name}.pdf", vl_convert.svg_to_pdf(svg))
    for architecture_id, svg in diagrams.items():
        atomic_write(out / "architectures" / f"{architecture_id}.svg", svg.encode())
    lines = map(printable, leaderboard_markdown(findings).split("\n"))
    atomic_write(out / "leaderboard.md", "\n".join(lines).encode())
    # The page is written last, so that it has its files beside it.
    atomic_write(out / "index.html", html_page(findings, figures, diagrams).encode())
    return out / "index.html"


def leaderboard_markdown(findings: Findings) -> str:
    """The leaderboard, and the test table after promotion, as Markdown."""
    title = f"# {findings.name}: leaderboard\n\n"
    note = f"\\* is on the Pareto front. Latency: {findings.latency_told}.\n\n"
    gone = "".join(f"{gap}\n\n" for gap in findings.gaps[:_MOST_LINES])
    text = title + gone + note + leaderboard_table(findings, LEADERBOARD_ROWS).to_markdown()
    if findings.promoted.is_empty() and not findings.left_out:
        return text
    trained = [] if findings.promoted.is_empty() else [promoted_table(findings).to_markdown()]
    left_out = [f"{findings.left_out}.\n"] if findings.left_out else []
    return "\n".join([text, "## On the test split, trained again on fresh seeds\n", *trained, *left_out])


def _rendered(chart: alt.TopLevelMixin) -> str:
    # A specification's check against Vega-Lite's schema would take longer than its drawing.
    return flat(vl_convert.vegalite_to_svg(chart.to_dict(validate=False), vl_version=VEGA_LITE))


def _diagrams(findings: Findings) -> dict[str, str]:
    rows = findings.shown.select("architecture_id", "architecture").iter_rows()
    return {name: architecture_svg(Architecture.from_json(text)) for name, text in rows}
