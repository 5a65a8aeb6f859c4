"""`harmony resume`: goes on with a search whose main process is gone, and makes again what was deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from harmony_core.cli.started import Start, adopted, anew, recorded
from harmony_core.errors import UserError
from harmony_core.plugins import check_installed
from harmony_core.progress import ProgressReader
from harmony_core.store import SearchFolder, Stage, population, read_manifest, selection, stages, training
from harmony_core.workflow import REMAKING_VARIABLE, RESULTS, already_run, main_lease, record_start


def resume(
    search: Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")],
    adopt: Annotated[bool, typer.Option("--adopt", help="Go on here with a search that was copied or moved.")] = False,
    profile: Annotated[
        str | None, typer.Option(help="Snakemake profile, where work/ is gone or another one is meant.")
    ] = None,
) -> None:
    """Goes on with a search that was stopped or killed, as it was started.

    What is finished stays; candidates that were under way are trained again. Jobs that outlived
    the main process are not started twice: the new ones wait for them and take their results.
    A table of a finished step that is gone is made again, from its journal where that is there, and nothing else.
    """
    # This finds a search by the record of its start, not by its manifest: it may be killed before it has one.
    found = next((path for path in (search, Path("results") / search) if SearchFolder(path).main.is_file()), None)
    folder = SearchFolder(found) if found is not None else _without_record(search)
    _check_format(folder)
    start = recorded(folder) if found is not None else None
    was_here = start is not None and start.is_of(folder)
    if start is not None and not was_here:
        if not adopt:
            raise UserError("search", folder.path, start.elsewhere(folder))
        start = adopted(folder, start)
    held = main_lease(folder).holder()
    if held is not None:
        raise already_run(str(folder.path), held)
    if start is None:
        if profile is None and _is_done(folder):
            typer.echo(f"search {folder.name}: finished, nothing to be done")
            return
        if profile is None:
            fix = f"work/ is gone, and with it how the search was started; `harmony resume {search} --profile local`"
            raise UserError("profile", "none", f"{fix}, or another profile, goes on")
        start = anew(folder)
    if profile is not None:
        start = start.with_profile(profile)
    if not was_here:
        # Snakemake records no start where it has nothing to do.
        record_start(folder, start.arguments, start.folder)
    go_on(start, folder)


def go_on(start: Start, folder: SearchFolder) -> None:
    """Becomes Snakemake, once what was deleted is there again."""
    os.chdir(start.folder)
    # Snakemake names files relative to its folder; `folder` may be named from elsewhere.
    folder = SearchFolder(RESULTS / start.name)
    snakemake = [sys.executable, "-m", "snakemake"]
    unlocked = subprocess.run([*snakemake, *start.with_options("--unlock")], check=False)
    if unlocked.returncode:
        # Snakemake has already said why.
        raise typer.Exit(unlocked.returncode)
    for stage in stages(folder) if folder.manifest.is_file() else []:
        if stage.missing:
            _remake(stage, folder, start, snakemake)
    os.execv(sys.executable, [*snakemake, *start.arguments])


def _remake(stage: Stage, folder: SearchFolder, start: Start, snakemake: Sequence[str]) -> None:
    """Lets Snakemake make what is missing of a stage, and nothing that was made from it."""
    for path in stage.missing:
        typer.echo(f"missing: {path}; it is made again")
    wanted = [str(path) for path in stage.missing]
    before = {path: path.stat().st_mtime_ns for path in stage.made if path.is_file()}
    environment = {**os.environ, REMAKING_VARIABLE: "1"}
    done = subprocess.run([*snakemake, *start.with_targets(wanted)], check=False, env=environment)
    if done.returncode:
        raise typer.Exit(done.returncode)
    _check_population(stage, folder)
    # Snakemake makes everything again that follows from a newer table, so these get the time of their inputs.
    stage.settle_times([path for path in stage.made if path.stat().st_mtime_ns != before.get(path)])


def _check_population(stage: Stage, folder: SearchFolder) -> None:
    """Refuses a population that is not the one that was trained: another version breeds, or budgets, otherwise."""
    path = folder.population(stage.generation)
    if path not in stage.made:
        return
    keys = ("candidate", "architecture_id")
    now = population(folder, promoted=stage.generation is None, columns=("generation", *keys))
    rows = training(folder, promoted=stage.generation is None, columns=("generation", *keys))
    told = [rows.filter(pl.col("generation").eq_missing(stage.generation)).select(keys)]
    if stage.generation is not None:
        born = selection(folder).filter(pl.col("birth_generation") == stage.generation)
        told.append(born.select(keys))
    new = set(now.filter(pl.col("generation").eq_missing(stage.generation)).select(keys).collect().iter_rows())
    if not set(pl.concat(told).collect().iter_rows()) <= new:
        path.unlink()
        raise UserError(str(path), "made again it has other candidates than were trained", "restore it from a copy")


def _check_format(folder: SearchFolder) -> None:
    """Refuses a search of another format, and to go on with one that was migrated; neither is in its configuration."""
    if folder.manifest.is_file():
        manifest = read_manifest(folder.manifest)
        if manifest.migrated_from is not None and not _is_done(folder):
            manifest.check_may_measure(folder.path)
        # The Snakemake that this process becomes says it again, and also what is of another version.
        check_installed(manifest.plugins)


def _is_done(folder: SearchFolder) -> bool:
    return not any(stage.missing for stage in stages(folder)) and ProgressReader(folder).read().finished


def _without_record(search: Path) -> SearchFolder:
    """A search whose work/ is gone; an error where there is none at all."""
    for path in (search, Path("results") / search):
        if (path / "manifest.json").is_file() or SearchFolder(path).generations():
            return SearchFolder.find(path)
    raise UserError("search", search, "no such search here; start it with snakemake --profile")
