"""`harmony top`, `pareto` and `show`: what a search has found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harmony_core.architecture import Architecture, is_block_kind
from harmony_core.cli.candidate import IdArgument, SearchOption, find_candidate
from harmony_core.metrics import LATENCY, Metric, metric, shown
from harmony_core.results import leaderboard, lineage, promoted_results, reference_latency
from harmony_core.results.budget import spending
from harmony_core.results.fronts import front_again
from harmony_core.store import SearchFolder, latency, ledger, missing_lines, read_manifest, training
from harmony_core.store.evaluators import TRAINING_TABLE, tables_of
from harmony_core.terminal.format import count, seconds, value_text

# A table is folded to a terminal's width. A file or a pipe has none, unless COLUMNS gives one.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 1000
# The exit code where the answer is incomplete since files were deleted; 2 is no answer at all.
INCOMPLETE = 1
console = Console(highlight=False, width=_WIDTH)
SearchArgument = Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")]


def top(search: SearchArgument, limit: Annotated[int, typer.Option("-n", min=1, help="Rows.")] = 10) -> None:
    """The best candidates by validation bits per byte; exit code 1 where files are missing, and maybe better ones."""
    frame = leaderboard(search).head(limit).collect()
    console.print(candidates_table(frame, f"{SearchFolder.find(search).name}: best candidates", search))
    promoted(search)
    if failures := failed(search):
        console.print(f"failed: {failures}")
    if told := latency_told(search):
        console.print(told)
    spent = spending(SearchFolder.find(search))
    if spent is not None:
        console.print(f"budget: {spent} spent")
    tell_missing(search)


def pareto(search: SearchArgument) -> None:
    """The candidates that no other beats in every objective; exit code 1 where files are missing."""
    frame = front_again(search).sort("val_bits_per_byte").collect()
    console.print(candidates_table(frame, f"{SearchFolder.find(search).name}: Pareto front", search))
    if told := latency_told(search):
        console.print(told)
    if num_again := frame["confirmed"].count():
        stay = f"{frame['confirmed'].sum()} of {num_again} stay on the front"
        console.print(f"again: measured anew together with the baselines, in turns; {stay}")
    tell_missing(search)


def show(
    architecture_id: IdArgument,
    search: SearchOption = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Its YAML file alone, for `harmony train`.")] = False,
) -> None:
    """One candidate: its blocks, costs, results and ancestors; exit code 1 where files of its search are missing."""
    folder, row = find_candidate(architecture_id, search)
    if as_yaml:
        typer.echo(Architecture.from_json(row["architecture"]).to_yaml(), nl=False)
        return
    console.print(f"[bold]{row['architecture_id']}[/]  {row['origin']}: {row['operator']}  (search {folder.name})")
    console.print(_recorded_blocks(row))
    for told in _other_objectives(folder, row):
        console.print(told)
    results = _rows_of(row, training(folder), training(folder, promoted=True))
    has_rungs = (results["rung"] > 0).any()
    for result in results.iter_rows(named=True):
        console.print(_result_line(result, has_rungs))
    times = _rows_of(row, latency(folder), latency(folder, promoted=True))
    for time in times.iter_rows(named=True):
        median, low, high = (seconds(time[f"seconds_{name}"]) for name in ("median", "p10", "p90"))
        setting = f"batch {time['batch_size']}, context {time['context']}, {time['source']} on {time['device']}"
        raw = f"raw median {median}, p10 {low}, p90 {high}"
        found = latency_cell(time["latency_seconds"], time["marked"])
        ratio = "" if time["relative"] is None else f", {time['relative']:.3f} of the reference's"
        console.print(f"{time['mode']}: {found}{ratio} ({raw}); {setting}")
    # A preset that promotion trained has no ancestors.
    if row["generation"] is not None:
        ancestors = lineage(folder, row["architecture_id"]).filter(pl.col("depth") > 0).collect()
        for parent in ancestors.iter_rows(named=True):
            name = f"{parent['architecture_id']} (generation {parent['generation']})"
            console.print(f"{'  ' * parent['depth']}from {name}: {parent['operator']}")
    tell_missing(folder)


def _other_objectives(folder: SearchFolder, row: Mapping[str, Any]) -> Iterator[str]:
    """A line for each objective that neither the table of blocks nor a result tells; of what the row has of them."""
    objectives = read_manifest(folder.manifest).config["search"]["objectives"]
    for one in (metric(objective["name"]) for objective in objectives):
        if one.is_static and one.name not in ("num_params", "num_active_params") and row.get(one.name) is not None:
            yield f"{one.heading}: {value_text(one, row[one.name])}"


def tell_missing(search: SearchFolder | Path) -> None:
    """Says which files of a search are gone; what was shown is right, but may not be all, which is exit code 1."""
    lines = missing_lines(search)
    for line in lines:
        Console(stderr=True, soft_wrap=True, highlight=False).print(line, markup=False)
    if lines:
        raise typer.Exit(INCOMPLETE)


def _rows_of(row: Mapping[str, Any], *frames: pl.LazyFrame) -> pl.DataFrame:
    return pl.concat(frames).filter(pl.col("architecture_id") == row["architecture_id"]).collect()


def candidates_table(frame: pl.DataFrame, title: str, search: Path) -> Table:
    """A table of leaderboard rows, costs in the objective's own mode.

    Args:
        frame: rows of `leaderboard`.
        title: above the table.
        search: its folder, whose configuration names the objectives.
    """
    config = read_manifest(SearchFolder.find(search).manifest).config
    columns = shown(objective["name"] for objective in config["search"]["objectives"])
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    has_again = "confirmed" in frame.columns and frame["confirmed"].count() > 0
    table.add_column("id")
    for name in ("gen", *_headings(columns, config["latency"]["objective"], has_again)):
        table.add_column(name, justify="right")
    table.add_column("blocks", overflow="fold")
    for row in frame.iter_rows(named=True):
        table.add_row(
            row["architecture_id"][:8], str(row["generation"]), *_cells(columns, row, has_again), row["pattern"]
        )
    return table


def _headings(columns: Sequence[Metric], mode: str, has_again: bool) -> Iterator[str]:
    for one in columns:
        # A table has less room than a line, so headings are short.
        yield mode if one.name == LATENCY else one.heading.replace("/token", "/tok")
        if one.name == LATENCY and has_again:
            yield "again"


def _cells(columns: Sequence[Metric], row: Mapping[str, Any], has_again: bool) -> Iterator[str]:
    for one in columns:
        if one.name != LATENCY:
            yield value_text(one, row[one.name])
            continue
        yield latency_cell(row[LATENCY], row["latency_marked"])
        if has_again:
            yield seconds(row["latency_again_seconds"])


def promoted(search: Path) -> None:
    """What was trained again on fresh seeds, where it has been: the test split, means over replicates."""
    rows = promoted_results(search).collect()
    if rows.is_empty():
        return
    mode = read_manifest(SearchFolder.find(search).manifest).config["latency"]["objective"]
    table = Table(title="trained again, test split", title_justify="left", box=None, pad_edge=False)
    costs = [metric(name) for name in ("num_active_params", "num_params")]
    for name in ("who", "test bits/byte", "min", "max", "runs", mode, *(one.heading for one in costs)):
        table.add_column(name, justify="left" if name == "who" else "right")
    table.add_column("blocks", overflow="fold")
    for row in rows.iter_rows(named=True):
        figures = (row["test_bits_per_byte"], row["test_min"], row["test_max"])
        table.add_row(
            row["name"] or f"found {row['architecture_id'][:8]}",
            *("failed" if figure is None else f"{figure:.3f}" for figure in figures),
            str(row["runs"]),
            latency_cell(row["latency_seconds"], row["latency_marked"]),
            *(value_text(one, row[one.name]) for one in costs),
            row["pattern"],
        )
    console.print(table)
    # This imports scipy, which takes a second.
    from harmony_core.scaling.promoted import small_to_large

    for told in small_to_large(search):
        console.print(str(told), markup=False)


def failed(search: Path) -> str:
    """How many of the search's candidates failed, and how: `3 diverged, 1 crashed (latency)`; unsaid is training."""
    tables = tables_of(read_manifest(SearchFolder.find(search).manifest).config)
    stages = {table.name: "" if table is TRAINING_TABLE else f" ({table.name})" for table in tables}
    counts = ledger(search).filter(pl.col("stage").is_in(list(stages))).group_by("stage", "reason").agg(pl.sum("count"))
    rows = counts.sort("stage", "count", "reason", descending=[True, True, False]).collect().iter_rows()
    return ", ".join(f"{number} {reason}{stages[stage]}" for stage, reason, number in rows)


