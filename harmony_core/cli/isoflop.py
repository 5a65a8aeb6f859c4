"""`harmony isoflop`: sizes x budgets of some architectures, and what is compute-optimal."""

from __future__ import annotations

import json
import tempfile
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


def isoflop(
    config: Annotated[Path, typer.Argument(help="A YAML file: architectures, budgets, recipe, data.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; results/NAME by default.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what it costs, and train nothing.")] = False,
    again: Annotated[str | None, typer.Option(help="Train this run again from its row, and compare.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trainings at once.")] = None,
) -> None:
    """Trains sizes x budgets, fits power laws, and draws what is compute- and state-optimal.

    What is done stays done: the same command goes on, and a finished sweep is only told again.
    """
    from harmony_core.scaling.config import IsoflopConfig
    from harmony_core.scaling.sweep import Sweep
    from harmony_core.workers import WarmPool

    asked = IsoflopConfig.from_yaml(config)
    sweep = Sweep.open(asked, out or Path("results") / asked.name, _say)
    tell_plan(sweep)
    if plan:
        return
    if again is not None:
        _train_again(sweep, again)
        return
    pool = WarmPool(sweep.folder / "work" / "logs", workers=workers or asked.workers)
    sweep.run(pool, lambda row, done, total: _say(f"{done}/{total} {_line(row)}"))
    tell(sweep)


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


def tell(sweep: Sweep) -> None:
    """The minima and the exponents, on the console and in files beside the rows."""
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
    console.print(_minima(findings))
    for law, exponent in findings.exponents.items():
        _say(f"exponent of {law.of}, {law.within}: {exponent}")
    for path in write_figures(found, findings, sweep.folder / "figures"):
        _say(f"drawn: {path}")


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


def _line(row: dict[str, Any]) -> str:
    loss = f"{row['val_loss']:.4f} nats/token" if row["val_loss"] is not None else f"{row['status']}: {row['error']}"
    return f"{row['run']} {loss}"


def _say(line: str) -> None:
    console.print(line, markup=False)
