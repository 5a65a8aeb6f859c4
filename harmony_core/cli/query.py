"""`harmony top`, `pareto` and `show`: what a search has found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harmony_core.architecture import Architecture
from harmony_core.cli.format import count, seconds
from harmony_core.errors import UserError
from harmony_core.evolution.budget import spending
from harmony_core.store import (
    SearchFolder,
    latency,
    leaderboard,
    ledger,
    lineage,
    pareto_front,
    population,
    promoted_results,
    read_manifest,
    reference_latency,
    training,
)

# A file or a pipe has no width to fold a table to, unless COLUMNS gives one.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 1000
# A device that is alone keeps its speed within a few per cent.
NOTABLE_DRIFT = 1.25
console = Console(highlight=False, width=_WIDTH)
SearchArgument = Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")]


def top(search: SearchArgument, limit: Annotated[int, typer.Option("-n", min=1, help="Rows.")] = 10) -> None:
    """The best candidates by validation bits per byte."""
    frame = leaderboard(search).head(limit).collect()
    console.print(candidates_table(frame, f"{SearchFolder.find(search).name}: best candidates", search))
    promoted(search)
    if failures := failed(search):
        console.print(f"failed: {failures}")
    if drift := latency_drift(search):
        console.print(f"latency: {drift}")
    spent = spending(SearchFolder.find(search))
    if spent is not None:
        console.print(f"budget: {spent} spent")


def pareto(search: SearchArgument) -> None:
    """The candidates that no other beats in every objective."""
    frame = pareto_front(search).sort("val_bits_per_byte").collect()
    console.print(candidates_table(frame, f"{SearchFolder.find(search).name}: Pareto front", search))


def show(
    architecture_id: Annotated[str, typer.Argument(help="An architecture's id, or its first digits.")],
    search: Annotated[Path | None, typer.Option(help="Where to look; every search under results/ by default.")] = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Its YAML file alone, for `harmony train`.")] = False,
) -> None:
    """One candidate: its blocks, costs, results and ancestors."""
    folder, row = find_candidate(architecture_id, search)
    architecture = Architecture.from_json(row["architecture"])
    if as_yaml:
        typer.echo(architecture.to_yaml(), nl=False)
        return
    console.print(f"[bold]{architecture.id}[/]  {row['origin']}: {row['operator']}  (search {folder.name})")
    console.print(blocks_table(architecture))
    results = _rows_of(architecture, training(folder), training(folder, promoted=True))
    for result in results.iter_rows(named=True):
        console.print(_result_line(result))
    times = _rows_of(architecture, latency(folder), latency(folder, promoted=True))
    for time in times.iter_rows(named=True):
        median, low, high = (seconds(time[f"seconds_{name}"]) for name in ("median", "p10", "p90"))
        setting = f"batch {time['batch_size']}, context {time['context']}, {time['source']} on {time['device']}"
        console.print(f"{time['mode']}: {median} (p10 {low}, p90 {high}); {setting}")
    if row["generation"] is None:
        # A preset that promotion trained: it comes from nowhere.
        return
    ancestors = lineage(folder, architecture.id).filter(pl.col("depth") > 0).collect()
    for parent in ancestors.iter_rows(named=True):
        name = f"{parent['architecture_id']} (generation {parent['generation']})"
        console.print(f"{'  ' * parent['depth']}from {name}: {parent['operator']}")


def _rows_of(architecture: Architecture, *frames: pl.LazyFrame) -> pl.DataFrame:
    return pl.concat(frames).filter(pl.col("architecture_id") == architecture.id).collect()


def candidates_table(frame: pl.DataFrame, title: str, search: Path) -> Table:
    """A table of leaderboard rows, costs in the objective's own mode."""
    setting = read_manifest(SearchFolder.find(search).manifest).config["latency"]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("id", "gen", "bits/byte", setting["objective"], "active", "params", "KV B/tok", "state B"):
        table.add_column(name, justify="left" if name == "id" else "right")
    table.add_column("blocks", overflow="fold")
    for row in frame.iter_rows(named=True):
        table.add_row(
            row["architecture_id"][:8],
            str(row["generation"]),
            f"{row['val_bits_per_byte']:.3f}",
            seconds(row["latency_seconds"]),
            count(row["num_active_params"]),
            count(row["num_params"]),
            count(row["kv_bytes_per_token"]),
            count(row["state_bytes"]),
            row["pattern"],
        )
    return table