def latency_told(search: Path) -> str:
    """What latencies are relative to, and how many may not be trusted; empty where none was measured."""
    folder = SearchFolder.find(search)
    bounds = reference_latency(folder)
    if bounds is None:
        return ""
    manifest = read_manifest(folder.manifest)
    name, mode = (manifest.config["latency"][key] for key in ("reference", "objective"))
    fastest, slowest, first = (seconds(bound) for bound in (*bounds, manifest.reference_latency.get(mode)))
    if not manifest.has_relative_latency:
        return f"latency: {mode}, not relative to {name}, which took {fastest} to {slowest} beside it"
    told = f"latency: {mode} relative to {name}, called in turns with it, times the {first} that it took at first"
    marked = latency(folder).filter(pl.col("mode") == mode).select(pl.col("marked").sum()).collect().item()
    mark = f"; ~ marks {marked} during which it moved by more than 10%" if marked else ""
    return f"{told} (later {fastest} to {slowest}){mark}"


def latency_cell(value: float | None, marked: bool | None) -> str:
    """A latency, with a `~` where its reference would not keep still."""
    return f"~{seconds(value)}" if marked else seconds(value)


def _recorded_blocks(row: Mapping[str, Any]) -> Table:
    """The table of a candidate's blocks; of kinds that are not installed what was recorded, without counts."""
    data = json.loads(row["architecture"])
    if all(is_block_kind(block["kind"]) for block in data["blocks"]):
        return blocks_table(Architecture.from_json(row["architecture"]))
    tied = data.get("tie_embeddings", Architecture.model_fields["tie_embeddings"].default)
    table = _table_of_blocks(data["d_model"], data["vocab_size"], tied)
    for index, block in enumerate(data["blocks"]):
        fields = ", ".join(f"{key} {value}" for key, value in block.items() if key != "kind")
        told = "" if is_block_kind(block["kind"]) else "not installed"
        table.add_row(str(index), block["kind"], fields, told)
    table.add_row("", "all", "", count(row["num_params"]), count(row["num_active_params"]))
    return table


