"""`harmony isoflop`: sizes x budgets of some architectures, and what is compute-optimal."""

from __future__ import annotations

import io
import json
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from harmony_core.errors import UserError
from harmony_core.terminal.format import count

if TYPE_CHECKING:
    from harmony_core.scaling.laws import Findings
    from harmony_core.scaling.sweep import Sweep

console = Console(highlight=False, soft_wrap=True)
_MACHINES = ("frontier", "h100")
# What was found, in words; its lines are as wide as they need to be up to this.
LAWS, _WIDTH = "laws.txt", 120


def isoflop(
    config: Annotated[Path, typer.Argument(help="A YAML file: architectures, budgets, recipe, data.")],
    snakemake: Annotated[
        list[str] | None, typer.Argument(metavar="[-- SNAKEMAKE...]", help="Options of Snakemake's, after `--`.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what it costs, and train nothing.")] = False,
    again: Annotated[str | None, typer.Option(help="Train this run again from its row, and compare.")] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="A Snakemake profile: the only one in profiles/ here, or local; or slurm, or a folder."),
    ] = None,
) -> None:
    """Trains sizes x budgets, fits power laws, and draws what is compute- and state-optimal.

    Snakemake runs it in this folder: results/NAME. What is done stays done: the same command goes on, and a finished
    sweep is only told again. Exit codes: 0, all is done; 1, something failed; 2, bad input.
    """
    from harmony_core.scaling.config import IsoflopConfig
    from harmony_core.scaling.sweep import Sweep
    from harmony_core.workflow import RESULTS

    asked = IsoflopConfig.from_yaml(config)
    sweep = Sweep.open(asked, RESULTS / asked.name, _say)
    tell_plan(sweep)
    if again is not None:
        _train_again(sweep, again)
    elif not plan:
        _run(sweep, config, profile, snakemake or ())


def _run(sweep: Sweep, config: Path, profile: str | None, more: Sequence[str]) -> None:
    """Snakemake to its end, and then what was found."""
    from harmony_core.cli.search import check_writable, unlock
    from harmony_core.cli.snakemake_call import snakemake_arguments
    from harmony_core.resources import shipped
    from harmony_core.store.folder import SWEEP_FILE, SearchFolder
    from harmony_core.workflow import only_looks

    own = ("--snakefile", str(shipped("workflow/isoflop.smk")))
    arguments = snakemake_arguments(config, {}, profile, (*own, *more))
    check_writable()
    if not only_looks(more):
        unlock(SearchFolder(sweep.folder), sweep.folder / SWEEP_FILE, arguments)
    _say(f"snakemake {shlex.join(arguments)}")
    sys.stdout.flush()
    code = _wait([sys.executable, "-m", "snakemake", *arguments])
    if code:
        raise typer.Exit(code)
    if not only_looks(more):
        _say((sweep.folder / LAWS).read_text(encoding="utf-8").rstrip("\n"))


def _wait(command: Sequence[str]) -> int:
    """A command's exit code; what ends this process ends that one, which says what is done."""
    with subprocess.Popen(command) as child:
        # Ctrl-C reaches both.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        code = child.wait()
    return code if code >= 0 else 128 - code


def tell_plan(sweep: Sweep) -> None:
    """What the sweep begins with, and what that would take elsewhere."""
    from harmony_core.machines import Machine
    from harmony_core.scaling.cost import price

    trainings = list(sweep.trainings(sweep.first_plan()))
    flops = sum(one.recipe.all_tokens * one.ladder.flops_per_token(one.step) for one in trainings)
    tokens = sum(one.recipe.all_tokens for one in trainings)
    points = sum(len(one.budgets) for one in trainings)
    most = max(one.recipe.tokens for one in trainings) / sweep.train_tokens
    _say(f"{len(trainings)} trainings for {points} points: {flops:.3g} FLOPs, {count(tokens)} tokens")
    _say(f"the text of {sweep.train_tokens} tokens is read {most:.1f} times at most")
    _say(f"where the sizes do not bracket a minimum: up to {sweep.config.rounds} more on that side")
    for name in _MACHINES:
        _say(str(price([(one.architecture, one.recipe) for one in trainings], Machine.from_yaml(name))))


def tell(sweep: Sweep) -> str:
    """The minima and the exponents in words, which are also in files beside the rows, with what was drawn."""
    from harmony_core.scaling.figures import write_figures
    from harmony_core.scaling.laws import judge
    from harmony_core.scaling.rows import points
    from harmony_core.scaling.sweep import read_rows
    from harmony_core.store import atomic_write

    found = points(read_rows(sweep.folder).to_dicts())
    if not found:
        raise UserError(str(sweep.folder), "no training ended well", "its runs.parquet says how each failed")
    findings = judge(found, sweep.config.seed)
    atomic_write(sweep.folder / "laws.json", json.dumps(findings.told(), indent=2).encode() + b"\n")
    buffer = io.StringIO()
    page = Console(file=buffer, width=_WIDTH, highlight=False, soft_wrap=True)
    page.print(_minima(findings))
    for law, exponent in findings.exponents.items():
        page.print(f"exponent of {law.of}, {law.within}: {exponent}", markup=False)
    for path in write_figures(found, findings, sweep.folder / "figures"):
        page.print(f"drawn: {path}", markup=False)
    text = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
    atomic_write(sweep.folder / LAWS, text.encode() + b"\n")
    return text


def told(row: dict[str, Any]) -> str:
    """A line for the row of a training's last budget."""
    loss = f"{row['val_loss']:.4f} nats/token" if row["val_loss"] is not None else f"{row['status']}: {row['error']}"
    return f"{row['run']} {loss}"


def _train_again(sweep: Sweep, run: str) -> None:
    with tempfile.TemporaryDirectory(prefix="harmony-") as work:
        pairs = sweep.again(run, Path(work))
    for then, now in pairs:
        same = "equal to the bit" if then["val_loss"] == now["val_loss"] else "different"
        _say(f"{then['budget']:.3g} FLOPs: {then['val_loss']} then, {now['val_loss']} now: {same}")
    if any(then["val_loss"] != now["val_loss"] for then, now in pairs):
        raise typer.Exit(1)


def _minima(findings: Findings) -> Table:
    table = Table(title="compute-optimal", title_justify="left", box=None, pad_edge=False)
    for name in ("architecture", "FLOPs", "parameters", "tokens", "loss", "cache and state"):
        table.add_column(name, justify="left" if name == "architecture" else "right")
    for curve, one in findings.optima.items():
        if one is None:
            cells = ["no minimum", "", "", ""]
        else:
            beyond = "" if one.bracketed else " (beyond the sizes)"
            cells = [f"{count(one.params)}{beyond}", count(one.tokens), f"{one.loss:.4f}", count(one.state)]
        table.add_row(curve.architecture, f"{curve.budget:.3g}", *cells)
    return table


def _say(line: str) -> None:
    console.print(line, markup=False)
