"""How a question about a search is asked and answered: options that all such commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console

from harmony_core.errors import UserError
from harmony_core.results.expression import filtered, in_order, read_columns, read_sort, read_where
from harmony_core.results.summaries import Summaries
from harmony_core.store import SearchFolder, missing_lines
from harmony_core.terminal.frame import Column, column, plain, table, to_csv, to_json

# The exit code where the answer is incomplete since files were deleted; 2 is no answer at all.
INCOMPLETE = 1
# A table is folded to a terminal's width. A file or a pipe has none, unless COLUMNS gives one.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 1000
console = Console(highlight=False, width=_WIDTH)

SearchArgument = Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")]
Where = Annotated[str | None, typer.Option("--where", metavar="SQL", help="Rows that this is true of.")]
Sort = Annotated[str | None, typer.Option("--sort", metavar="A,-B", help="Columns to sort by; - turns one around.")]
Columns = Annotated[str | None, typer.Option("--columns", metavar="A,B", help="Columns, in this order.")]
Limit = Annotated[int, typer.Option("-n", min=1, help="Rows.")]
Json = Annotated[bool, typer.Option("--json", help="JSON, with the name and version of its schema.")]
Csv = Annotated[bool, typer.Option("--csv", help="CSV, with a header.")]


@dataclass(frozen=True)
class Asked:
    """What was asked of a table beside which it is.

    Args:
        where: a condition on rows in Polars' SQL.
        sort: columns that they are sorted by.
        columns: those that are shown.
        as_json: whether the answer is JSON.
        as_csv: whether it is CSV.
    """

    where: str | None = None
    sort: str | None = None
    columns: str | None = None
    as_json: bool = False
    as_csv: bool = False

    def __post_init__(self) -> None:
        if self.as_json and self.as_csv:
            raise UserError("--csv", "and --json", "give one of them")

    @property
    def for_programs(self) -> bool:
        """Whether a program reads the answer, and nothing may stand beside it."""
        return self.as_json or self.as_csv

    def needs(self, schema: pl.Schema) -> list[str]:
        """The columns that condition and order are of; UserError for an unknown one, or a condition that is none."""
        names = [name for name, _ in self._keys(schema)]
        return [*names, *([] if self.where is None else read_where(self.where, schema).meta.root_names())]

    def shown(self, schema: pl.Schema, usual: Sequence[str]) -> list[str]:
        """The columns that are shown.

        Args:
            schema: of all that may be.
            usual: those that are where none are named.

        Raises:
            UserError: an unknown one.
        """
        return list(usual) if self.columns is None else read_columns(self.columns, schema)

    def rows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those that are wanted, in the order that is; UserError for a condition that is none of these columns."""
        if self.where is not None:
            rows = filtered(rows, read_where(self.where, rows.schema), self.where)
        return in_order(rows, self._keys(rows.schema))

    def of_table(self, rows: pl.DataFrame, limit: int | None = None) -> pl.DataFrame:
        """Rows and columns of a table that is there as a whole.

        Args:
            rows: all of them.
            limit: how many at most; None is all.
        """
        chosen = self.rows(rows)
        chosen = chosen if limit is None else chosen.head(limit)
        return chosen.select(self.shown(rows.schema, rows.columns))

    def answer(
        self, name: str, rows: pl.DataFrame, title: str, columns: Sequence[Column] | None = None, **told: Any
    ) -> None:
        """Prints the rows.

        Args:
            name: of the command.
            rows: with the columns that a program gets.
            title: above a person's table.
            columns: of that table; None, or columns that were asked for, is those of the rows.
            told: what JSON says beside the rows.
        """
        if self.as_json:
            print(to_json(name, rows, **told))
        elif self.as_csv:
            print(to_csv(rows), end="")
        else:
            if columns is None or self.columns is not None:
                columns = [column(one, kind) for one, kind in rows.schema.items()]
            print_table(rows, columns, title)

    def _keys(self, schema: pl.Schema) -> list[tuple[str, bool]]:
        return [] if self.sort is None else read_sort(self.sort, schema)


def print_table(rows: pl.DataFrame, columns: Sequence[Column], title: str) -> None:
    """Prints a table of as many columns as fit the terminal, and names those that do not.

    Args:
        rows: all are shown.
        columns: in order; the first ones are kept.
        title: above it.
    """
    made, left_out = table(rows, columns, console.width)
    console.print(plain(title), style="italic", markup=False, soft_wrap=True)
    console.print(made)
    if left_out:
        note = f"not shown, for want of room: {', '.join(left_out)}"
        console.print(plain(note), markup=False, soft_wrap=False)


def state_of(summaries: Summaries) -> dict[str, Any]:
    """What JSON says of a search: how far it is, and which of its files are gone."""
    folder = summaries.folder
    return {
        "search": {
            "name": folder.name,
            "path": str(folder.path),
            "generations": summaries.config["search"]["generations"],
            "begun": len(summaries.generations),
            "under_way": summaries.under_way,
        },
        "missing": missing_lines(folder),
    }


def tell_state(summaries: Summaries) -> None:
    """Says on standard error what an answer is not: of a search that is over and whole; exit code 1 for lost files."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    if summaries.under_way:
        numbers = ", ".join(map(str, summaries.under_way))
        errors.print(f"generation {numbers}: under way; this is what it had when its files were listed", markup=False)
    if summaries.not_kept is not None:
        errors.print(
            f"summaries cannot be kept, so that all is read again next time: {summaries.not_kept}", markup=False
        )
    tell_missing(summaries.folder)


def tell_missing(search: SearchFolder | Path) -> None:
    """Says which files of a search are gone; what was shown is right, but may not be all, which is exit code 1."""
    lines = missing_lines(search)
    for line in lines:
        Console(stderr=True, soft_wrap=True, highlight=False).print(line, markup=False)
    if lines:
        raise typer.Exit(INCOMPLETE)