def blocks_table(architecture: Architecture) -> Table:
    """The blocks in order, with their hyper-parameters and parameter counts."""
    table = _table_of_blocks(architecture.d_model, architecture.vocab_size, architecture.tie_embeddings)
    for index, block in enumerate(architecture.blocks):
        fields = {key: value for key, value in block.model_dump().items() if key in block.model_fields_set}
        text = ", ".join(f"{key} {value}" for key, value in fields.items())
        d_model = architecture.d_model
        counts = (count(block.num_params(d_model)), count(block.num_active_params(d_model)))
        table.add_row(str(index), block.kind, text, *counts)
    table.add_row("", "all", "", count(architecture.num_params()), count(architecture.num_active_params()))
    return table


def _table_of_blocks(d_model: int, vocab_size: int, tie_embeddings: bool) -> Table:
    tied = "tied" if tie_embeddings else "untied"
    title = f"d_model {d_model}, vocabulary {vocab_size} ({tied})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, justify in (("", "right"), ("block", "left"), ("hyper-parameters", "left"), ("params", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    table.add_column("active", justify="right")
    return table


def _result_line(result: dict[str, Any], has_rungs: bool) -> str:
    stage = "promoted" if result["generation"] is None else "trained"
    run = f"replicate {result['replicate']}, learning rate {result['learning_rate']:g}, attempt {result['attempt']}"
    rung = f", rung {result['rung']}" if has_rungs else ""
    head = f"{stage} ({run}{rung}): {result['status']}"
    if result["status"] != "ok":
        return f"{head}: {escape(str(result['error']))}"
    if result["test_bits_per_byte"] is not None:
        head += f", test {result['test_bits_per_byte']:.4f} bits/byte"
    return (
        f"{head}, validation {result['val_bits_per_byte']:.4f} bits/byte ({result['val_loss']:.4f} nats/token), "
        f"{result['tokens']} tokens in {result['seconds']:.1f} s, {result['precision']}, {result['device']}"
    )
