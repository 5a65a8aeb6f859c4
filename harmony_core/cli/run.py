"""`harmony run`: the steps of a search or a sweep, one a command, as the workflow's rules call them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from harmony_core.store import SearchFolder, atomic_write, population
from harmony_core.store.folder import SEARCH_VARIABLE, SWEEP_FILE
from harmony_core.terminal import lines

if TYPE_CHECKING:
    from harmony_core.evaluation.config import ExecutionConfig
    from harmony_core.evaluation.launcher import Launcher
    from harmony_core.evaluation.shard import Shard as ShardRows
    from harmony_core.scaling.sweep import Sweep

    # It takes a shard, a final row of it, how many are done, and how many there are.
    Told = Callable[[ShardRows, dict[str, Any], int, int], None]

app = typer.Typer(help="The steps of a search or a sweep; the workflow calls these.", no_args_is_help=True)
console = Console(soft_wrap=True, highlight=False)

Search = Annotated[Path, typer.Option(help="Folder of the search, results/NAME.")]
SweepFolder = Annotated[Path, typer.Option("--sweep", help="Folder of the sweep, results/NAME.")]
Generation = Annotated[int, typer.Option(min=0, help="Its number, from 0.")]
Shard = Annotated[int, typer.Option(min=0, help="Its number within the generation, from 0.")]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores of a local launch; all by default.")]
Kind = Annotated[
    Literal["local", "srun"],
    typer.Option("--launcher", help="Fork here, or use every task of this process's Slurm allocation."),
]
Flags = Annotated[str, typer.Option(help="What this site's srun needs, as one text.")]


@app.command()
def data(search: Search) -> None:
    """Prepares the data, from the configuration in the search's work folder."""
    from harmony_core.evaluation.prepare import prepare_data
    from harmony_core.search.config import Config

    folder = SearchFolder(search)
    found = prepare_data(Config.from_yaml(folder.config), folder, _say)
    atomic_write(folder.data, found.model_dump_json(indent=2).encode() + b"\n")


@app.command()
def settle(search: Search) -> None:
    """Settles what must not change later (precision, the reference's costs) and writes the manifest."""
    from harmony_core.evaluation.prepare import settle_search
    from harmony_core.search.config import Config

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

    def report(of: ShardRows, row: dict[str, Any], done: int, total: int) -> None:
        patterns = {row["candidate"]: row["pattern"] for row in of.population}
        console.print(lines.trained(row, patterns, f"generation {generation}", done, total))

    _evaluate("training", search, generation, shard, _launcher(launcher, cores, srun_flags), report)


@app.command()
def latency(
    search: Search, generation: Generation, shard: Shard, launcher: Kind = "local", srun_flags: Flags = ""
) -> None:
    """Finds the latency of a shard of a generation."""
    _evaluate("latency", search, generation, shard, _launcher(launcher, None, srun_flags))


@app.command()
def evaluate(
    evaluator: Annotated[str, typer.Option(help="One of the configuration's `evaluators`.")],
    search: Search,
    generation: Generation,
    shard: Shard,
    cores: Cores = None,
    launcher: Kind = "local",
    srun_flags: Flags = "",
) -> None:
    """Runs any evaluator on a shard of a generation."""
    _evaluate(evaluator, search, generation, shard, _launcher(launcher, cores, srun_flags))


@app.command()
def select(search: Search, generation: Generation) -> None:
    """Selects the survivors of a generation."""
    from harmony_core.evolution.generation import select_generation
    from harmony_core.results.budget import spending
    from harmony_core.results.summaries import Summaries

    folder = SearchFolder(search)
    line = lines.selected(select_generation(folder, generation))
    Summaries(folder).keep(generation)
    # Files of later generations may come and go meanwhile.
    spent = spending(folder, generation)
    console.print(line if spent is None else f"{line}, {spent} spent")


@app.command()
def promote(search: Search, cores: Cores = None, launcher: Kind = "local", srun_flags: Flags = "") -> None:
    """Trains the front and the baselines again, on fresh seeds."""
    from harmony_core.evaluation.promote import promote as promote_search
    from harmony_core.search.opened import OpenedSearch

    setting = OpenedSearch.open(search)

    def report(evaluator: str, row: dict[str, Any], done: int, total: int) -> None:
        if evaluator == "training":
            rows = population(search, promoted=True).select("candidate", "pattern").collect()
            console.print(lines.trained(row, dict(rows.iter_rows()), "promotion", done, total))

    allowance = promote_search(setting, report, _launcher(launcher, cores, srun_flags))
    if allowance.reason:
        console.print(f"[bold]promotion[/]: {allowance.paid} of {allowance.wanted} candidates: {allowance.reason}")


