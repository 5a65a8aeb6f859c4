"""`harmony run`: the steps of a search, one a command, as the workflow's rules call them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from harmony_core.cli import lines
from harmony_core.store import SearchFolder, atomic_write, population, read_table, schemas
from harmony_core.store.folder import SEARCH_VARIABLE

if TYPE_CHECKING:
    from harmony_core.evaluation.launcher import Launcher

app = typer.Typer(help="The steps of a search; the workflow calls these.", no_args_is_help=True)
console = Console(soft_wrap=True, highlight=False)

Search = Annotated[Path, typer.Option(help="Folder of the search, results/NAME.")]
Generation = Annotated[int, typer.Option(min=0)]
Shard = Annotated[int, typer.Option(min=0)]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores of a local launch; all by default.")]
Kind = Annotated[
    Literal["local", "srun"],
    typer.Option("--launcher", help="Fork here, or use every task of this process's Slurm allocation."),
]
Flags = Annotated[str, typer.Option(help="What this site's srun needs, as one text.")]


@app.command()
def data(search: Search) -> None:
    """Prepares the data, from the configuration in the search's work folder."""
    from harmony_core.config import Config
    from harmony_core.evaluation.prepare import prepare_data

    folder = SearchFolder(search)
    found = prepare_data(Config.from_yaml(folder.config), folder, _say)
    atomic_write(folder.data, found.model_dump_json(indent=2).encode() + b"\n")


@app.command()
def settle(search: Search) -> None:
    """Settles what must not change later (precision, the reference's costs) and writes the manifest."""
    from harmony_core.config import Config
    from harmony_core.evaluation.prepare import settle_search

    folder = SearchFolder(search)
    manifest = settle_search(Config.from_yaml(folder.config), folder, _say)
    console.print(lines.prepared(search.name, manifest))


@app.command()
def mutate(search: Search, generation: Generation) -> None:
    """Breeds a generation."""
    from harmony_core.evolution.generation import mutate_generation

    bred = mutate_generation(SearchFolder(search), generation)
    if bred.reasons:
        why = "; ".join(bred.reasons)
        console.print(f"[bold]generation {generation}[/]: {bred.candidates} of {bred.wanted} candidates: {why}")


@app.command()
def train(
    search: Search,
    generation: Generation,
    shard: Shard,
    cores: Cores = None,
    launcher: Kind = "local",
    srun_flags: Flags = "",
) -> None:
    """Trains a shard of a generation."""
    from harmony_core.evaluation.setting import Setting
    from harmony_core.evaluation.training_shard import train_shard

    setting = Setting.open(search)

    def report(row: dict[str, Any], done: int, total: int) -> None:
        console.print(lines.trained(row, patterns, f"generation {generation}", done, total))

    rows = shard_rows(setting, generation, shard)
    patterns = {row["candidate"]: row["pattern"] for row in rows}
    chosen = _launcher(launcher if rows else "local", cores, srun_flags)
    train_shard(setting, rows, generation, shard, report=report, launcher=chosen)


@app.command()
def latency(
    search: Search, generation: Generation, shard: Shard, launcher: Kind = "local", srun_flags: Flags = ""
) -> None:
    """Finds the latency of a shard of a generation."""
    from harmony_core.evaluation.latency_shard import benchmark_shard
    from harmony_core.evaluation.setting import Setting

    setting = Setting.open(search)
    rows = shard_rows(setting, generation, shard)
    chosen = _launcher(launcher if rows else "local", None, srun_flags)
    benchmark_shard(setting, rows, generation, shard, report=_silent, launcher=chosen)


@app.command()
def select(search: Search, generation: Generation) -> None:
    """Selects the survivors of a generation."""
    from harmony_core.evolution.budget import spending
    from harmony_core.evolution.generation import select_generation

    folder = SearchFolder(search)
    line = lines.selected(select_generation(folder, generation))
    # Files of later generations may come and go meanwhile.
    spent = spending(folder, generation)
    console.print(line if spent is None else f"{line}, {spent} spent")


@app.command()
def promote(search: Search, cores: Cores = None, launcher: Kind = "local", srun_flags: Flags = "") -> None:
    """Trains the front and the baselines again, on fresh seeds."""
    from harmony_core.evaluation.promote import promote as promote_search
    from harmony_core.evaluation.setting import Setting

    setting = Setting.open(search)

    def report(row: dict[str, Any], done: int, total: int) -> None:
        rows = population(search, promoted=True).select("candidate", "pattern").collect()
        console.print(lines.trained(row, dict(rows.iter_rows()), "promotion", done, total))

    allowance = promote_search(setting, report, _silent, _launcher(launcher, cores, srun_flags))
    if allowance.reason:
        console.print(f"[bold]promotion[/]: {allowance.paid} of {allowance.wanted} candidates: {allowance.reason}")


@app.command()
def report(search: Search) -> None:
    """Writes the report."""
    from harmony_core.report import write_report

    write_report(SearchFolder(search).path, SearchFolder(search).report)


@app.command()
def teams(
    search: Annotated[Path, typer.Option(envvar=SEARCH_VARIABLE, help="Folder of the search, results/NAME.")],
    srun_flags: Flags = "",
) -> None:
    """Holds the teams of a standing allocation until its time is over; the executor plugin starts this."""
    from harmony_core.config import Config
    from harmony_core.evaluation.launcher import own_teams, pilot_folder
    from harmony_core.workers import Interrupted
    from harmony_core.workers.teams import split_flags

    # The allocation is given back by this signal; leaving by an exception ends the ranks too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # A search begins before it has its manifest.
    folder = SearchFolder(search)
    execution = Config.from_yaml(folder.config).execution
    # Not beside the address: that folder goes with the allocation.
    log = folder.work("teams", f"{os.environ.get('SLURM_JOB_ID')}.log")
    with own_teams(execution, pilot_folder(), split_flags(srun_flags), execution.gpus_per_candidate, log) as held:
        held.wait()
        if held.failed.is_set():
            raise typer.Exit(1)
        raise Interrupted("the allocation ends")


def _launcher(kind: Literal["local", "srun"], cores: int | None, srun_flags: str) -> Launcher:
    from harmony_core.evaluation.launcher import Launcher
    from harmony_core.workers.teams import split_flags

    return Launcher(kind, cores, split_flags(srun_flags))


def shard_rows(setting: Any, generation: int, shard: int) -> list[dict[str, Any]]:
    """The population rows that belong to a shard: consecutive candidates, `candidates_per_job` each.

    A generation that was closed has none; its shards are written without an allocation's teams.
    """
    size = setting.config.execution.candidates_per_job
    frame = read_table(setting.folder.population(generation), schemas.POPULATION)
    return frame.sort("candidate").slice(shard * size, size).to_dicts()


def _silent(row: dict[str, Any], done: int, total: int) -> None:
    """A benchmark is too quick to be worth a line a candidate."""


def _say(line: str) -> None:
    console.print(line, markup=False)
