"""The one JSON: written whole after every step, so that a machine that is taken away leaves what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmony_core.atomic import atomic_write


def write(figures: Mapping[str, Any], out: Path, page: Path | None) -> None:
    """Writes what is known by now.

    Args:
        figures: circumstances and steps; the device's own row is told beside the circumstances.
        out: the JSON.
        page: the HTML page; None is none.
    """
    device = next((step["rows"][0] for step in figures["steps"] if step["name"] == "device" and step["rows"]), None)
    whole = {**figures, "device": device}
    atomic_write(out, json.dumps(whole, indent=1, allow_nan=False).encode() + b"\n")
    if page is not None:
        # Its tables need packages that nothing else here does.
        from benchmarks.gpu_check.page import html_page

        atomic_write(page, html_page(whole).encode())


def is_good(step: Mapping[str, Any]) -> bool:
    """Whether a step ran to its end, and every row has its figures and is as it should be."""
    rows = step["rows"]
    return step["status"] == "done" and all("error" not in row and row.get("ok", True) for row in rows)
