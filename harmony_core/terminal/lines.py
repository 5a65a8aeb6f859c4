"""The one-line messages of a running search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmony_core.store import Manifest


def prepared(name: str, manifest: Manifest) -> str:
    """A search is ready to begin."""
    data, gpus = manifest.data, manifest.machine.get("gpus")
    device = f"{len(gpus)} x {gpus[0]}" if gpus else manifest.machine["cpu"]
    return (
        f"[bold]search {name}[/]: seed {manifest.seed}, {data['source']}, vocabulary {data['vocab_size']}, "
        f"{manifest.precision} on {_escape(device)}"
    )


def trained(row: Mapping[str, Any], patterns: Mapping[int, str], where: str, done: int, total: int) -> str:
    """The line for a candidate that has its final row.

    Args:
        row: of its training, by column name.
        patterns: the blocks of each candidate in short, by its number.
        where: the generation, or promotion, in words.
        done: candidates that have ended.
        total: candidates in all.
    """
    head = f"{where}  {done:>3}/{total}  {row['architecture_id'][:8]}"
    pattern = patterns.get(row["candidate"], "")
    if row["status"] != "ok":
        return f"{head}  [red]{row['status']}[/]: {_escape(row['error'])}  {pattern}"
    speed = f"{row['seconds']:5.1f} s  {row['tokens_per_second']:6.0f} tok/s"
    return f"{head}  {row['val_bits_per_byte']:.3f} bits/byte  {speed}  {pattern}"


def selected(summary: Any) -> str:
    """A generation is over (`harmony_core.evolution.GenerationSummary`)."""
    best = summary.best_val_bits_per_byte
    told = "nothing trained" if best is None else f"best {best:.3f} bits/byte"
    return (
        f"[bold]generation {summary.generation}[/]: {summary.evaluated} evaluated, {summary.failed} failed, {told}, "
        f"front of {summary.front_size}, hypervolume {summary.hypervolume:.4f}"
    )


def _escape(text: str | None) -> str:
    from rich.markup import escape

    return escape(text or "")
