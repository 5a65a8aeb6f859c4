"""`harmony top` and `pareto`: the best that a search has found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from harmony_core.cli.answer import (
    Asked,
    Columns,
    Csv,
    Json,
    Limit,
    SearchArgument,
    Sort,
    Where,
    console,
    print_table,
    state_of,
    tell_state,
)
from harmony_core.metrics import LATENCY, LOSS, metric, shown
from harmony_core.results.budget import spending
from harmony_core.results.fronts import again_on, front_of
from harmony_core.results.summaries import LEFT_OUT, Summaries
from harmony_core.results.tally import Tally
from harmony_core.results.views import ended_well, promoted_results
from harmony_core.store.evaluators import KEY, TRAINING_TABLE
from harmony_core.terminal.format import latency_cell, seconds, value_text
from harmony_core.terminal.frame import Column

_LATER = {name: pl.String() for name in LEFT_OUT}
_AGAIN = {"latency_again_seconds": pl.Float64(), "confirmed": pl.Boolean()}


def top(
    search: SearchArgument,
    limit: Limit = 10,
    where: Where = None,
    sort: Sort = None,
    columns: Columns = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The best candidates by validation bits per byte; exit code 1 where files are missing, and maybe better ones."""
    asked = Asked(where, sort, columns, as_json, as_csv)
    summaries = Summaries(search)
    schema = pl.Schema({**summaries.schema, "violation": pl.Float64()})
    needed, wanted = asked.needs(schema), asked.shown(pl.Schema({**schema, **_LATER}), list(schema))
    rows = asked.rows(ended_well(summaries, needed))
    # Of a million the first few are found sooner than an order of all.
    rows = rows.head(limit) if asked.sort else rows.bottom_k(limit, by=[LOSS, *KEY]).sort(LOSS, *KEY)
    tally = summaries.tally()
    rows = summaries.completed(rows, _read(summaries, asked, wanted))
    told = {**state_of(summaries), "failed": _failures(tally), "promoted": _promoted_rows(summaries)} if as_json else {}
    title = f"{summaries.folder.name}: best candidates"
    columns_of = candidate_columns(summaries, rows)
    asked.answer("top", rows.select(one for one in wanted if one in rows.columns), title, columns_of, **told)
    if not asked.for_programs:
        promoted(summaries)
        for line in (failed(tally), latency_told(summaries, tally), _spent(summaries, tally)):
            if line:
                console.print(line, markup=False)
    tell_state(summaries)


