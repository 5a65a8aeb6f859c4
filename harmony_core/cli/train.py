"""`harmony train`: one architecture, one recipe, any layout."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.cli.items import settings
from harmony_core.cli.layout_option import layout_fields, layout_text, trainable
from harmony_core.cli.train_asked import Asked, folder_refusals
from harmony_core.cli.train_fit import check_host, check_memory
from harmony_core.errors import UserError
from harmony_core.store import SearchFolder
from harmony_core.workers.lease import Lease

if TYPE_CHECKING:
    from harmony_core.machines import Layout
    from harmony_core.training.recipe import Recipe

# A week: time-outs are counted in integers of milliseconds.
_LONGEST_TIMEOUT = 7 * 86_400.0


def train(
    file: Annotated[str, typer.Argument(help="An architecture's YAML file, or a preset's name.")],
    recipe: Annotated[list[str] | None, typer.Option(help="tokens=1000000,... and configuration files.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="source=synthetic,... and configuration files.")] = None,
    layout: Annotated[str, typer.Option(help="pp=2,dp=2,ep=2,zero=1,micro=4,checkpointing=true.")] = "",
    processes: Annotated[
        int | None, typer.Option("--processes", "--gpus", min=1, help="Without --layout: how many replicas.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; results/FILE by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Begin anew, or go on where it was left.")] = False,
    machine: Annotated[
        str | None, typer.Option(help="What it runs on: for memory, pipeline stages, utilisation.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Root of the seeds of weights and data order.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a process, where there is no GPU.")] = 1,
    timeout_seconds: Annotated[
        float, typer.Option(min=1, max=_LONGEST_TIMEOUT, help="A rank that stands still so long ends it.")
    ] = 600.0,
    every_steps: Annotated[int, typer.Option(min=0, help="Steps between checkpoints; 0 is by time alone.")] = 0,
    every_minutes: Annotated[float, typer.Option(min=0.01, help="Minutes between checkpoints.")] = 10.0,
    trunk_of: Annotated[
        Path | None, typer.Option("--from", help="Results of a shorter training, from whose trunk this one goes on.")
    ] = None,
) -> None:
    """Trains an architecture, and keeps its rows, its curve and its checkpoints.

    Under srun or torchrun this process is one rank; otherwise it starts as many as the layout has. SIGUSR1, SIGTERM
    and Ctrl-C write a checkpoint and end it with exit code 75: the same command goes on. Other exit codes: 1, it
    diverged or ran out of memory; 2, bad input; 124, a rank stood still, failed or was lost.
    """
    from harmony_core.evaluation.run_config import run_config
    from harmony_core.machines import Machine
    from harmony_core.training.launch import launch
    from harmony_core.training.recipe import Recipe
    from harmony_core.training.world import World

    architecture, world = load_preset(file), World.from_environment()
    sections = {"recipe": settings("recipe", recipe or (), "recipe"), "data": settings("data", data or (), "data")}
    parsed = Recipe.parse(sections["recipe"], "recipe")
    architecture.check_length(parsed.sequence_length)
    architecture.check_demands(parsed.demands)
    if len(parsed.learning_rates) > 1:
        raise UserError("recipe.learning_rate", list(parsed.learning_rates), "one training has one rate; give one")
    started = "RANK" in os.environ or not world.alone
    chosen = _layout(layout, processes, world.size if started else None, architecture, parsed)
    target = None if machine is None else Machine.from_yaml(machine)
    if target is not None:
        check_memory(architecture, chosen, parsed, target)
    if not started:
        check_host(architecture, chosen, parsed)
    folder = out or Path("results") / Path(file).stem
    asked = Asked(
        architecture=architecture,
        file=file,
        config=run_config(folder.name, seed, sections, chosen, machine or "cpu"),
        layout=chosen,
        out=folder,
        fresh=fresh,
        machine=target,
        threads=threads,
        timeout_seconds=timeout_seconds,
        every_steps=every_steps,
        every_seconds=60 * every_minutes,
        trunk_of=trunk_of,
    )
    if not started:
        _check_folder(folder)
    if chosen.num_processes > 1 and not started:
        command = [sys.executable, "-m", "harmony_core", *sys.argv[1:]]
        raise typer.Exit(launch(command, chosen.num_processes, SearchFolder(folder).work("ranks"), threads))
    told = _told_to_leave()
    # This imports torch, which takes seconds.
    from harmony_core.cli.train_rank import train_rank

    raise typer.Exit(train_rank(asked, world, told))


def _check_folder(folder: Path) -> None:
    """Refuses a run's folder before torch is imported, and before ranks open the logs of those that train there."""
    with folder_refusals(folder):
        if (held := Lease(SearchFolder(folder).work("lease")).holder()) is not None:
            raise held
        SearchFolder(folder).work().mkdir(parents=True, exist_ok=True)


def _told_to_leave() -> threading.Event:
    """Set when this process is told to leave, from now on: the trainer looks at it between two steps."""
    told = threading.Event()
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    return told


def _layout(
    text: str, processes: int | None, started: int | None, architecture: Architecture, recipe: Recipe
) -> Layout:
    """The layout as written, or the nearest to plain replicas; refused where it is not of as many as there are."""
    from harmony_core.machines import Layout, fitting, nearest

    given = layout_fields(text)
    many = processes or started or 1
    if given:
        chosen = trainable(Layout.parse(given, "layout"))
        chosen.check(architecture, recipe.batch_size, recipe.sequence_length)
    else:
        replicas = Layout(dp=many, zero_stage=1 if many > 1 else 0)
        chosen = fitting(replicas, architecture, recipe.batch_size, recipe.sequence_length)
    for name, number in (("processes", processes), ("started processes", started)):
        if number is not None and number != chosen.num_processes:
            near = nearest(chosen, architecture, recipe.batch_size, recipe.sequence_length, number)
            use = "make pp x dp x cp as many" if near is None else f"use --layout {layout_text(near)}"
            raise UserError(name, number, f"the layout has {chosen.num_processes} ({chosen}); {use}")
    return chosen
