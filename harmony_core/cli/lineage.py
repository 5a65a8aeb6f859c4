"""`harmony lineage`: where a candidate comes from, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harmony_core.cli.answer import Asked, Columns, Csv, Json, Sort, Where, state_of, tell_state
from harmony_core.cli.candidate import CandidateArgument, SearchOption, find_candidate
from harmony_core.errors import UserError
from harmony_core.metrics import LATENCY, LOSS, metric
from harmony_core.results.ancestry import ancestry
from harmony_core.results.summaries import Summaries
from harmony_core.terminal.format import value_text
from harmony_core.terminal.frame import Column

_MOST_CHANGES = 4


def lineage(
    candidate: CandidateArgument,
    search: SearchOption = None,
    where: Where = None,
    sort: Sort = None,
    columns: Columns = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """A candidate and its ancestors: what each variation changed, and what that did to the metrics."""
    asked = Asked(where, sort, columns, as_json, as_csv)
    folder, row = find_candidate(candidate, search)
    if row["generation"] is None:
        raise UserError("CANDIDATE", " ".join(candidate), "promotion trained it alone; only candidates have ancestors")
    summaries = Summaries(folder)
    rows = asked.of_table(ancestry(summaries, row["architecture_id"]))
    told = state_of(summaries) if as_json else {}
    title = f"{folder.name}: lineage of {row['architecture_id']}"
    asked.answer("lineage", rows, title, family_columns(), **told)
    tell_state(summaries)


def family_columns() -> list[Column]:
    """What a person is shown of a family: how far each variation moved loss, latency and size of its first parent."""
    return [
        Column("depth", "depth"),
        Column("architecture_id", "id", lambda row: row["architecture_id"][:8], is_text=True),
        Column("generation", "gen"),
        Column("operator", "operator", is_text=True, wraps=True),
        *(Column(name, metric(name).heading, _moved(name)) for name in (LOSS, LATENCY, "num_active_params")),
        Column("changed", "changed", _changed, is_text=True, wraps=True),
    ]


def _changed(row: Mapping[str, Any]) -> str:
    """The first changes, and how many more there are; JSON has all."""
    every = row["changed"]
    if every is None:
        return "-"
    more = [f"and {len(every) - _MOST_CHANGES} more"] if len(every) > _MOST_CHANGES else []
    return "; ".join([*every[:_MOST_CHANGES], *more]) or "nothing"


def _moved(name: str) -> Callable[[Mapping[str, Any]], str]:
    declared = metric(name)

    def cell(row: Mapping[str, Any]) -> str:
        value, change = row[name], row[f"{name}_change"]
        told = value_text(declared, value)
        if value is None or change is None:
            return told
        before = value - change
        return f"{told} ({change / before:+.1%})" if before else told

    return cell
