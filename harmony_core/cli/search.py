"""`harmony search`: runs a configuration's search; Snakemake beneath."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harmony_core.cli.set_option import changes
from harmony_core.cli.snakemake_call import snakemake_arguments
from harmony_core.errors import UserError
from harmony_core.search.checking import located, read_checked
from harmony_core.store import SearchFolder
from harmony_core.workflow import RESULTS, main_lease, only_looks


def search(
    config: Annotated[Path, typer.Argument(help="A configuration file; `harmony init` writes one.")],
    snakemake: Annotated[
        list[str] | None, typer.Argument(metavar="[-- SNAKEMAKE...]", help="Options of Snakemake's, after `--`.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="search.generations=3: not as in the file.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="A Snakemake profile: the only one in profiles/ here, or local; or slurm, or a folder."),
    ] = None,
) -> None:
    """Searches as a configuration says, in this folder: results/NAME. Ctrl-C stops it, `harmony resume` goes on.

    Snakemake's own command is printed and then run. Exit codes: 0, all is done; 1, something failed, and
    the same command tries again; 2, bad input.
    """
    arguments = prepared(config, settings or (), profile, snakemake or ())
    typer.echo(f"snakemake {shlex.join(arguments)}")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *arguments])


def prepared(config: Path, settings: Sequence[str], profile: str | None, more: Sequence[str]) -> list[str]:
    """Snakemake's arguments, once all that is wrong would have been told, and a search that was killed is unlocked.

    Args:
        config: the configuration file.
        settings: `NAME=VALUE` each, over it.
        profile: as for `snakemake_arguments`.
        more: likewise.

    Raises:
        UserError: bad input; of a configuration all mistakes.
    """
    changed = changes(settings)
    try:
        read = read_checked(config, changed)
    except UserError as error:
        raise located(error, config, changed) from None
    arguments = snakemake_arguments(config, changed, profile, more)
    check_writable()
    if not only_looks(more):
        folder = SearchFolder(RESULTS / read.search.name)
        unlock(folder, folder.main, arguments)
    return arguments


def check_writable() -> None:
    """Refuses a folder in which Snakemake could not work."""
    for folder in (Path(), Path(".snakemake")):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise UserError("folder", folder.absolute(), "Snakemake writes here; run this where you may write")


def unlock(folder: SearchFolder, started: Path, arguments: Sequence[str]) -> None:
    """Takes away what a main process that was killed has left locked here.

    Args:
        folder: of the search or sweep.
        started: the file that says that it was started.
        arguments: Snakemake's.
    """
    is_left = started.is_file() and any(Path(".snakemake/locks").glob("*"))
    if is_left and main_lease(folder).holder() is None:
        command = [sys.executable, "-m", "snakemake", *arguments, "--unlock"]
        if subprocess.run(command, check=False).returncode:
            raise UserError("search", folder.path, "it stays locked, for the reason that Snakemake gives; correct that")
