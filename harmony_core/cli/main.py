"""The `harmony` command: what people type, and what the workflow's rules call (`harmony run`)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

import harmony_core
from harmony_core.cli.commands import Commands

if TYPE_CHECKING:
    from harmony_core.errors import UserError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harmony {harmony_core.__version__}")
        raise typer.Exit


@app.callback()
def harmony(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Its version.")
    ] = False,
) -> None:
    """HARMONY finds efficient hybrid language models."""


def main() -> None:
    """Runs the command; bad input, and what the file system refuses, is one line on standard error and exit code 2."""
    code = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        # The rest of the buffer goes nowhere. Else the interpreter would try once more to write it, and exit with code
        # 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # It is no mistake where a reader, such as `head`, has seen enough.
        if not isinstance(error, BrokenPipeError) and code == 0:
            from harmony_core.atomic import refusal

            code = _refused(refusal(OSError(error.errno, error.strerror, "standard output")))
    sys.exit(code)


def _run() -> int:
    """The command's exit code."""
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        return ended.code or 0
    except Exception as error:
        # Their classes are imported where one of them may have been raised; `harmony --help` needs none.
        return _ended(error)
    return 0


def _ended(error: Exception) -> int:
    """The exit code of a command that ended so; what is no mistake of a person's is raised again."""
    from harmony_core.atomic import refusal
    from harmony_core.errors import UserError
    from harmony_core.workers.lease import LeaseLost
    from harmony_core.workers.task import WorkInterrupted

    if isinstance(error, UserError):
        return _refused(error)
    if isinstance(error, OSError):
        return _refused(refusal(error))
    if isinstance(error, WorkInterrupted | LeaseLost):
        _tell(f"not finished: {error}")
        # EX_TEMPFAIL of sysexits.h; the executor plugin submits such a job again.
        return os.EX_TEMPFAIL
    raise error


def _refused(error: UserError) -> int:
    for one in error.every:
        _tell(str(one), "[red]error:[/] ")
    return error.EXIT_CODE


def _tell(line: str, before: str = "") -> None:
    """A line on standard error, whatever is in it as text."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, soft_wrap=True).print(f"{before}{escape(line)}", highlight=False)
