"""The `harmony` command: what people type, and what the workflow's rules call (`harmony run`)."""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console
from rich.markup import escape

from harmony_core.atomic import refusal
from harmony_core.cli import (
    aggregate,
    calibrate,
    config,
    cost,
    doctor,
    export,
    grow,
    isoflop,
    mad,
    migrate,
    plan,
    query,
    report,
    reproduce,
    resume,
    run,
    scale,
    train,
    ui,
    watch,
)
from harmony_core.errors import UserError
from harmony_core.workers.lease import LeaseLost
from harmony_core.workers.task import WorkInterrupted

app = typer.Typer(
    help="HARMONY finds efficient hybrid language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(query.top)
app.command()(query.pareto)
app.command()(query.show)
app.command()(report.report)
app.command()(export.export)
app.command()(reproduce.reproduce)
app.command("aggregate")(aggregate.aggregate_search)
app.command("grow")(grow.grow_architecture)
app.command()(cost.cost)
app.command()(calibrate.calibrate)
app.command()(plan.plan)
app.command()(train.train)
app.command()(scale.scale)
app.command()(isoflop.isoflop)
app.command()(mad.mad)
app.command()(watch.watch)
app.command()(ui.ui)
app.command()(resume.resume)
app.command()(migrate.migrate)
app.command()(doctor.doctor)
app.add_typer(config.app, name="config")
app.add_typer(run.app, name="run")


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
    except UserError as error:
        return _refused(error)
    except OSError as error:
        return _refused(refusal(error))
    except (WorkInterrupted, LeaseLost) as stopped:
        Console(stderr=True, soft_wrap=True).print(f"not finished: {escape(str(stopped))}", highlight=False)
        # EX_TEMPFAIL of sysexits.h; the executor plugin submits such a job again.
        return os.EX_TEMPFAIL
    return 0


def _refused(error: UserError) -> int:
    for one in error.every:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/] {escape(str(one))}", highlight=False)
    return UserError.EXIT_CODE