@app.command()
def report(search: Search) -> None:
    """Writes the report."""
    from harmony_core.report.write import write_report

    write_report(SearchFolder(search).path, SearchFolder(search).report, whole=True)


@app.command("isoflop-data")
def isoflop_data(sweep: SweepFolder) -> None:
    """Prepares the data of a sweep, and refuses a plan that would say nothing."""
    opened = _sweep(sweep)
    opened.first_plan()
    atomic_write(sweep / "data.json", opened.data.model_dump_json(indent=2).encode() + b"\n")


@app.command()
def isoflop(sweep: SweepFolder, cores: Cores = None, launcher: Kind = "local", srun_flags: Flags = "") -> None:
    """Trains what is left of a sweep, and says what it found."""
    from harmony_core.cli.isoflop import tell, told

    opened = _sweep(sweep)
    with _launcher(launcher, cores, srun_flags).training(opened, sweep / "work" / "isoflop", 0) as pool:
        rows = opened.run(pool, lambda row, done, total: _say(f"{done}/{total} {told(row)}"))
    _say(tell(opened))
    done = json.dumps({"trainings": rows["run"].n_unique()})
    atomic_write(sweep / "rounds" / f"{opened.config.rounds}.json", done.encode() + b"\n")


@app.command()
def teams(
    search: Annotated[Path, typer.Option(envvar=SEARCH_VARIABLE, help="Folder of the search or sweep, results/NAME.")],
    srun_flags: Flags = "",
) -> None:
    """Holds the teams of a standing allocation until its time is over; the executor plugin starts this."""
    from harmony_core.evaluation.launcher import own_teams, pilot_folder
    from harmony_core.workers import WorkInterrupted
    from harmony_core.workers.teams import split_flags

    # This signal gives the allocation back. Leaving by an exception also ends the ranks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder, execution = SearchFolder(search), _execution(search)
    # The log does not lie beside the address, whose folder goes with the allocation.
    log = folder.work("teams", f"{os.environ.get('SLURM_JOB_ID')}.log")
    with own_teams(execution, pilot_folder(), split_flags(srun_flags), execution.gpus_per_candidate, log) as held:
        held.wait()
        if held.failed.is_set():
            raise typer.Exit(1)
        raise WorkInterrupted("the allocation ends")


def _execution(folder: Path) -> ExecutionConfig:
    """Of a search or sweep by its newest start's configuration: the search starts before it has its manifest."""
    if (folder / SWEEP_FILE).is_file():
        from harmony_core.scaling.config import IsoflopConfig

        return IsoflopConfig.from_yaml(folder / SWEEP_FILE).execution
    from harmony_core.search.config import Config

    return Config.from_yaml(SearchFolder(folder).config).execution


def _sweep(folder: Path) -> Sweep:
    from harmony_core.scaling.config import IsoflopConfig
    from harmony_core.scaling.sweep import Sweep

    return Sweep.open(IsoflopConfig.from_yaml(folder / SWEEP_FILE), folder, _say)


def _launcher(kind: Literal["local", "srun"], cores: int | None, srun_flags: str) -> Launcher:
    from harmony_core.evaluation.launcher import Launcher
    from harmony_core.workers.teams import split_flags

    return Launcher(kind, cores, split_flags(srun_flags))


def _silent(of: ShardRows, row: dict[str, Any], done: int, total: int) -> None:
    """What is not worth a line a candidate."""


def _evaluate(
    name: str,
    search: Path,
    generation: int,
    index: int,
    launcher: Launcher,
    report: Told = _silent,
) -> None:
    from harmony_core.evaluation.evaluate_shard import evaluate_shard
    from harmony_core.evaluation.evaluator_registry import find_evaluator
    from harmony_core.evaluation.shard import Shard

    evaluator = find_evaluator(name)
    shard = Shard.open(search, generation, index, evaluator)
    # A closed generation has no candidates; this process writes its shards without an allocation's teams.
    chosen = launcher if shard.population else dataclasses.replace(launcher, kind="local")
    evaluate_shard(evaluator, shard, report=partial(report, shard), launcher=chosen)


def _say(line: str) -> None:
    console.print(line, markup=False)
