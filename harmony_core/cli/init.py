"""`harmony init`: a folder to begin a search of one's own in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from harmony_core.cli.init_files import Answers, Place, begun
from harmony_core.errors import UserError

_PLACES: tuple[Place, ...] = ("laptop", "slurm", "frontier")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder: a new one, or one with your text.")],
    place: Annotated[
        Literal["laptop", "slurm", "frontier"] | None, typer.Option("--for", help="Where the search will run.")
    ] = None,
    text: Annotated[
        list[Path] | None, typer.Option(help="A file or folder of text to train on; without any, the demo's.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The search's name, by default the folder's.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of Slurm, where it is not the default one.")] = None,
    account: Annotated[str | None, typer.Option(help="Of Slurm, where a job has to name one.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is not given is as by default.")] = False,
) -> None:
    """Writes a configuration with comments, a search space and a profile of your own, never over what is there.

    Asks for what is not given.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("DIR", folder, "is a file; name a folder")
    _refuse_existing(folder, ["config.yaml", "space.yaml"])
    given = place or ("laptop" if yes else _place())
    texts = text if text is not None else ([] if yes else _texts())
    by_default = folder.resolve().name
    called = name or (by_default if yes else typer.prompt("Name of the search", default=by_default))
    if given != "laptop" and not yes:
        partition = partition or typer.prompt(
            "Slurm partition (empty: the default one)", default="", show_default=False
        )
        account = account or typer.prompt("Slurm account (empty: none)", default="", show_default=False)
    files = begun(Answers(given, called, tuple(texts), partition or None, account or None))
    _refuse_existing(folder, list(files))
    for path, (content, mode) in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        # Not over what somebody else writes meanwhile either.
        with (folder / path).open("x", encoding="utf-8") as file:
            file.write(content)
        (folder / path).chmod(mode)
        typer.echo(folder / path)
    typer.echo("next:")
    for command in _next(folder, given):
        typer.echo(f"  {command}")


def _refuse_existing(folder: Path, names: list[str]) -> None:
    there = [one for one in names if (folder / one).exists() or (folder / one).is_symlink()]
    if there:
        raise UserError("DIR", folder, f"{there[0]} is there already, and nothing was written; name another folder")


def _place() -> Place:
    told = typer.prompt(f"Where will it run ({', '.join(_PLACES)})", default="laptop")
    found = next((one for one in _PLACES if one == told.strip().lower()), None)
    if found is None:
        raise UserError("--for", told, f"use one of {', '.join(_PLACES)}")
    return found


def _texts() -> list[Path]:
    told = typer.prompt("Text to train on, files or folders (empty: the demo's)", default="", show_default=False)
    return [Path(one) for one in shlex.split(told)]


def _next(folder: Path, place: Place) -> list[str]:
    """What to type now."""
    commands = [f"cd {shlex.quote(str(folder))}", "harmony config check config.yaml"]
    if place == "frontier":
        commands.append("profiles/frontier/pack.sh")
    if place != "laptop":
        commands.append(f"harmony doctor --profile profiles/{place} --configfile config.yaml")
    return [*commands, "harmony search config.yaml"]
