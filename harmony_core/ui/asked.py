"""What a page asks of the candidates: filters, an order and a page, as named parameters that are checked one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

import polars as pl
from starlette.datastructures import QueryParams

from harmony_core.errors import UserError
from harmony_core.store.schemas import ORIGINS, STATUSES
from harmony_core.ui.families import FAMILIES, bit, kinds
from harmony_core.ui.generation_rows import Columns

# A candidate whose result is not there yet has no status.
PENDING = "pending"
MOST_ROWS = 200
# Columns that a table may be sorted by, beside the metrics.
_ORDERS = ("generation", "candidate", "architecture_id", "d_model", "num_blocks", "origin", "family", "status")
_PAGING = ("s", "sort", "order", "page", "size")


class Asked:
    """A question about the candidates of a search.

    Every parameter is a name that is known and a value that is one of few, a number, or digits of an id; none is an
    expression.

    Args:
        query: the request's parameters.
        columns: the search's.

    Raises:
        UserError: names the parameter that is wrong.
    """

    def __init__(self, query: QueryParams, columns: Columns) -> None:
        self._query, self._columns = query, columns
        self.filters = list(self._filters())
        orders = (*_ORDERS, *columns.metrics)
        self.sort = one_of("sort", query.get("sort", "val_bits_per_byte"), orders)
        self.descending = one_of("order", query.get("order", "asc"), ("asc", "desc")) == "desc"
        self.size = whole("size", query.get("size", "50"), 1, MOST_ROWS)
        self.page = whole("page", query.get("page", "0"), 0, 10**8)

    def page_of(self, rows: pl.DataFrame) -> tuple[int, pl.DataFrame]:
        """How many rows there are that were asked for, and those of the page; equals in the order of their making."""
        if self.filters:
            rows = rows.filter(self.filters)
        first = self.page * self.size
        keys = [self.sort, *(name for name in ("generation", "candidate") if name != self.sort)]
        descending = [self.descending, *([False] * (len(keys) - 1))]
        if first + self.size >= len(rows) // 4:
            ordered = rows.sort(keys, descending=descending, nulls_last=True)
            return len(rows), ordered.slice(first, self.size)
        # Of many rows the first few are found without an order of all.
        value = pl.col(self.sort)
        bound = value.is_not_null()
        near = rows.lazy().filter(bound).select(value.alias("v"))
        few = near.top_k(first + self.size, by="v") if self.descending else near.bottom_k(first + self.size, by="v")
        found = few.collect()["v"]
        if len(found) < first + self.size:
            return len(rows), rows.sort(keys, descending=descending, nulls_last=True).slice(first, self.size)
        last = found.min() if self.descending else found.max()
        chosen = rows.filter(value >= last if self.descending else value <= last)
        return len(rows), chosen.sort(keys, descending=descending).slice(first, self.size)

    def _filters(self) -> Iterable[pl.Expr]:
        simple: dict[str, Callable[[list[str]], pl.Expr]] = {
            "status": _statuses,
            "family": lambda values: _among("family", values, FAMILIES),
            "origin": lambda values: _among("origin", values, ORIGINS),
            "has": lambda values: _kinds("has", values, present=True),
            "hasnot": lambda values: _kinds("hasnot", values, present=False),
            "id": _ids,
        }
        for name in dict.fromkeys(self._query.keys()):
            values = self._query.getlist(name)
            if name in _PAGING:
                continue
            if name in simple:
                yield simple[name](values)
                continue
            bound, _, column = name.partition(".")
            if bound not in ("min", "max") or column not in (
                "generation",
                "d_model",
                "num_blocks",
                *self._columns.metrics,
            ):
                raise UserError(name, values[0], "no such parameter")
            limit = number(name, values[-1])
            yield pl.col(column) >= limit if bound == "min" else pl.col(column) <= limit


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """A value that is one of some; UserError for another.

    Args:
        name: of the parameter.
        value: what was asked for.
        choices: the values that there are.
    """
    if value not in choices:
        raise UserError(name, value, f"use one of {', '.join(choices)}")
    return value


def whole(name: str, value: str, least: int, most: int) -> int:
    """A whole number within bounds; UserError for what is none.

    Args:
        name: of the parameter.
        value: what was asked for.
        least: the lowest that is allowed.
        most: the highest.
    """
    if re.fullmatch("[0-9]{1,9}", value, re.ASCII) is None or not least <= int(value) <= most:
        raise UserError(name, value, f"use a whole number from {least} to {most}")
    return int(value)


def number(name: str, value: str) -> float:
    """A finite number; UserError for what is none."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UserError(name, value, "use a number")
    return found


def _among(name: str, values: list[str], choices: Sequence[str]) -> pl.Expr:
    return pl.col(name).is_in([one_of(name, value, choices) for value in values])


def _statuses(values: list[str]) -> pl.Expr:
    for value in values:
        one_of("status", value, (*STATUSES, PENDING))
    known = pl.col("status").is_in([value for value in values if value != PENDING])
    return known.fill_null(PENDING in values)


def _kinds(name: str, values: list[str], present: bool) -> pl.Expr:
    known = kinds()
    for value in values:
        one_of(name, value, known)
    masks = [(pl.col("kinds") & bit(value)) != 0 for value in values]
    return pl.all_horizontal(masks if present else [~mask for mask in masks])


def _ids(values: list[str]) -> pl.Expr:
    prefix = values[-1].lower()
    if re.fullmatch("[0-9a-f]{1,16}", prefix) is None:
        raise UserError("id", values[-1], "use the first hex digits of an architecture's id")
    return pl.col("architecture_id").str.starts_with(prefix)
