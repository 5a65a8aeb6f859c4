"""A candidate by its id: the first digits are enough, and `SEARCH/ID` where several searches have it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from harmony_core.errors import UserError
from harmony_core.store import SearchFolder, population

IdArgument = Annotated[str, typer.Argument(help="An architecture's id, or its first digits; or SEARCH/ID.")]
SearchOption = Annotated[Path | None, typer.Option(help="Where to look; every search under results/ by default.")]
Found = tuple[SearchFolder, dict[str, Any]]
_MOST_NAMED = 4


def find_candidate(text: str, search: Path | None) -> Found:
    """The search and population row of the one candidate that is meant.

    Args:
        text: an id, or its first digits; before it, with a slash, the name or folder of its search.
        search: where to look; None is every search under `results/`. One that cannot be read there is passed over,
            and said.

    Raises:
        UserError: nobody is meant, or several are: of different ids, or one that several searches have.
    """
    found, unread = _matches(text, search, promoted=False)
    if not found:
        also = f" ({', '.join(unread)} could not be read)" if unread else ""
        raise UserError("ID", text, f"no candidate has this id{also}; take one from `harmony top`")
    return _only(text, found)


def find_promoted(text: str, search: Path | None) -> Found:
    """As `find_candidate`, among the promoted; UserError for one that no search promoted."""
    found, _ = _matches(text, search, promoted=True)
    if not found:
        folder, _ = find_candidate(text, search)
        fix = "take an id of the second table of `harmony top`, or train it: harmony show ID --yaml, harmony train"
        raise UserError("ID", text, f"{folder.name} did not promote it; {fix}")
    return _only(text, found)


def _only(text: str, found: list[Found]) -> Found:
    """The one that was found; UserError for several."""
    ids = sorted({row["architecture_id"] for _, row in found})
    if len(ids) > 1:
        raise UserError("ID", text, f"begins {len(ids)} ids ({_some(ids)}); give more digits")
    if len(found) > 1:
        prefix = text.rpartition("/")[2]
        places = _some([f"{folder.name}/{prefix}" for folder, _ in found])
        raise UserError("ID", text, f"is in {len(found)} searches; write one of {places}")
    return found[0]


def _matches(text: str, search: Path | None, promoted: bool) -> tuple[list[Found], list[str]]:
    """Everybody who is meant, and the names of searches that could not be read."""
    given, _, prefix = text.rpartition("/")
    if given and search is not None:
        raise UserError("ID", text, f"names its search, and so does --search {search}; leave one out")
    if given or search is not None:
        return _within(SearchFolder.find(search or given), prefix, promoted), []
    found: list[Found] = []
    unread: list[str] = []
    for folder in SearchFolder.all():
        try:
            found += _within(folder, prefix, promoted)
        except (UserError, OSError) as error:
            unread.append(folder.name)
            print(f"not looked into: search {folder.name}: {error}", file=sys.stderr)
    return found, unread


def _within(folder: SearchFolder, prefix: str, promoted: bool) -> list[Found]:
    """The first row of each architecture of a search whose id begins so: in the search, or promoted."""
    own = pl.col("architecture_id").str.starts_with(prefix)
    tables = [population(folder, promoted=True)]
    rows = pl.concat(tables if promoted else [population(folder), *tables], how="diagonal").filter(own).collect()
    first = rows.unique("architecture_id", keep="first", maintain_order=True)
    return [(folder, row) for row in first.iter_rows(named=True)]


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
