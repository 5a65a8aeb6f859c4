"""One SELECT over a search's tables, in the SQL of Polars."""

from __future__ import annotations

import polars as pl

from harmony_core.errors import UserError
from harmony_core.results.expression import first_line
from harmony_core.results.sql_words import Token, refuse_all_but_select
from harmony_core.results.summaries import Summaries
from harmony_core.results.tables import NamedTables

_FIELD = "sql"


def select(summaries: Summaries, query: str) -> pl.DataFrame:
    """What a SELECT finds in the tables of `NamedTables`; it reads those that it names, and writes nothing.

    Args:
        summaries: the search's.
        query: exactly one SELECT, of the words that `sql_words` allows.

    Raises:
        UserError: it is something else, or fails; a file is damaged.
    """
    pieces = refuse_all_but_select(query, _FIELD)
    tables = NamedTables(summaries)
    names = {piece.name for piece in pieces if piece.kind in ("word", "quoted")}
    named = [name for name in tables.schemas if name in names]
    context = pl.SQLContext(register_globals=False, eager=False)
    for name in named:
        schema = tables.schemas[name]
        columns = None if _takes_all(pieces) else [column for column in schema if column.lower() in names]
        # A table of no columns has no rows to count.
        context.register(name, tables.read(name, columns or (None if columns is None else schema.names()[:3])))
    try:
        plan = context.execute(query)
        # The words above leave no function that reads a file; what would is refused a second time where it shows.
        if " SCAN [" in plan.explain(optimized=False):
            raise UserError(_FIELD, query, "it reads files; ask the search's tables alone")
        return plan.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        # What Polars takes for all columns are those that were read.
        reason = first_line(error).partition("; valid columns")[0]
        if isinstance(error, pl.exceptions.ColumnNotFoundError):
            known = "; ".join(f"{name} has {', '.join(tables.schemas[name])}" for name in named)
        else:
            known = f"the tables are {', '.join(tables.schemas)}"
        raise UserError(_FIELD, query, f"{reason}; {known}") from None


def _takes_all(pieces: list[Token]) -> bool:
    """Whether it asks for columns that it does not name: by a star that counts no rows, or by a natural join."""
    before = ["", *(piece.text for piece in pieces)]
    stars = any(piece.text == "*" and previous != "(" for piece, previous in zip(pieces, before, strict=False))
    return stars or any(piece.name in ("natural", "columns") for piece in pieces if piece.kind == "word")
