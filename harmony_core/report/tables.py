"""Tables of the report: rows of text, then Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harmony_core.metrics import LATENCY, LOSS, Metric, metric, shown
from harmony_core.report.findings import Findings
from harmony_core.report.printable import html, printable
from harmony_core.space import composition_rows

MISSING = "-"


@dataclass(frozen=True)
class Table:
    """Headers and rows of text, all of one length."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        lines = [self.headers, tuple("---" for _ in self.headers), *self.rows]
        return "".join(f"| {' | '.join(_markdown(cell) for cell in line)} |\n" for line in lines)

    def to_html(self) -> str:
        """An HTML table."""
        head = "".join(f"<th>{html(cell)}</th>" for cell in self.headers)
        body = "\n".join("<tr>" + "".join(f"<td>{html(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _markdown(cell: str) -> str:
    return printable(cell).replace("|", "\\|")


def leaderboard_table(findings: Findings, rows: int) -> Table:
    """The best `rows` candidates by validation bits per byte; a star is the Pareto front, `~` an unsteady latency."""
    has_again = findings.candidates["confirmed"].count() > 0
    columns = shown(findings.objectives)
    headings = [one.label for one in columns]
    if has_again:
        headings.insert(1 + headings.index(metric(LATENCY).label), "again [ms]")
    body = [
        (
            "*" if row["on_front"] else "",
            str(row["place"]),
            row["architecture_id"],
            row["family"],
            *(cell for one in columns for cell in _cells(one, row, has_again)),
            str(row["generation"]),
            row["pattern"],
        )
        for row in findings.candidates.head(rows).iter_rows(named=True)
    ]
    return Table(("front", "place", "architecture", "family", *headings, "generation", "pattern"), tuple(body))


def promoted_table(findings: Findings) -> Table:
    """What was trained again on fresh seeds, beside the baselines, lowest test bits per byte first."""
    loss, latency, cost = (metric(name) for name in (LOSS, LATENCY, "num_active_non_embedding_params"))
    headers = (
        f"what|architecture|family|test bits/byte|95% interval|min to max|{loss.label}|runs|tokens|{latency.label}|"
        f"{cost.label}|pattern"
    )
    body = [
        (
            row["name"] or row["role"] or MISSING,
            row["architecture_id"],
            row["family"],
            _number(row["test_bits_per_byte"], 4),
            _interval(row),
            f"{_number(row['test_min'], 4)} to {_number(row['test_max'], 4)}",
            _value(loss, row),
            str(row["runs"] or 0),
            MISSING if row["tokens"] is None else f"{row['tokens']:,}",
            _latency(row),
            _value(cost, row),
            row["pattern"],
        )
        for row in findings.promoted.iter_rows(named=True)
    ]
    return Table(tuple(headers.split("|")), tuple(body))


def progress_table(findings: Findings) -> Table:
    """A row a generation."""
    headers = "generation|bred|ok|best val bits/byte so far|hypervolume so far"
    body = [
        (str(generation), str(bred), str(ok), _number(best, 4), _number(volume, 4))
        for generation, bred, ok, best, volume in findings.progress.iter_rows()
    ]
    return Table(tuple(headers.split("|")), tuple(body))


def composition_table(findings: Findings) -> Table:
    """What the space's samples are made of, beside what survived."""
    prior, survived = findings.prior, findings.survived
    before, after = ([] if one is None else composition_rows(one) for one in (prior, survived))
    samples, survivors = (0 if one is None else one.count for one in (prior, survived))
    headers = ("least, quartiles, most; or shares", f"{samples} samples", f"{survivors} survivors")
    names = [name for name, _ in before or after]
    texts = ([text for _, text in rows] or [""] * len(names) for rows in (before, after))
    return Table(headers, tuple(zip(names, *texts, strict=True)))


def failures_table(findings: Findings) -> Table:
    """Draws thrown away and candidates that failed, by stage and reason."""
    return _plain(findings.failures, ("stage", "reason", "count"))


def device_time_table(findings: Findings) -> Table:
    """What took how long."""
    rows = findings.device_time
    total = rows["seconds"].sum()
    body = [
        (
            row["stage"],
            f"{row['candidates']:,}",
            _number(row["seconds"] / 3600, 3),
            f"{row['seconds'] / total:.1%}" if total else MISSING,
            _number(row["seconds"] / row["candidates"], 1),
            _number(row["failed_seconds"] / 3600, 3),
        )
        for row in rows.iter_rows(named=True)
    ]
    headers = "what|candidates|device-hours|share|seconds a candidate|hours of failed ones"
    return Table(tuple(headers.split("|")), tuple(body))


def gaps_table(findings: Findings) -> Table:
    """Files that the report is made without."""
    body = [(str(gap.path), gap.problem, gap.cost, gap.fix) for gap in findings.gaps]
    return Table(("file", "what is wrong", "what it costs", "what helps"), tuple(body))


def _interval(row: dict[str, Any]) -> str:
    """Of the mean over seeds, or in brackets of one run over the split's text."""
    if row["interval_of"] is None:
        return MISSING
    text = f"{_number(row['test_low'], 4)} to {_number(row['test_high'], 4)}"
    return text if row["interval_of"] == "seeds" else f"({text})"


def _plain(frame: pl.DataFrame, columns: Sequence[str]) -> Table:
    rows = frame.select(columns).iter_rows()
    return Table(tuple(columns), tuple(tuple(str(value) for value in row) for row in rows))


def _cells(one: Metric, row: dict[str, Any], has_again: bool) -> list[str]:
    if one.name != LATENCY:
        return [_value(one, row)]
    return [_latency(row), *([_number(row["latency_again_seconds"], 3, 1e3)] if has_again else [])]


def _value(one: Metric, row: dict[str, Any]) -> str:
    """A metric of a row in the unit of its label."""
    value = row[one.name]
    if one.format == "seconds":
        return _number(value, 3, 1e3)
    if one.format == "decimal":
        return _number(value, 4)
    return MISSING if value is None else f"{value:,.0f}"


def _latency(row: dict[str, Any]) -> str:
    return ("~" if row["latency_marked"] else "") + _value(metric(LATENCY), row)


def _number(value: Any, digits: int, factor: float = 1.0) -> str:
    return MISSING if value is None else f"{value * factor:.{digits}f}"
