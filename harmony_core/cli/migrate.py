"""`harmony migrate`: a search of an older format, written anew in this one's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmony_core.store import SearchFolder, read_manifest
from harmony_core.store.schemas import FORMAT_VERSION


def migrate(
    source: Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")],
    destination: Annotated[Path, typer.Argument(help="The new folder; it must not hold anything yet.")],
) -> None:
    """Writes a search of an older format to a new folder in this one's; nothing in the old one is changed.

    Ids, losses and all other values stay; what was not recorded is null. What was written is read again and compared.
    Interrupted, the same command goes on.
    """
    from harmony_core.migration import migrate as migrate_search
    from harmony_core.progress import ProgressReader
    from harmony_core.workflow import already_run, main_lease

    old = SearchFolder.find(source)
    held = main_lease(old).holder()
    if held is not None:
        raise already_run(str(old.path), held)
    done = migrate_search(old, destination)
    if done is None:
        typer.echo(f"{old.path}: of format version {FORMAT_VERSION} already, nothing to be done")
        return
    typer.echo(f"{old.path}: of format version {done.version}, not changed")
    for line in done.changed:
        typer.echo(f"configuration: {line}")
    typer.echo(f"written anew: {done.tables} tables with {done.rows} rows, {done.journals} journals")
    typer.echo(f"copied as they are: {done.copied} other files")
    if done.left_out:
        typer.echo(f"left out: {done.left_out} files of work/ that only going on would need")
    typer.echo("compared: every id, every value and every copied file is as it was; what was not recorded is null")
    typer.echo(f"{destination}: of format version {FORMAT_VERSION}")
    new = SearchFolder(destination)
    why = read_manifest(new.manifest).why_it_ends(new.path)
    if why is not None and not ProgressReader(new).read().finished:
        typer.echo(str(why))
