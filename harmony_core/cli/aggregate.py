"""`harmony aggregate`: one design from the best of a finished search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console

from harmony_core.architecture import Architecture
from harmony_core.cli.answer import SearchArgument, tell_missing
from harmony_core.errors import UserError
from harmony_core.metrics import METRICS, metric
from harmony_core.results import leaderboard
from harmony_core.scaling.aggregate import CLUSTERS, CONTEXTS, aggregate
from harmony_core.scaling.pattern import pattern_text

console = Console(highlight=False, soft_wrap=True)


def aggregate_search(
    search: SearchArgument,
    by: Annotated[str, typer.Option(help="n0, n1, n2, ... (blocks before that must agree), or full.")] = "n0",
    clusters: Annotated[int, typer.Option(min=1, max=1000, help="K of K-means; the best cluster counts.")] = CLUSTERS,
    by_metric: Annotated[str, typer.Option("--metric", help="What makes a design good.")] = "val_bits_per_byte",
    out: Annotated[Path | None, typer.Option(help="Also write the design to this YAML file.")] = None,
) -> None:
    """Block by block what most of the best designs of a search have (Composer's aggregators)."""
    context = _context(by)
    if by_metric not in METRICS:
        raise UserError("metric", by_metric, f"unknown metric; use {', '.join(METRICS)}")
    designs, costs = _deepest(search, by_metric)
    found = aggregate(designs, costs, context, clusters)
    known = dict(zip([one.id for one in designs], costs, strict=True))
    console.print(f"[bold]{found.architecture.id}[/]  {pattern_text(found.architecture)}")
    console.print(f"{by} over {len(found.cluster)} of {len(designs)} designs, the best of {clusters} clusters")
    if found.trained:
        console.print(
            f"trained: {metric(by_metric).heading} {metric(by_metric).sign * known[found.architecture.id]:.4f}"
        )
    else:
        console.print("not among the trained designs")
    if out is not None:
        found.architecture.to_yaml(out)
    tell_missing(search)


def _context(by: str) -> int | None:
    """The blocks before one that must agree; None is all."""
    if by in CONTEXTS:
        return CONTEXTS[by]
    if by.startswith("n") and by[1:].isdecimal() and len(by) < 6:
        return int(by[1:])
    raise UserError("by", by, "use n0, n1, or n with another number of blocks, or full")


def _deepest(search: Path, by_metric: str) -> tuple[list[Architecture], list[float]]:
    """The trained designs of the search's greatest depth, and the metric of each with its sign: lower is better."""
    rows = leaderboard(search).collect()
    if by_metric not in rows.columns:
        raise UserError("metric", by_metric, "the search did not measure it; name one of its objectives")
    rows = rows.filter(pl.col(by_metric).is_not_null()).unique("architecture_id", maintain_order=True)
    read = [(Architecture.from_json(text), value) for text, value in rows.select("architecture", by_metric).iter_rows()]
    depth = max((len(one.blocks) for one, _ in read), default=0)
    deepest = [(one, metric(by_metric).sign * value) for one, value in read if len(one.blocks) == depth]
    return [one for one, _ in deepest], [cost for _, cost in deepest]
