"""The `harmony` command: what people type, and what the workflow's rules call (`harmony run`)."""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console
from rich.markup import escape

from harmony_core.cli import (
    calibrate,
    config,
    cost,
    doctor,
    export,
    plan,
    query,
    report,
    reproduce,
    resume,
    run,
    scale,
    train,
    watch,
)
from harmony_core.errors import UserError
from harmony_core.workers.lease import LeaseLost
from harmony_core.workers.task import Interrupted

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
app.command()(cost.cost)
app.command()(calibrate.calibrate)
app.command()(plan.plan)
app.command()(train.train)
app.command()(scale.scale)
app.command()(watch.watch)
app.command()(resume.resume)
app.command()(doctor.doctor)
app.add_typer(config.app, name="config")
app.add_typer(run.app, name="run")


def main() -> None:
    """Runs the command; bad input is one line on standard error and exit code 2."""
    try:
        app()
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(UserError.EXIT_CODE)
    except (Interrupted, LeaseLost) as stopped:
        Console(stderr=True, soft_wrap=True).print(f"not finished: {escape(str(stopped))}", highlight=False)
        # EX_TEMPFAIL of sysexits.h: the executor plugin submits such a job again.
        sys.exit(os.EX_TEMPFAIL)
