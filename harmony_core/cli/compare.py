"""`harmony compare`: two candidates, or two searches."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Annotated, Any

import polars as pl
import typer

from harmony_core.cli.answer import Asked, Columns, Csv, Json, Limit, Sort, Where, console, state_of, tell_state
from harmony_core.cli.candidate import find_any
from harmony_core.errors import UserError
from harmony_core.metrics import LATENCY, LOSS, METRICS, metric, static_metrics
from harmony_core.results.changes import changes
from harmony_core.results.comparison import candidates_compared, searches_compared
from harmony_core.results.summaries import Summaries
from harmony_core.results.views import promoted_results
from harmony_core.store import SearchFolder
from harmony_core.terminal.format import seconds, value_text
from harmony_core.terminal.frame import Column, plain

_Side = Annotated[str, typer.Argument(help="A search, or a candidate: its id, a preset's name, or SEARCH/ID.")]


def compare(
    a: _Side,
    b: _Side,
    limit: Limit = 20,
    where: Where = None,
    sort: Sort = None,
    columns: Columns = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Two candidates metric by metric and block by block, or two searches by the architectures that both have."""
    asked = Asked(where, sort, columns, as_json, as_csv)
    sides = [_search(text) for text in (a, b)]
    if sides[0] is not None and sides[1] is not None:
        _searches(asked, Summaries(sides[0]), Summaries(sides[1]), limit)
    elif sides == [None, None]:
        _candidates(asked, a, b)
    else:
        raise UserError("compare", f"{a} and {b}", "one is a search, the other is none; give two of a kind")


def _search(text: str) -> SearchFolder | None:
    """The search that is meant; None where it is none."""
    try:
        return SearchFolder.find(text)
    except UserError as error:
        if error.field == "search":
            return None
        raise


def _searches(asked: Asked, first: Summaries, second: Summaries, limit: int) -> None:
    every = searches_compared(first, second)
    rows = asked.of_table(every, None if asked.for_programs else limit)
    names = [one.folder.name for one in (first, second)]
    told = {"a": state_of(first), "b": state_of(second)} if asked.as_json else {}
    shown = [
        Column("architecture_id", "id", lambda row: row["architecture_id"][:8], is_text=True),
        *(_cell(f"{LOSS}_{side}", f"bits/byte {side}", LOSS) for side in "ab"),
        Column("", "b - a", lambda row: f"{row[f'{LOSS}_difference']:+.4f}"),
        *(_cell(f"{LATENCY}_{side}", f"latency {side}", LATENCY) for side in "ab"),
        _cell("num_active_params", "active", "num_active_params"),
        Column("pattern", "blocks", is_text=True, wraps=True),
    ]
    asked.answer("compare", rows, f"a: {names[0]}, b: {names[1]}: architectures of both", shown, **told)
    if not asked.for_programs:
        shared = f"{len(every)} architectures are in both"
        if len(every):
            differences = every[f"{LOSS}_difference"].to_list()
            lower = sum(one < 0 for one in differences)
            shared += f"; b - a in bits/byte: median {statistics.median(differences):+.4f}, {lower} lower in b"
        console.print(plain(shared), markup=False, soft_wrap=True)
    for one in (first, second):
        tell_state(one)


def _cell(name: str, heading: str, declared: str) -> Column:
    return Column(name, heading, lambda row: value_text(metric(declared), row[name]))


def _candidates(asked: Asked, a: str, b: str) -> None:
    found = [find_any(text, None) for text in (a, b)]
    values = [_metrics(folder, row) for folder, row in found]
    names = [name for name in METRICS if any(one.get(name) is not None for one in values)]
    rows = asked.of_table(candidates_compared(values[0], values[1], names))
    texts = [row["architecture"] for _, row in found]
    changed = changes(*texts)
    ids = [row["architecture_id"] for _, row in found]
    sides = [
        {"architecture_id": row["architecture_id"], "name": row["name"], "search": folder and folder.name}
        for folder, row in found
    ]
    shown = [
        Column("metric", "metric", lambda row: metric(row["metric"]).label, is_text=True),
        *(Column(side, side, _value(side)) for side in "ab"),
        Column("", "b / a", lambda row: "-" if row["ratio"] is None else f"{row['ratio']:.3f}"),
    ]
    told = {"a": sides[0], "b": sides[1], "changed": changed}
    asked.answer("compare", rows, f"a: {a} ({ids[0]}), b: {b} ({ids[1]})", shown, **told)
    if not asked.for_programs:
        for line in ["what makes b of a:", *(f"  {one}" for one in changed)] if changed else ["one architecture"]:
            console.print(plain(line), markup=False, soft_wrap=True)


def _value(side: str) -> Any:
    def cell(row: Mapping[str, Any]) -> str:
        declared = metric(row["metric"])
        if declared.name == LOSS and row[side] is not None:
            return f"{row[side]:.4f}"
        return seconds(row[side]) if declared.format == "seconds" else value_text(declared, row[side])

    return cell


def _metrics(folder: SearchFolder | None, row: dict[str, Any]) -> dict[str, Any]:
    """A candidate's metrics by name, as far as it has them; of the promoted what promotion measured."""
    known = {one.name: row.get(one.name) for one in static_metrics()}
    if folder is None:
        return known
    if row["generation"] is None:
        rows = promoted_results(folder).filter(pl.col("candidate") == row["candidate"]).collect()
        return {**known, **(rows.row(0, named=True) if len(rows) else {})}
    summaries = Summaries(folder)
    key = pl.DataFrame({"generation": [row["generation"]], "candidate": [row["candidate"]]})
    names = [name for name in METRICS if name in summaries.schema]
    found = summaries.completed(key.cast(pl.Int32), names).row(0, named=True)
    return {**known, **found}
