"""Tables of the report: rows of text, then Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import polars as pl

from harmony_core.report.findings import Findings

MISSING = "-"


@dataclass(frozen=True)
class Table:
    """Headers and rows of text, all of one length."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """A GitHub-flavoured Markdown table."""
        lines = [self.headers, tuple("---" for _ in self.headers), *self.rows]
        return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)

    def to_html(self) -> str:
        """An HTML table."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.headers)
        body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def leaderboard_table(findings: Findings, rows: int) -> Table:
    """The best `rows` candidates by validation bits per byte; a star marks the Pareto front."""
    headers = "|architecture|val bits/byte|latency [ms]|active params|params"
    headers += "|KV [bytes/token]|state [bytes]|generation|pattern"
    body = [
        (
            "*" if row["on_front"] else "",
            row["architecture_id"],
            _number(row["val_bits_per_byte"], 4),
            _number(row["latency_seconds"], 3, 1e3),
            f"{row['num_active_params']:,}",
            f"{row['num_params']:,}",
            f"{row['kv_bytes_per_token']:,}",
            f"{row['state_bytes']:,}",
            str(row["generation"]),
            row["pattern"],
        )
        for row in findings.candidates.head(rows).iter_rows(named=True)
    ]
    return Table(tuple(headers.split("|")), tuple(body))


def promoted_table(findings: Findings) -> Table:
    """What was trained again on fresh seeds, beside the baselines, lowest test bits per byte first."""
    headers = "what|architecture|test bits/byte|min to max|val bits/byte|runs|tokens"
    headers += "|latency [ms]|active non-embedding params|pattern"
    body = [
        (
            row["name"] or row["role"] or MISSING,
            row["architecture_id"],
            _number(row["test_bits_per_byte"], 4),
            f"{_number(row['test_min'], 4)} to {_number(row['test_max'], 4)}",
            _number(row["val_bits_per_byte"], 4),
            str(row["runs"] or 0),
            MISSING if row["tokens"] is None else f"{row['tokens']:,}",
            _number(row["latency_seconds"], 3, 1e3),
            f"{row['num_active_non_embedding_params']:,}",
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


def failures_table(findings: Findings) -> Table:
    """Draws thrown away and candidates that failed, by stage and reason."""
    return _plain(findings.failures, ("stage", "reason", "count"))


def _plain(frame: pl.DataFrame, columns: Sequence[str]) -> Table:
    rows = frame.select(columns).iter_rows()
    return Table(tuple(columns), tuple(tuple(str(value) for value in row) for row in rows))


def _number(value: Any, digits: int, factor: float = 1.0) -> str:
    return MISSING if value is None else f"{value * factor:.{digits}f}"