def promoted(search: Path) -> None:
    """What was trained again on fresh seeds, where it has been: the test split, means over replicates."""
    rows = promoted_results(search).collect()
    if rows.is_empty():
        return
    mode = read_manifest(SearchFolder.find(search).manifest).config["latency"]["objective"]
    table = Table(title="trained again, test split", title_justify="left", box=None, pad_edge=False)
    for name in ("who", "test bits/byte", "min", "max", "runs", mode, "active", "params"):
        table.add_column(name, justify="left" if name == "who" else "right")
    table.add_column("blocks", overflow="fold")
    for row in rows.iter_rows(named=True):
        figures = (row["test_bits_per_byte"], row["test_min"], row["test_max"])
        table.add_row(
            row["name"] or f"found {row['architecture_id'][:8]}",
            *("failed" if figure is None else f"{figure:.3f}" for figure in figures),
            str(row["runs"]),
            seconds(row["latency_seconds"]),
            count(row["num_active_params"]),
            count(row["num_params"]),
            row["pattern"],
        )
    console.print(table)


def failed(search: Path) -> str:
    """How many of the search's candidates failed, and how: `3 diverged, 1 crashed`; latency's are named so."""
    stages = {"training": "", "latency": " (latency)"}
    counts = ledger(search).filter(pl.col("stage").is_in(list(stages))).group_by("stage", "reason").agg(pl.sum("count"))
    rows = counts.sort("stage", "count", "reason", descending=[True, True, False]).collect().iter_rows()
    return ", ".join(f"{number} {reason}{stages[stage]}" for stage, reason, number in rows)


def latency_drift(search: Path) -> str:
    """What must be known of a machine that was not as fast all the time; empty where it was."""
    bounds = reference_latency(search)
    if bounds is None or bounds[1] < NOTABLE_DRIFT * bounds[0]:
        return ""
    fastest, slowest = (seconds(bound) for bound in bounds)
    return f"the reference took {fastest} to {slowest} in this search, so mind which were measured together"


def blocks_table(architecture: Architecture) -> Table:
    """The blocks in order, with their hyper-parameters and parameter counts."""
    tied = "tied" if architecture.tie_embeddings else "untied"
    title = f"d_model {architecture.d_model}, vocabulary {architecture.vocab_size} ({tied})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, justify in (("", "right"), ("block", "left"), ("hyper-parameters", "left"), ("params", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    table.add_column("active", justify="right")
    for index, block in enumerate(architecture.blocks):
        fields = {key: value for key, value in block.model_dump().items() if key in block.model_fields_set}
        text = ", ".join(f"{key} {value}" for key, value in fields.items())
        d_model = architecture.d_model
        counts = (count(block.num_params(d_model)), count(block.num_active_params(d_model)))
        table.add_row(str(index), block.kind, text, *counts)
    table.add_row("", "all", "", count(architecture.num_params()), count(architecture.num_active_params()))
    return table


def find_candidate(prefix: str, search: Path | None) -> tuple[SearchFolder, dict[str, Any]]:
    """The first candidate whose id begins with `prefix`; ambiguous and unknown ids are UserErrors."""
    if search is not None:
        folders = [SearchFolder.find(search)]
    else:
        folders = [SearchFolder(path.parent) for path in sorted(Path("results").glob("*/manifest.json"))]
    found: dict[str, tuple[SearchFolder, dict[str, Any]]] = {}
    for folder in folders:
        rows = pl.concat([population(folder), population(folder, promoted=True)])
        matches = rows.filter(pl.col("architecture_id").str.starts_with(prefix)).collect()
        for row in matches.iter_rows(named=True):
            found.setdefault(row["architecture_id"], (folder, row))
    if not found:
        raise UserError("ID", prefix, "no candidate has this id; take one from `harmony top`")
    if len(found) > 1:
        raise UserError("ID", prefix, f"begins {len(found)} ids ({', '.join(sorted(found)[:4])}); give more digits")
    return next(iter(found.values()))


def find_promoted(prefix: str, search: Path | None) -> tuple[SearchFolder, dict[str, Any]]:
    """As `find_candidate`, its row among the promoted; UserError for one that its search did not promote."""
    folder, row = find_candidate(prefix, search)
    own = population(folder, promoted=True).filter(pl.col("architecture_id") == row["architecture_id"])
    rows = own.collect().to_dicts()
    if not rows:
        fix = "take an id of the second table of `harmony top`, or train it: harmony show ID --yaml, harmony train"
        raise UserError("ID", prefix, f"{folder.name} did not promote it; {fix}")
    return folder, rows[0]


def _result_line(result: dict[str, Any]) -> str:
    stage = "promoted" if result["generation"] is None else "trained"
    head = f"{stage} (replicate {result['replicate']}, attempt {result['attempt']}): {result['status']}"
    if result["status"] != "ok":
        return f"{head}: {escape(str(result['error']))}"
    if result["test_bits_per_byte"] is not None:
        head += f", test {result['test_bits_per_byte']:.4f} bits/byte"
    return (
        f"{head}, validation {result['val_bits_per_byte']:.4f} bits/byte ({result['val_loss']:.4f} nats/token), "
        f"{result['tokens']} tokens in {result['seconds']:.1f} s, {result['precision']}, {result['device']}"
    )
