"""`harmony verify`: whether a search is what its configuration, seeds and measurements make of it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from harmony_core.cli.answer import SearchArgument, console
from harmony_core.store import SearchFolder

_SIGNS = {True: "ok", False: "[red]WRONG[/]", None: "not checked"}


def verify(
    search: SearchArgument,
    every: Annotated[bool, typer.Option("--all", help="A line a check, and not only what is wrong.")] = False,
) -> None:
    """Breeds every population and selects from it again, and compares every file's checksums and schema.

    Nothing is trained or written. The exit code is 1 where something is not what it should be. Another version of
    HARMONY may breed otherwise: the manifest says which one wrote the search.
    """
    # Imports torch.
    from harmony_core.cli.verification import verify as checks

    folder = SearchFolder.find(search)
    counts = dict.fromkeys(_SIGNS, 0)
    for check in checks(folder):
        counts[check.right] += 1
        if every or not check.right:
            console.print(f"{_SIGNS[check.right]}: {escape(check.what)}: {escape(check.told)}")
    told = f"{counts[True]} checks passed, {counts[False]} failed"
    console.print(f"search {escape(folder.name)}: {told}" + (f", {counts[None]} not made" if counts[None] else ""))
    if counts[False]:
        raise typer.Exit(1)