def pareto(
    search: SearchArgument,
    where: Where = None,
    sort: Sort = None,
    columns: Columns = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The candidates that no other beats in every objective; exit code 1 where files are missing."""
    asked = Asked(where, sort, columns, as_json, as_csv)
    summaries = Summaries(search)
    schema = pl.Schema({**summaries.schema, "violation": pl.Float64(), **_AGAIN})
    needed, wanted = asked.needs(schema), asked.shown(pl.Schema({**schema, **_LATER}), list(schema))
    # Whoever a condition leaves out may still beat others.
    front = front_of(summaries)
    front = summaries.completed(front, ["architecture_id", *_read(summaries, asked, wanted), *needed])
    rows = asked.rows(again_on(front, summaries))
    told = state_of(summaries) if as_json else {}
    title = f"{summaries.folder.name}: Pareto front"
    columns_of = candidate_columns(summaries, rows)
    asked.answer("pareto", rows.select(one for one in wanted if one in rows.columns), title, columns_of, **told)
    if not asked.for_programs:
        if line := latency_told(summaries, summaries.tally()):
            console.print(line, markup=False)
        if num_again := rows["confirmed"].count():
            stay = f"{rows['confirmed'].sum()} of {num_again} stay on the front"
            console.print(f"again: measured anew together with the baselines, in turns; {stay}")
    tell_state(summaries)


def _read(summaries: Summaries, asked: Asked, wanted: Sequence[str]) -> list[str]:
    """The columns that rows are completed with: those that were asked for, all for a program, else what is shown."""
    if asked.columns is not None or asked.for_programs:
        return list(wanted)
    metrics = [one.name for one in shown(summaries.objectives) if one.name in summaries.schema]
    return ["architecture_id", "pattern", "latency_marked", *metrics]


def candidate_columns(summaries: Summaries, rows: pl.DataFrame) -> list[Column]:
    """What a person is shown of candidates: the usual metrics and the objectives, costs in the objective's own mode.

    Args:
        summaries: of the search, whose configuration names the objectives.
        rows: what is shown of them; with `confirmed`, latencies that were measured again stand beside the others.
    """
    has_again = "confirmed" in rows.columns and rows["confirmed"].count() > 0
    mode = summaries.config["latency"]["objective"]
    columns = [
        Column("architecture_id", "id", lambda row: row["architecture_id"][:8], is_text=True),
        Column("generation", "gen"),
    ]
    for one in shown(summaries.objectives):
        if one.name == LATENCY:
            columns.append(Column(LATENCY, mode, lambda row: latency_cell(row[LATENCY], row["latency_marked"])))
            if has_again:
                columns.append(Column("", "again", lambda row: seconds(row["latency_again_seconds"])))
        else:
            # A table has less room than a line, so headings are short.
            heading = one.heading.replace("/token", "/tok")
            columns.append(Column(one.name, heading, lambda row, one=one: value_text(one, row[one.name])))  # type: ignore[misc]
    return [*columns, Column("pattern", "blocks", is_text=True, wraps=True)]


def promoted(summaries: Summaries) -> None:
    """Prints what was trained again on fresh seeds, where it has been: the test split, means over replicates."""
    rows = promoted_results(summaries.folder).collect()
    if rows.is_empty():
        return
    mode = summaries.config["latency"]["objective"]
    figures = {"test bits/byte": "test_bits_per_byte", "min": "test_min", "max": "test_max"}
    columns = [
        Column("", "who", lambda row: row["name"] or f"found {row['architecture_id'][:8]}", is_text=True),
        *(Column(name, heading, _figure(name)) for heading, name in figures.items()),
        Column("runs", "runs"),
        Column("", mode, lambda row: latency_cell(row["latency_seconds"], row["latency_marked"])),
        *(Column(name, metric(name).heading, _value(name)) for name in ("num_active_params", "num_params")),
        Column("pattern", "blocks", is_text=True, wraps=True),
    ]
    print_table(rows, columns, "trained again, test split")
    # Only what was grown has a size to be compared with; this imports scipy, which takes a second.
    if rows["operator"].str.contains(": ", literal=True).any():
        from harmony_core.scaling.promoted import small_to_large

        for told in small_to_large(summaries.folder):
            console.print(str(told), markup=False)


def _promoted_rows(summaries: Summaries) -> list[dict[str, Any]]:
    """What was trained again, for JSON: as `promoted` of `harmony sql`, but for the architectures."""
    return promoted_results(summaries.folder).drop("architecture").collect().to_dicts()


def _figure(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "failed" if row[name] is None else f"{row[name]:.3f}"


def _value(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: value_text(metric(name), row[name])


def failed(tally: Tally) -> str:
    """How many of the search's candidates failed, and how: `3 diverged, 1 crashed (latency)`; unsaid is training."""
    counts = [
        (stage != TRAINING_TABLE.name, stage, -count, reason) for (stage, reason), count in tally.failures.items()
    ]
    told = [
        f"{-count} {reason}{f' ({stage})' if is_other else ''}" for is_other, stage, count, reason in sorted(counts)
    ]
    return f"failed: {', '.join(told)}" if told else ""


def _failures(tally: Tally) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "reason": reason, "count": count} for (stage, reason), count in sorted(tally.failures.items())
    ]


def latency_told(summaries: Summaries, tally: Tally) -> str:
    """What latencies are relative to, and how many may not be trusted; empty where none was measured."""
    if not tally.reference_seconds:
        return ""
    manifest = summaries.manifest
    name, mode = (manifest.config["latency"][key] for key in ("reference", "objective"))
    bounds = (*tally.reference_seconds, manifest.reference_latency.get(mode))
    fastest, slowest, first = (seconds(bound) for bound in bounds)
    if not manifest.has_relative_latency:
        return f"latency: {mode}, not relative to {name}, which took {fastest} to {slowest} beside it"
    told = f"latency: {mode} relative to {name}, called in turns with it, times the {first} that it took at first"
    mark = f"; ~ marks {tally.marked} during which it moved by more than 10%" if tally.marked else ""
    return f"{told} (later {fastest} to {slowest}){mark}"


def _spent(summaries: Summaries, tally: Tally) -> str:
    spent = spending(summaries.folder, recorded=tally.device_seconds)
    return "" if spent is None else f"budget: {spent} spent"
