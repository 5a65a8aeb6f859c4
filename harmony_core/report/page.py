"""The report as one HTML file that needs nothing else: figures, tables, diagrams, Vega inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import vl_convert

from harmony_core.base import canonical_json
from harmony_core.report.figures import VEGA_LITE, other_objectives
from harmony_core.report.findings import Findings
from harmony_core.report.tables import (
    Table,
    composition_table,
    failures_table,
    leaderboard_table,
    progress_table,
    promoted_table,
)

LEADERBOARD_ROWS = 25

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1f23; max-width: 1250px; margin: 2em auto }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { text-align: left; padding: .25em .6em; border-bottom: 1px solid #dde1e6; white-space: nowrap }
th { white-space: normal }
td:last-child { white-space: normal; min-width: 20em }
dl { display: grid; grid-template-columns: max-content auto; gap: .1em 1.2em }
dt { color: #5b6470 } dd { margin: 0 }
.pair { display: flex; flex-wrap: wrap; gap: 1.5em } figure { margin: 0 } figcaption { color: #5b6470 }
"""

_CAPTIONS = {
    "front_latency": "What is learnt against what it takes to run. Point at a candidate for its pattern.",
    "front_active_params": "What is learnt against the parameters that one token uses.",
    "training_curves": "Training loss of the front's best members, mean over windows of steps.",
    "progress": "The best candidate, and the share of the objective space that the front dominates, so far.",
}
# The text for an objective that is neither of the two.
_OTHER = "What is learnt against another objective."


def html_page(
    findings: Findings,
    figures: Mapping[str, tuple[Mapping[str, Any], str]],
    diagrams: Mapping[str, str],
) -> str:
    """The page.

    Args:
        findings: what was found.
        figures: Vega-Lite specification and SVG by name. The SVG is what shows without JavaScript; with it,
            the same figure with tooltips takes its place.
        diagrams: SVG of an architecture by its id.
    """
    title = escape(f"HARMONY: {findings.name}")
    sections = [
        _summary(findings),
        _missing(findings),
        _section("The trade-off", _pair(figures, "front_latency", "front_active_params", *other_objectives(findings))),
        _section("Leaderboard", _leaderboard(findings)),
        _promoted(findings),
        _section("Best architectures", f'<div class="pair">{"".join(diagrams.values())}</div>'),
        _section("Training", _pair(figures, "training_curves")),
        _section("Generations", _pair(figures, "progress") + progress_table(findings).to_html()),
        _section("What samples are made of, and what survived", composition_table(findings).to_html()),
        _section("Thrown away and failed", _or_none(failures_table(findings))),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        + "\n".join(section for section in sections if section)
        + _scripts({name: spec for name, (spec, _) in figures.items()})
        + "\n</body>\n</html>\n"
    )


def _summary(findings: Findings) -> str:
    manifest = findings.manifest
    search, data = manifest.config["search"], manifest.data
    facts = {
        "candidates": f"{findings.progress['bred'].sum()} bred, {findings.candidates.height} ok, "
        f"{findings.candidates['on_front'].sum()} on the front",
        "algorithm": f"{search['algorithm']['kind']}, seed {manifest.seed}, lag {search['lag']}",
        "objectives": ", ".join(objective["name"] for objective in search["objectives"]),
        "data": f"{_source(findings)}, checksum {data['checksum']}",
        "training": f"{manifest.config['recipe']['tokens']:,} tokens a candidate, {manifest.precision}",
        "latency": findings.latency_told,
        **({} if findings.reference is None else {"reference": _reference(findings, findings.reference)}),
        "started": manifest.created_at.isoformat(sep=" ", timespec="seconds"),
        "configuration": manifest.config_hash,
        **({} if findings.spending is None else {"budget": f"{findings.spending} spent"}),
    }
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    return f"<dl>{items}</dl>"


def _missing(findings: Findings) -> str:
    """What the figures and tables lack; nothing where all files are there."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in findings.missing)
    return _section("Not all of it is here", f"<ul>{lines}</ul>") if lines else ""


def _reference(findings: Findings, bounds: tuple[float, float]) -> str:
    low, high = (f"{1e3 * bound:.3g} ms" for bound in bounds)
    marked = findings.candidates["latency_marked"].sum()
    relative = ", whose latencies are relative to it" if findings.manifest.has_relative_latency else ""
    told = f"took {low} to {high} beside the candidates{relative}"
    return told + (f"; ~ marks {marked} during which it moved by more than 10%" if marked else "")


def _source(findings: Findings) -> str:
    found, wanted = findings.manifest.data["source"], findings.manifest.config["data"]["source"]
    return str(found) if found == wanted else f"{found} (in place of {wanted}, which could not be fetched)"


def _leaderboard(findings: Findings) -> str:
    count = findings.candidates.height
    best = f"The best {LEADERBOARD_ROWS} of {count}. " if count > LEADERBOARD_ROWS else ""
    confirmed = findings.candidates["confirmed"]
    again = f" Of {confirmed.count()} that were measured again, in turns, {confirmed.sum()} stay on it."
    note = f"{best}* is on the Pareto front.{again if confirmed.count() else ''}"
    return f"<p>{note}</p>" + _or_none(leaderboard_table(findings, LEADERBOARD_ROWS))


def _promoted(findings: Findings) -> str:
    parts = []
    if not findings.promoted.is_empty():
        note = "<p>Trained again on fresh seeds, with one recipe, and read on the test split.</p>"
        parts += [note, promoted_table(findings).to_html()]
    if findings.left_out:
        parts.append(f"<p>{escape(findings.left_out)}.</p>")
    return _section("On the test split", "".join(parts)) if parts else ""


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def _or_none(table: Table) -> str:
    return table.to_html() if table.rows else "<p>None yet.</p>"


def _pair(figures: Mapping[str, tuple[Mapping[str, Any], str]], *names: str) -> str:
    parts = []
    for name in names:
        svg, caption = figures[name][1], f"<figcaption>{_CAPTIONS.get(name, _OTHER)}</figcaption>"
        parts.append(f'<figure><div id="{name}">{svg}</div>{caption}</figure>')
    return f'<div class="pair">{"".join(parts)}</div>'


def _scripts(specs: Mapping[str, Mapping[str, Any]]) -> str:
    # A script's text ends at the first "</", wherever it stands.
    data = canonical_json(specs).replace("</", "<\\/")
    embed = (
        "for (const [name, spec] of Object.entries(SPECS))"
        " vegaEmbed('#' + name, spec, {actions: false, renderer: 'svg'});"
    )
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    return f"\n<script>{bundle}</script>\n<script>const SPECS = {data};\n{embed}</script>"
