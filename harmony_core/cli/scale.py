"""`harmony scale`: weak scaling of a training, measured where there are devices, and collected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.cli.items import settings
from harmony_core.cli.layout_option import layout_fields, layout_text, trainable
from harmony_core.cli.train_asked import folder_refusals
from harmony_core.errors import UserError
from harmony_core.host import usable_cores, visible_gpus
from harmony_core.slurm.command import run
from harmony_core.store import SearchFolder, atomic_write
from harmony_core.terminal.format import count, seconds
from harmony_core.workers.task import WorkInterrupted

if TYPE_CHECKING:
    import polars as pl

    from harmony_core.evaluation.weak_scaling import Size
    from harmony_core.machines import Layout
    from harmony_core.training.recipe import Recipe

console = Console(highlight=False, soft_wrap=True)


def scale(
    file: Annotated[str, typer.Argument(help="An architecture's YAML file, or a preset's name.")],
    gpus: Annotated[str, typer.Option(help="Numbers of devices, with commas between.")] = "8,16,32,64",
    recipe: Annotated[list[str] | None, typer.Option(help="As for train; the batch is the smallest size's.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="As for train.")] = None,
    layout: Annotated[str, typer.Option(help="Of every size, without dp, which grows: pp=2,ep=2,zero=1.")] = "",
    layout_per_gpus: Annotated[list[str] | None, typer.Option(help="Of one size: 16:pp=2,dp=8,zero=1.")] = None,
    machine: Annotated[str | None, typer.Option(help="Without a layout: the planner's best for this machine.")] = None,
    profile: Annotated[str, typer.Option(help="Whose nodes, flags and set-up the job scripts take.")] = "slurm",
    minutes: Annotated[int | None, typer.Option(min=1, help="Time limit of a job; the profile's by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; the trainings lie beside it, OUT-gpusN.")] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Hand the scripts to sbatch.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Run all sizes here, one after another.")] = False,
) -> None:
    """Writes a job script for each number of devices, or runs it here, and prints the efficiency of what is done.

    Each device gets as many sequences at every size, and every size as many steps. Efficiency is tokens/s of a device
    over those at the smallest size. Calling it again collects what has ended since.
    """
    if submit and local:
        raise UserError("local", "with --submit", "give one of them")
    from harmony_core.evaluation.run_config import run_config
    from harmony_core.evaluation.weak_scaling import collect

    folder = out or Path("results") / f"{Path(file).stem}-scaling"
    numbers = sorted({_number("gpus", text) for text in gpus.split(",")})
    own = _of_one_size(layout_per_gpus or (), numbers)
    chosen = _Layouts(load_preset(file), layout, own, machine)
    sections = {"recipe": settings("recipe", recipe or (), "recipe"), "data": settings("data", data or (), "data")}
    sizes = _sizes(chosen, folder, numbers, sections["recipe"])
    # What `harmony train` would refuse is refused now, before a job is queued.
    run_config(folder.name, 0, sections, sizes[0].layout, machine or "cpu")
    here = len(visible_gpus()) or usable_cores()
    if local and sizes[-1].processes > here:
        raise UserError("gpus", sizes[-1].processes, f"this machine has {here}; use --submit, or fewer")
    passed = [*_repeated("--recipe", recipe), *_repeated("--data", data), *_repeated("--machine", [machine])]
    with folder_refusals(folder):
        SearchFolder(folder).work().mkdir(parents=True, exist_ok=True)
    for size in sizes:
        command = _command(file, size, passed)
        if local:
            if not size.done:
                _run_here(size, command)
            continue
        script = _write_script(folder, size, command, profile, minutes)
        if size.done:
            continue
        if submit:
            _submit(script)
        else:
            console.print(f"{size.processes}: {script}")
    measured = collect(folder.name, sizes, folder)
    console.print(scaling_table(measured, sizes))
    for size in sizes:
        if size.done and size.processes not in measured["processes"]:
            console.print(f"{size.processes}: left out, since its training failed or had another layout: {size.folder}")


class _Layouts:
    """Which layout a number of devices takes."""

    def __init__(self, architecture: Architecture, text: str, own: dict[int, str], machine: str | None) -> None:
        from harmony_core.machines import Machine

        self.architecture, self._own = architecture, own
        self._fields = layout_fields(text)
        if "dp" in self._fields:
            raise UserError("layout", text, "leave dp out: it is what grows")
        self._machine = None if machine is None else Machine.from_yaml(machine)

    def of(self, processes: int, recipe: Recipe) -> Layout:
        """As it was given for this number, else as given for all, else the planner's, else replicas."""
        from harmony_core.machines import Layout, TrainingStep, fitting, plan_layouts

        batch, length = recipe.batch_size, recipe.sequence_length
        if processes in self._own:
            layout = trainable(Layout.parse(layout_fields(self._own[processes]), "layout-per-gpus"))
        elif self._fields:
            replica = trainable(Layout.parse(self._fields, "layout"))
            layout = replica.model_copy(update={"dp": max(1, processes // replica.num_processes)})
        elif self._machine is not None:
            step = TrainingStep(batch, length, "fp32" if recipe.precision == "fp32" else "bf16")
            layout = plan_layouts(self.architecture, self._machine, processes, step).fitting[0].layout
        else:
            layout = fitting(
                Layout(dp=processes, zero_stage=1 if processes > 1 else 0), self.architecture, batch, length
            )
        if layout.num_processes != processes:
            raise UserError("gpus", processes, f"layout {layout} does not fill them; use a multiple of pp x cp")
        layout.check(self.architecture, batch, length)
        return layout


def _sizes(chosen: _Layouts, folder: Path, numbers: list[int], recipe: dict[str, Any]) -> list[Size]:
    from harmony_core.evaluation.weak_scaling import Size, recipe_of_size
    from harmony_core.training.recipe import Recipe

    smallest = Recipe.parse(recipe, "recipe")
    if smallest.rungs is not None:
        raise UserError("recipe.rungs", list(smallest.rungs), "speed is measured at one budget; leave them out")
    chosen.architecture.check_length(smallest.sequence_length)
    chosen.architecture.check_demands(smallest.demands)
    sizes = []
    for number in numbers:
        grown = recipe_of_size(smallest, number, numbers[0])
        run = folder.with_name(f"{folder.name}-gpus{number}")
        sizes.append(Size(processes=number, layout=chosen.of(number, grown), recipe=grown, folder=run))
    return sizes


def _of_one_size(texts: Sequence[str], numbers: list[int]) -> dict[int, str]:
    """Layouts by the number of devices that they are for: `16:pp=2,dp=8`."""
    own = {}
    for text in texts:
        number, _, layout = text.partition(":")
        own[_number("layout-per-gpus", number)] = layout
        if int(number) not in numbers:
            known = ", ".join(map(str, numbers))
            raise UserError("layout-per-gpus", text, f"{number} devices are not among --gpus {known}; add them")
    return own


def _number(option: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise UserError(option, text or "nothing", "give whole numbers from 1")
    return int(text)


def _repeated(option: str, texts: Sequence[str | None] | None) -> list[str]:
    return [part for text in texts or () if text is not None for part in (option, text)]


def _command(file: str, size: Size, passed: Sequence[str]) -> list[str]:
    """What trains one size; what is said last of the recipe holds."""
    grown = f"batch_size={size.recipe.batch_size},tokens={size.recipe.tokens}"
    own = ["--recipe", grown, "--layout", layout_text(size.layout), "--out", str(size.folder)]
    return ["-m", "harmony_core", "train", file, *passed, *own]


def _write_script(folder: Path, size: Size, command: Sequence[str], profile: str, minutes: int | None) -> Path:
    from harmony_core.site.job_script import JobScript, job_script
    from harmony_core.site.profile import Profile

    work = SearchFolder(folder).work()
    job = JobScript(
        name=size.folder.name,
        command=tuple(command),
        ranks=size.processes,
        log=work / f"gpus{size.processes}.log",
        minutes=minutes,
    )
    path = work / f"gpus{size.processes}.sh"
    atomic_write(path, job_script(Profile.find(profile), job).encode())
    return path


def _run_here(size: Size, command: Sequence[str]) -> None:
    """Trains one size on this machine to its end."""
    console.rule(f"{size.processes}: {size.layout}")
    process = subprocess.Popen([sys.executable, *command])
    # The training hears Ctrl-C too and leaves by itself; this process waits for it.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)),
    }
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code == os.EX_TEMPFAIL:
        raise WorkInterrupted(f"{size.folder}: told to stop; the same command goes on")
    if code:
        raise typer.Exit(code)


def _submit(script: Path) -> None:
    answer = run(["sbatch", "--parsable", str(script)])
    if answer.code:
        raise UserError("submit", script, f"sbatch: {answer.reason}; correct the profile, or use --local")
    console.print(f"{script}: job {answer.out.strip()}")


def scaling_table(measured: pl.DataFrame, sizes: Sequence[Size]) -> Table:
    """A line for each size; dashes where there is no result yet."""
    table = Table(title="weak scaling: as many sequences a device", box=None)
    for name in ("devices", "sequences", "step", "tokens/s", "a device", "efficiency", "layout"):
        table.add_column(name, justify="left" if name == "layout" else "right")
    rows = {row["processes"]: row for row in measured.to_dicts()}
    for size in sizes:
        row = rows.get(size.processes)
        known = ("-",) * 4
        if row is not None:
            speed = row["tokens_per_second"]
            each = f"{row['tokens_per_second_per_device']:.0f}"
            known = (seconds(row["step_seconds_median"]), count(speed), each, f"{row['efficiency']:.1%}")
        table.add_row(str(size.processes), str(size.recipe.batch_size), *known, str(size.layout))
    return table
