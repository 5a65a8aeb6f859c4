"""`harmony failures`: who failed, at what, and why."""

from __future__ import annotations

from collections import Counter

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
    state_of,
    tell_state,
)
from harmony_core.results.failures import failures as failures_of
from harmony_core.results.summaries import Summaries
from harmony_core.terminal.frame import Column, plain, value_of


def failures(
    search: SearchArgument,
    limit: Limit = 20,
    where: Where = None,
    sort: Sort = None,
    columns: Columns = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """The candidates that failed, at what, and why; exit code 1 where files of the search are missing."""
    asked = Asked(where, sort, columns, as_json, as_csv)
    summaries = Summaries(search)
    everybody = asked.rows(failures_of(summaries))
    rows = everybody if asked.for_programs else everybody.head(limit)
    rows = rows.select(asked.shown(rows.schema, rows.columns))
    shown = [
        Column("architecture_id", "id", lambda row: row["architecture_id"][:8], is_text=True),
        Column("", "gen", lambda row: "promoted" if row["generation"] is None else value_of(row["generation"])),
        Column("stage", "stage", is_text=True),
        Column("status", "status", is_text=True),
        Column("error", "error", is_text=True, wraps=True),
        Column("host", "host", is_text=True, wraps=True),
    ]
    told = state_of(summaries) if as_json else {}
    asked.answer("failures", rows, f"{summaries.folder.name}: failures", shown, **told)
    if not asked.for_programs:
        counts = Counter(everybody.select("stage", "status").iter_rows())
        each = ", ".join(f"{count} {status} ({stage})" for (stage, status), count in sorted(counts.items()))
        more = f", {len(rows)} of them shown (-n)" if len(rows) < len(everybody) else ""
        console.print(plain(f"{len(everybody)} failures{': ' * bool(each)}{each}{more}"), markup=False)
    tell_state(summaries)
