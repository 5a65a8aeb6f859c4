"""`harmony show`: one candidate, with all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import polars as pl
import typer

from harmony_core.architecture import Architecture, is_block_kind
from harmony_core.cli.answer import Asked, Columns, Csv, Json, console, state_of, tell_state
from harmony_core.cli.blocks import print_blocks
from harmony_core.cli.candidate import CandidateArgument, SearchOption, find_any
from harmony_core.metrics import LATENCY, LOSS, metric
from harmony_core.results.ancestry import ancestry
from harmony_core.results.summaries import Summaries
from harmony_core.store import LATENCY as LATENCY_ROWS
from harmony_core.store import TRAINING, SearchFolder, population
from harmony_core.store.queries import scan
from harmony_core.terminal.format import count, latency_cell, seconds, value_text
from harmony_core.terminal.frame import plain

_MOST_ANCESTORS = 20


def show(
    candidate: CandidateArgument,
    search: SearchOption = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Its YAML file alone, for `harmony train`.")] = False,
    columns: Columns = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """One candidate: its blocks, costs, results and ancestors; exit code 1 where files of its search are missing."""
    asked = Asked(columns=columns, as_json=as_json, as_csv=as_csv)
    folder, row = find_any(candidate, search)
    if as_yaml:
        typer.echo(Architecture.from_json(row["architecture"]).to_yaml(), nl=False)
        return
    found = _Found(folder, row)
    if asked.for_programs or columns is not None:
        rows = found.as_row()
        told = {**found.state(), **found.tables()} if as_json else {}
        asked.answer("show", asked.of_table(rows), row["architecture_id"], **told)
    else:
        found.print()
    if found.summaries is not None:
        tell_state(found.summaries)


class _Found:
    """A candidate with its results and ancestors.

    Args:
        folder: its search's; None for a preset that no search has.
        row: of the population.
    """

    def __init__(self, folder: SearchFolder | None, row: dict[str, Any]) -> None:
        self.folder, self.row = folder, row
        self.summaries = None if folder is None else Summaries(folder)
        empty = pl.DataFrame()
        self.results = self.times = self.ancestors = empty
        if self.folder is not None and self.summaries is not None:
            self.results, self.times = self._measured(self.folder)
            # A preset that promotion trained has no ancestors.
            if row["generation"] is not None:
                self.ancestors = ancestry(self.summaries, row["architecture_id"])

    def _measured(self, folder: SearchFolder) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Its rows of training and latency, from the generations in which it was born and from promotion."""
        is_it = pl.col("architecture_id") == self.row["architecture_id"]
        born = population(folder, columns=["generation", "architecture_id"]).filter(is_it).collect()
        places = [*sorted(born["generation"].unique()), None]
        training, latency = (
            scan([path for one in places for path in folder.shards(one, name)], schema, keep=is_it).collect()
            for name, schema in (("training", TRAINING), ("latency", LATENCY_ROWS))
        )
        return training, latency

    def as_row(self) -> pl.DataFrame:
        """All that is one value of the candidate, in one row."""
        row = pl.DataFrame([self.row], infer_schema_length=None)
        if self.summaries is None or self.row["generation"] is None:
            return row
        return self.summaries.completed(
            row.cast({"generation": pl.Int32, "candidate": pl.Int32}), list(self.summaries.schema)
        )

    def state(self) -> dict[str, Any]:
        """How far its search is."""
        return {} if self.summaries is None else state_of(self.summaries)

    def tables(self) -> dict[str, Any]:
        """What there are several rows of."""
        return {
            "blocks": json.loads(self.row["architecture"])["blocks"],
            **{"training": self.results.to_dicts(), "latency": self.times.to_dicts()},
            "lineage": self.ancestors.to_dicts(),
        }

    def print(self) -> None:
        """Prints all for a person."""
        row = self.row
        name = "" if row["name"] is None else f"  {row['name']}"
        where = "no search" if self.folder is None else f"search {self.folder.name}"
        head = f"{row['architecture_id']}{name}  {row['origin']}: {row['operator']}  ({where})"
        console.print(plain(head), markup=False, soft_wrap=True)
        print_blocks(row["architecture"])
        for line in (*self._costs(), *self._results(), *self._times(), *self._ancestry()):
            console.print(plain(line), markup=False, soft_wrap=True)

    def _costs(self) -> Iterator[str]:
        """FLOPs, cache and state, and whatever else the search minimises of an architecture."""
        row = self.row
        yield f"training: {count(row['flops_per_token'])} FLOP/token"
        cache = f"cache: {count(row['kv_bytes_per_token'])} bytes/token"
        if self.summaries is not None:
            context = self.summaries.config["recipe"]["sequence_length"]
            if (architecture := _installed(row)) is not None:
                forward = architecture.flops_per_token(context, "prefill")
                yield f"prefill: {count(forward)} FLOP/token at {context} tokens"
                cache += f", {count(architecture.kv_cache_bytes(context))} bytes at {context} tokens"
        yield f"{cache}; state: {count(row['state_bytes'])} bytes a sequence (bf16)"
        told = {"num_params", "num_active_params", "flops_per_token", "kv_bytes_per_token", "state_bytes"}
        for name in () if self.summaries is None else self.summaries.objectives:
            one = metric(name)
            if one.is_static and name not in told and row.get(name) is not None:
                yield f"{one.heading}: {value_text(one, row[name])}"

    def _results(self) -> Iterator[str]:
        has_rungs = not self.results.is_empty() and (self.results["rung"] > 0).any()
        for result in self.results.iter_rows(named=True):
            yield _result_line(result, bool(has_rungs))

    def _times(self) -> Iterator[str]:
        for time in self.times.iter_rows(named=True):
            median, low, high = (seconds(time[f"seconds_{name}"]) for name in ("median", "p10", "p90"))
            setting = f"batch {time['batch_size']}, context {time['context']}, {time['source']} on {time['device']}"
            raw = f"raw median {median}, p10 {low}, p90 {high}"
            found = latency_cell(time["latency_seconds"], time["marked"])
            ratio = "" if time["relative"] is None else f", {time['relative']:.3f} of the reference's"
            yield f"{time['mode']}: {found}{ratio} ({raw}); {setting}"

    def _ancestry(self) -> Iterator[str]:
        """What each variation changed, newest first, and what that did to loss, latency and size."""
        for row in self.ancestors.head(_MOST_ANCESTORS).iter_rows(named=True):
            indent = "  " * row["depth"]
            who = f"{row['architecture_id']} (generation {row['generation']})"
            yield f"{indent}{'from ' if row['depth'] else ''}{who}: {row['operator']}"
            if row["changed"] is not None:
                yield f"{indent}  changed: {'; '.join(row['changed']) or 'nothing'}{_moved(row)}"
        if len(self.ancestors) > _MOST_ANCESTORS:
            yield f"and {len(self.ancestors) - _MOST_ANCESTORS} more ancestors: `harmony lineage` has all"


