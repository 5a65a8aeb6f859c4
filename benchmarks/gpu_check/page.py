"""The result as one HTML page without scripts: a table a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.gpu_check.settings import Row
from benchmarks.operators.page import document
from harmony_core.report.tables import MISSING, Table

_FACTS = ("measured_on", "command", "device", "packages", "torch_note", "python", "cpu", "commit", "measured_at")


def html_page(figures: Mapping[str, Any]) -> str:
    """The page of a result as `gpu_check.result` has it."""
    facts = {name: figures[name] for name in (*_FACTS, "seconds", "limit_seconds") if figures.get(name) is not None}
    sections = [
        f"<h2>{escape(step['title'])}</h2>\n<p>{escape(_state(step))}</p>\n{_html(step)}" for step in figures["steps"]
    ]
    title = "GPU check, a small run on a CPU" if figures["small"] else "GPU check"
    return document(title, facts, sections)


def table(rows: Sequence[Row]) -> Table:
    """A column for each name that any row has, in the order of their first use."""
    flat = [dict(_flat(row)) for row in rows]
    headers = tuple(dict.fromkeys(name for row in flat for name in row))
    return Table(headers, tuple(tuple(row.get(name, MISSING) for name in headers) for row in flat))


def _html(step: Mapping[str, Any]) -> str:
    return table(step["rows"]).to_html() if step["rows"] else ""


def _state(step: Mapping[str, Any]) -> str:
    told = f"{step['status']}, {step['seconds']:g} of {step['limit_seconds']:g} s"
    return told if step["error"] is None else f"{told}: {step['error']}"


def _flat(row: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Names and text of a row's values; what lies within a value has its name behind the value's."""
    found = []
    for name, value in row.items():
        if isinstance(value, dict) and set(value) == {"median", "min", "max"}:
            found.append((above + name, f"{value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g})"))
        elif isinstance(value, dict):
            found += _flat(value, f"{above}{name}, ")
        else:
            found.append((above + name, _text(value)))
    return found


def _text(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
