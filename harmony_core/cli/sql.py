"""`harmony sql`: one SELECT over a search's tables."""

from __future__ import annotations

from typing import Annotated

import typer

from harmony_core.cli.answer import Asked, Csv, Json, SearchArgument, state_of, tell_state
from harmony_core.results.sql import select
from harmony_core.results.summaries import Summaries


def sql(
    search: SearchArgument,
    query: Annotated[str, typer.Argument(help="One SELECT, such as: select operator, count(*) from candidates ...")],
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Answers a SELECT over candidates, training, latency, curves, lineage, selection and the other tables."""
    asked = Asked(as_json=as_json, as_csv=as_csv)
    summaries = Summaries(search)
    rows = select(summaries, query)
    asked.answer("sql", rows, f"{summaries.folder.name}: {len(rows)} rows", **(state_of(summaries) if as_json else {}))
    tell_state(summaries)