def _moved(row: Mapping[str, Any]) -> str:
    """By how much a variation moved the metrics of its first parent: `; bits/byte 2.100 (-1.2%)`."""
    told = []
    for name in (LOSS, LATENCY, "num_active_params", "flops_per_token", "kv_bytes_per_token", "state_bytes"):
        change = row.get(f"{name}_change")
        if change and row[name] - change:
            declared = metric(name)
            told.append(f"{declared.heading} {change / (row[name] - change):+.1%} to {value_text(declared, row[name])}")
    return f"; {', '.join(told)}" if told else ""


def _installed(row: Mapping[str, Any]) -> Architecture | None:
    """The architecture; None where a kind of its blocks is not installed."""
    kinds = {block["kind"] for block in json.loads(row["architecture"])["blocks"]}
    return Architecture.from_json(row["architecture"]) if all(map(is_block_kind, kinds)) else None


def _result_line(result: dict[str, Any], has_rungs: bool) -> str:
    stage = "promoted" if result["generation"] is None else "trained"
    run = f"replicate {result['replicate']}, learning rate {result['learning_rate']:g}, attempt {result['attempt']}"
    rung = f", rung {result['rung']}" if has_rungs else ""
    head = f"{stage} ({run}{rung}): {result['status']}"
    if result["status"] != "ok":
        return f"{head}: {result['error']}"
    test, validation, loss = (
        "-" if result[name] is None else f"{result[name]:.4f}"
        for name in ("test_bits_per_byte", "val_bits_per_byte", "val_loss")
    )
    head += "" if result["test_bits_per_byte"] is None else f", test {test} bits/byte"
    return (
        f"{head}, validation {validation} bits/byte ({loss} nats/token), {result['tokens']} tokens in "
        f"{seconds(result['seconds'])}, {result['precision']}, {result['device']}"
    )
