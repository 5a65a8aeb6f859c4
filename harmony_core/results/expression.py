"""Expressions and columns that people type: checked against a table before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from harmony_core.errors import UserError
from harmony_core.results.sql_words import refuse_all_but_values


def read_where(text: str, schema: pl.Schema, field: str = "--where") -> pl.Expr:
    """A condition on rows in the SQL of Polars, such as `num_params < 1e6 and operator = 'swap'`.

    Args:
        text: the expression.
        schema: the table's columns and types.
        field: what its mistakes are told of.

    Raises:
        UserError: it is no expression, names an unknown column, or is neither true nor false of a row.
    """
    refuse_all_but_values(text, field)
    fix = "use an expression such as: num_params < 1e6 and status = 'ok'"
    try:
        expression = pl.sql_expr(text)
        unknown = [name for name in expression.meta.root_names() if name not in schema]
        if unknown:
            raise UserError(field, unknown[0], f"no such column; there are {', '.join(schema)}")
        kind = pl.DataFrame(schema=schema).lazy().select(expression).collect_schema().dtypes()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UserError(field, text, f"{first_line(error)}; {fix}") from None
    if kind != [pl.Boolean()]:
        raise UserError(field, text, f"is {kind[0]} and not true or false; {fix}")
    return expression


def filtered(rows: pl.DataFrame, where: pl.Expr, text: str, field: str = "--where") -> pl.DataFrame:
    """The rows of which a condition is true.

    Args:
        rows: with all columns that it names.
        where: of `read_where`.
        text: what it was read from.
        field: what its mistakes are told of.

    Raises:
        UserError: a value has it fail, as a regular expression that is none does.
    """
    try:
        return rows.filter(where)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UserError(field, text, f"{first_line(error)}; change it") from None


def read_columns(text: str, schema: pl.Schema, field: str = "--columns") -> list[str]:
    """Names of columns, separated by commas, each once; UserError for one that is unknown.

    Args:
        text: what was typed.
        schema: the table's columns.
        field: what its mistakes are told of.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in schema:
            raise UserError(field, name, f"no such column; there are {', '.join(schema)}")
    return names


def read_sort(text: str, schema: pl.Schema, field: str = "--sort") -> list[tuple[str, bool]]:
    """Columns that rows are sorted by and whether downwards: `val_loss,-num_params`; UserError for an unknown one.

    Args:
        text: names, separated by commas; a `-` before one turns it around.
        schema: the table's columns.
        field: what its mistakes are told of.
    """
    keys = [name.strip() for name in text.split(",")]
    names = read_columns(",".join(key.removeprefix("-") for key in keys), schema, field)
    for name in names:
        if isinstance(schema[name], pl.List | pl.Struct):
            raise UserError(field, name, "holds lists, which have no order; sort by another column")
    return [(key.removeprefix("-").strip(), key.startswith("-")) for key in keys]


def in_order(rows: pl.DataFrame, keys: Sequence[tuple[str, bool]]) -> pl.DataFrame:
    """Rows sorted as `read_sort` says, equal ones as they were, missing values last."""
    names, downwards = [name for name, _ in keys], [down for _, down in keys]
    return rows.sort(names, descending=downwards, nulls_last=True, maintain_order=True) if names else rows


def first_line(error: BaseException) -> str:
    """The reason that Polars gives, without its plan."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":; ")
