"""A candidate by its id or its preset's name: the first digits are enough, and the search may stand before it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from harmony_core.architecture.presets import load_preset, preset_names, with_vocab
from harmony_core.errors import UserError
from harmony_core.store import POPULATION, SearchFolder, population, population_row, read_manifest
from harmony_core.store.evaluators import KEY
from harmony_core.store.queries import scan

IdArgument = Annotated[
    str, typer.Argument(help="An architecture's id, or its first digits, or a preset's name; or SEARCH/ID.")
]
CandidateArgument = Annotated[
    list[str],
    typer.Argument(metavar="[SEARCH] CANDIDATE", help="An architecture's id, or its first digits, or a preset's name."),
]
SearchOption = Annotated[Path | None, typer.Option(help="Where to look; every search under results/ by default.")]
Found = tuple[SearchFolder, dict[str, Any]]
_FIELD = "ID"
_MOST_NAMED = 4
# Promotion trains a preset also at other sizes, which its operator tells: `preset llama-nano: 2x`.
_IS_GROWN = pl.col("operator").str.contains(": ", literal=True) & pl.col("generation").is_null()


def find_candidate(text: str | Sequence[str], search: Path | None) -> Found:
    """The search and population row of the one candidate that is meant.

    Args:
        text: an id, or its first digits, or the name of a preset that the search began with or promoted; before it,
            with a slash or as a word of its own, the name or folder of its search.
        search: where to look; None is every search under `results/`. One that cannot be read there is passed over,
            and said.

    Raises:
        UserError: nobody is meant, or several are: of different ids, or one that several searches have.
    """
    text = _as_one(text)
    found, unread = _matches(text, search, promoted=False)
    if not found:
        also = f" ({', '.join(unread)} could not be read)" if unread else ""
        raise UserError(_FIELD, text, f"no candidate has this id{also}; take one from `harmony top`")
    return _only(text, found)


def find_any(text: str | Sequence[str], search: Path | None) -> tuple[SearchFolder | None, dict[str, Any]]:
    """As `find_candidate`; a preset that the search has not got is a row of no search: it has costs and no results."""
    text = _as_one(text)
    given, _, name = text.rpartition("/")
    if name in preset_names():
        found, _ = _matches(text, search, promoted=False)
        where = search or given
        return _only(text, found) if found else (None, _of_preset(name, SearchFolder.find(where) if where else None))
    return find_candidate(text, search)


def _of_preset(name: str, folder: SearchFolder | None) -> dict[str, Any]:
    """A row of a preset, over a search's vocabulary and at the length of its sequences where one is given."""
    from harmony_core.training.recipe import Recipe

    preset, length = load_preset(name), Recipe().sequence_length
    if folder is not None:
        manifest = read_manifest(folder.manifest)
        preset = with_vocab(preset, manifest.data["vocab_size"])
        length = manifest.config["recipe"]["sequence_length"]
    where: dict[str, Any] = {
        "search": "",
        "generation": None,
        "candidate": 0,
        "origin": "preset",
        "operator": "preset",
        "name": name,
    }
    return population_row(preset, sequence_length=length, **where)


def find_promoted(text: str, search: Path | None) -> Found:
    """As `find_candidate`, among the promoted; UserError for one that no search promoted."""
    found, _ = _matches(text, search, promoted=True)
    if not found:
        folder, _ = find_candidate(text, search)
        fix = "take an id of the second table of `harmony top`, or train it: harmony show ID --yaml, harmony train"
        raise UserError(_FIELD, text, f"{folder.name} did not promote it; {fix}")
    return _only(text, found)


def _as_one(text: str | Sequence[str]) -> str:
    """`SEARCH/ID` of what was given as one word or two."""
    if isinstance(text, str):
        return text
    if len(text) > 2:
        raise UserError("CANDIDATE", " ".join(text), "give one candidate, and before it at most its search")
    return "/".join(text)


def _only(text: str, found: list[Found]) -> Found:
    """The one that was found; UserError for several."""
    ids = sorted({row["architecture_id"] for _, row in found})
    if len(ids) > 1:
        raise UserError(_FIELD, text, f"begins {len(ids)} ids ({_some(ids)}); give more digits")
    if len(found) > 1:
        prefix = text.rpartition("/")[2]
        places = _some([f"{folder.name}/{prefix}" for folder, _ in found])
        raise UserError(_FIELD, text, f"is in {len(found)} searches; write one of {places}")
    return found[0]


def _matches(text: str, search: Path | None, promoted: bool) -> tuple[list[Found], list[str]]:
    """Everybody who is meant, and the names of searches that could not be read."""
    given, _, prefix = text.rpartition("/")
    if given and search is not None:
        raise UserError(_FIELD, text, f"names its search, and so does --search {search}; leave one out")
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
    """The first row of each architecture of a search that is meant: in the search, or promoted."""
    own = pl.col("architecture_id").str.starts_with(prefix) | ((pl.col("name") == prefix) & ~_IS_GROWN)
    # The ids of a large search are read, and of its architectures only those that are meant.
    narrow = [*KEY, "architecture_id", "name", "operator"]
    tables = [population(folder, promoted=True, columns=narrow)]
    tables = tables if promoted else [population(folder, columns=narrow), *tables]
    meant = pl.concat(tables).filter(own).unique("architecture_id", keep="first", maintain_order=True).collect()
    found = list(meant.iter_rows(named=True))
    # Of several the ids are told, and no more.
    return [(folder, row if len(found) > 1 else _whole(folder, row)) for row in found]


def _whole(folder: SearchFolder, row: dict[str, Any]) -> dict[str, Any]:
    """All columns of a candidate, or of one that promotion trained."""
    rows = scan([folder.population(row["generation"])], POPULATION).filter(pl.col("candidate") == row["candidate"])
    return rows.collect().row(0, named=True)


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
