"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperOption

from harmony_core.cli.commands import Named
from harmony_core.cli.main import app
from harmony_core.errors import UserError

_HEAD = f"""# Commands
As `harmony COMMAND --help` prints it. SEARCH is a folder, or a name under `results/`; an ID is an architecture's id, or
its first digits, or SEARCH/ID.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | done, but the answer may lack something: files of the search are missing, which are named |
| {UserError.EXIT_CODE} | refused: one line says what is wrong and how to mend it; nothing was changed |
| {os.EX_TEMPFAIL} | stopped before the end, by a signal or a time limit: the same command goes on |

`make help` lists the targets of the Makefile. `snakemake --help` has the options of the workflow's own command;
[Executor plugin](../executor.md) those that begin with `--submitit`.
"""


def page() -> str:
    """Markdown: a section a command, with its options."""
    root = typer.main.get_command(app)
    return "\n".join([_HEAD, *(_section(path, command) for path, command in _commands(root, ""))])


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, named in group.commands.items():
        command = named.load() if isinstance(named, Named) else named
        path = f"{prefix} {name}".strip()
        if hasattr(command, "commands"):
            yield from _commands(command, path)
        elif not command.hidden:
            yield path, command


def _section(path: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if parameter.name != "help" and not parameter.hidden]
    arguments = [one for one in shown if isinstance(one, TyperArgument)]
    usage = " ".join([f"harmony {path}", *map(_usage, arguments), *(["[OPTIONS]"] if shown != arguments else [])])
    lines = [f"## harmony {path}", f"```text\n{usage}\n```", " ".join((command.help or "").split()), ""]
    if shown:
        lines += ["| | default | meaning |", "|---|---|---|", *map(_row, shown), ""]
    return "\n".join(lines)


def _usage(argument: TyperArgument) -> str:
    name = argument.name.upper().removeprefix("ARCHITECTURE_")
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _row(parameter: TyperArgument | TyperOption) -> str:
    if isinstance(parameter, TyperArgument):
        names = f"`{_usage(parameter)}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        names += "" if parameter.is_flag else f" {_kind(parameter)}"
    told = "required" if parameter.required else _default(parameter.default)
    cells = (names, told, " ".join((parameter.help or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _kind(option: TyperOption) -> str:
    """What an option takes, in a word; what it chooses from where that is known."""
    annotation = option.type_descriptor.annotation
    if typing.get_origin(annotation) is list:
        (annotation,) = typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(str(one.value) for one in annotation)
    if choices := typing.get_args(annotation):
        return ", ".join(str(choice) for choice in choices)
    return {int: "integer", float: "number", str: "text", Path: "path"}[annotation]


def _default(default: object) -> str:
    if default is None or callable(default) or default in ((), [], "", False):
        return ""
    return "on" if default is True else f"`{getattr(default, 'value', default)}`"
