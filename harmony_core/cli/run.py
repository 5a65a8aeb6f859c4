"""`harmony run`: the steps of a search, one a command, as the workflow's rules call them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harmony_core.cli import lines
from harmony_core.store import SearchFolder, population, read_manifest, read_table, schemas

app = typer.Typer(help="The steps of a search; the workflow calls these.", no_args_is_help=True)
console = Console(soft_wrap=True, highlight=False)

Search = Annotated[Path, typer.Option(help="Folder of the search, results/NAME.")]
Generation = Annotated[int, typer.Option(min=0)]
Shard = Annotated[int, typer.Option(min=0)]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores that the job may use; all by default.")]


@app.command()
def prepare(search: Search) -> None:
    """Prepares the data and writes the manifest, from the configuration in the search's work folder."""
    from harmony_core.config import Config
    from harmony_core.evaluation.prepare import prepare_search

    folder = SearchFolder(search)
    manifest = prepare_search(Config.from_yaml(folder.config), folder, _say)
    console.print(lines.prepared(search.name, manifest))


@app.command()
def mutate(search: Search, generation: Generation) -> None:
    """Breeds a generation."""
    from harmony_core.config import Config
    from harmony_core.evolution.generation import mutate_generation

    folder = SearchFolder(search)
    bred = mutate_generation(folder, generation)
    wanted = Config.parse(read_manifest(folder.manifest).config).search.population
    if bred < wanted:
        console.print(
            f"[bold]generation {generation}[/]: the space is exhausted, {bred} of {wanted} candidates are new"
        )


@app.command()
def train(search: Search, generation: Generation, shard: Shard, cores: Cores = None) -> None:
    """Trains a shard of a generation."""
    from harmony_core.evaluation.setting import Setting
    from harmony_core.evaluation.training_shard import train_shard

    setting = Setting.open(search)

    def report(row: dict[str, Any], done: int, total: int) -> None:
        console.print(lines.trained(row, patterns, f"generation {generation}", done, total))

    rows = shard_rows(setting, generation, shard)
    patterns = {row["candidate"]: row["pattern"] for row in rows}
    train_shard(setting, rows, generation, shard, report=report, cores=cores)


@app.command()
def latency(search: Search, generation: Generation, shard: Shard) -> None:
    """Finds the latency of a shard of a generation."""
    from harmony_core.evaluation.latency_shard import benchmark_shard
    from harmony_core.evaluation.setting import Setting

    setting = Setting.open(search)
    rows = shard_rows(setting, generation, shard)
    benchmark_shard(setting, rows, generation, shard, report=_silent)


@app.command()
def select(search: Search, generation: Generation) -> None:
    """Selects the survivors of a generation."""
    from harmony_core.evolution.generation import select_generation

    console.print(lines.selected(select_generation(SearchFolder(search), generation)))


@app.command()
def promote(search: Search, cores: Cores = None) -> None:
    """Trains the front and the baselines again, on fresh seeds."""
    from harmony_core.evaluation.promote import promote as promote_search
    from harmony_core.evaluation.setting import Setting

    setting = Setting.open(search)

    def report(row: dict[str, Any], done: int, total: int) -> None:
        rows = population(search, promoted=True).select("candidate", "pattern").collect()
        console.print(lines.trained(row, dict(rows.iter_rows()), "promotion", done, total))

    promote_search(setting, report, _silent, cores)


@app.command()
def report(search: Search) -> None:
    """Writes the report."""
    from harmony_core.report import write_report

    write_report(SearchFolder(search).path, SearchFolder(search).report)


def shard_rows(setting: Any, generation: int, shard: int) -> list[dict[str, Any]]:
    """The population rows that belong to a shard: consecutive candidates, `candidates_per_job` each."""
    size = setting.config.execution.candidates_per_job
    frame = read_table(setting.folder.population(generation), schemas.POPULATION)
    return frame.sort("candidate").slice(shard * size, size).to_dicts()


def _silent(row: dict[str, Any], done: int, total: int) -> None:
    """A benchmark is too quick to be worth a line a candidate."""


def _say(line: str) -> None:
    console.print(line, markup=False)
