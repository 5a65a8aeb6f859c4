"""The report as one HTML file that needs nothing else: figures, tables, diagrams, its own style and script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files

import yaml

from harmony_core.metrics import LATENCY
from harmony_core.report import conclusions
from harmony_core.report.findings import Findings
from harmony_core.report.printable import html, printable
from harmony_core.report.tables import (
    Table,
    composition_table,
    device_time_table,
    failures_table,
    gaps_table,
    leaderboard_table,
    progress_table,
    promoted_table,
)
from harmony_core.report.theme import inline
from harmony_core.report.trade_off import TradeOff, trade_offs

LEADERBOARD_ROWS = 25


def html_page(findings: Findings, figures: Mapping[str, str], diagrams: Mapping[str, str]) -> str:
    """The page.

    Args:
        findings: what was found.
        figures: SVG by name.
        diagrams: SVG of an architecture by its id.
    """
    sections = [
        ("Not all of it is here", _gaps(findings)),
        ("The trade-off", _trade_off(findings, figures)),
        ("On the test split", _promoted(findings, figures)),
        ("Leaderboard", _leaderboard(findings)),
        ("Best architectures", _diagrams(findings, diagrams)),
        ("Training", _plots(figures, {"training_curves": conclusions.training_curves(findings)})),
        ("Generations", _generations(findings, figures)),
        ("Device time", f"<p>{html(conclusions.device_time(findings))}</p>" + _table(device_time_table(findings))),
        ("What samples are made of, and what survived", _table(composition_table(findings))),
        ("Thrown away and failed", _table(failures_table(findings))),
        ("How it was made", _provenance(findings)),
    ]
    told = [(title, body) for title, body in sections if body]
    title, script = html(f"HARMONY: {findings.name}"), _text("page.js")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{_policy(script)}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_text('page.css')}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#results">Skip to the results</a>\n'
        f"<header>\n<h1>{title}</h1>\n{_head(findings)}{_contents([title for title, _ in told])}</header>\n"
        f'<main id="results">\n{_summary(findings)}'
        + "\n".join(_section(title, body) for title, body in told)
        + f'\n</main>\n{_FOOTER}<div id="tip" role="status"></div>\n<script>{script}</script>\n</body>\n</html>\n'
    )


_FOOTER = (
    "<footer>Beside this page, figures/ has every figure as SVG, PNG and PDF of a paper's column (3.5 inches), "
    "architectures/ the diagrams, leaderboard.md the tables.</footer>\n"
)


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing is loaded, and no script runs but the page's own, whatever text the search brought along."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    return f'<meta http-equiv="Content-Security-Policy" content="{rules}">\n'


def _head(findings: Findings) -> str:
    banners = "".join(f'<p class="banner">{html(text)}</p>\n' for text in conclusions.banners(findings))
    return f'<p class="lead">{html(conclusions.headline(findings))}</p>\n{banners}'


def _contents(titles: list[str]) -> str:
    items = "".join(f'<li><a href="#{_anchor(title)}">{html(title)}</a></li>' for title in titles)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>\n'


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
        "commit": manifest.git_commit or "not known: it ran outside a checkout",
        **({} if findings.spending is None else {"budget": f"{findings.spending} spent"}),
    }
    return _facts(facts)


def _facts(facts: Mapping[str, object]) -> str:
    items = "".join(f"<dt>{html(key)}</dt><dd>{html(str(value))}</dd>" for key, value in facts.items())
    return f"<dl>{items}</dl>\n"


def _gaps(findings: Findings) -> str:
    """What the figures and tables lack; nothing where all files are whole."""
    if not findings.gaps:
        return ""
    return "<p>What follows is right, and made without these files.</p>" + _table(gaps_table(findings))


def _reference(findings: Findings, bounds: tuple[float, float]) -> str:
    low, high = (f"{1e3 * bound:.3g} ms" for bound in bounds)
    marked = findings.candidates["latency_marked"].sum()
    relative = ", whose latencies are relative to it" if findings.manifest.has_relative_latency else ""
    told = f"took {low} to {high} beside the candidates{relative}"
    return told + (f"; ~ marks {marked} during which it moved by more than 10%" if marked else "")


def _source(findings: Findings) -> str:
    found, wanted = findings.manifest.data["source"], findings.manifest.config["data"]["source"]
    return str(found) if found == wanted else f"{found} (in place of {wanted}, which could not be fetched)"


def _trade_off(findings: Findings, figures: Mapping[str, str]) -> str:
    key = (
        "<p>Colour and shape are an architecture's family: how its mixers read earlier tokens. Edged marks are on the "
        "Pareto front of all objectives, those with a number in the leaderboard at that place; stars are baselines. "
        "The line joins the best of the two axes alone.</p>"
    )
    return key + _plots(figures, {one.name: _trade_off_caption(findings, one) for one in trade_offs(findings)})


def _trade_off_caption(findings: Findings, one: TradeOff) -> str:
    hidden = f" {one.num_hidden:,} candidates lie under those drawn." if one.num_hidden else ""
    what = f"latency ({findings.latency_told})" if one.cost.name == LATENCY else one.title
    return f"Loss against {what}. {one.conclusion}{hidden}"


def _promoted(findings: Findings, figures: Mapping[str, str]) -> str:
    parts = []
    if not findings.promoted.is_empty():
        parts.append("<p>Trained again on fresh seeds, with one recipe, and read on the test split.</p>")
        if "test_split" in figures:
            parts.append(_plots(figures, {"test_split": conclusions.test_split(findings)}))
        parts.append(_table(promoted_table(findings)))
    if findings.left_out:
        parts.append(f"<p>{html(findings.left_out)}.</p>")
    return "".join(parts)


def _leaderboard(findings: Findings) -> str:
    count = findings.candidates.height
    best = f"The best {LEADERBOARD_ROWS} of {count}. " if count > LEADERBOARD_ROWS else ""
    confirmed = findings.candidates["confirmed"]
    again = f" Of {confirmed.count()} that were measured again, in turns, {confirmed.sum()} stay on it."
    note = f"{best}* is on the Pareto front.{again if confirmed.count() else ''}"
    return f"<p>{note}</p>" + _table(leaderboard_table(findings, LEADERBOARD_ROWS))


def _diagrams(findings: Findings, diagrams: Mapping[str, str]) -> str:
    parts = []
    for row in findings.shown.iter_rows(named=True):
        name = row["architecture_id"]
        picture = inline(diagrams[name], f"diagram-{name}", f"Blocks of {name} in order: {row['pattern']}")
        words = f"<strong>{row['place']}: {html(row['family'])}.</strong> {row['val_bits_per_byte']:.4f} bits/byte"
        parts.append(f'<figure class="diagram">{picture}<figcaption>{words}</figcaption></figure>')
    return f'<div class="diagrams">{"".join(parts)}</div>' if parts else "<p>None yet.</p>"


def _generations(findings: Findings, figures: Mapping[str, str]) -> str:
    said = {"best_loss": conclusions.best_loss(findings), "hypervolume": conclusions.hypervolume(findings)}
    return _plots(figures, said) + _details("Every generation", _table(progress_table(findings)))


def _provenance(findings: Findings) -> str:
    manifest = findings.manifest
    config = yaml.safe_dump(manifest.config, sort_keys=False, allow_unicode=True)
    lines = "\n".join(html(line) for line in config.split("\n"))
    plugins = {one.get("name", "plug-in"): one.get("version", "") for one in manifest.plugins}
    versions = _facts({**dict(sorted(manifest.packages.items())), **plugins})
    return (
        _details("Configuration", f'<pre tabindex="0">{lines}</pre>')
        + _details("Versions of the packages that results depend on", versions)
        + _details("Machine that the search was started on", _facts(manifest.machine))
    )


def _details(title: str, body: str) -> str:
    return f"<details><summary>{html(title)}</summary>{body}</details>\n"


def _section(title: str, body: str) -> str:
    anchor = _anchor(title)
    return f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{html(title)}</h2>\n{body}\n</section>'


def _anchor(title: str) -> str:
    return "-".join("".join(one if one.isalnum() else " " for one in title.lower()).split())


def _table(table: Table) -> str:
    return f'<div class="scroll" tabindex="0">{table.to_html()}</div>' if table.rows else "<p>None yet.</p>"


def _plots(figures: Mapping[str, str], captions: Mapping[str, str]) -> str:
    parts = []
    for name, caption in captions.items():
        picture = inline(figures[name], name, printable(caption))
        plot = f'<div class="plot" id="{name}" tabindex="0">{picture}</div>'
        parts.append(f"<figure>{plot}<figcaption>{html(caption)}</figcaption></figure>")
    return f'<div class="pair">{"".join(parts)}</div>'
