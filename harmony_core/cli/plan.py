"""`harmony plan`: how a training would be spread over a machine, and what that is predicted to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.terminal.format import count, seconds

if TYPE_CHECKING:
    from harmony_core.machines import Comparison, Estimate, Scaled

console = Console(highlight=False)


def plan(
    file: Annotated[str, typer.Argument(help="An architecture's YAML file, or a preset's name.")],
    machine: Annotated[str, typer.Option(help="A machine of resources/machines, or a YAML file.")] = "frontier",
    gpus: Annotated[int, typer.Option(help="Devices (on Frontier a GCD is one).")] = 8,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sequences a step; 4 a device by default.")] = None,
    sequence_length: Annotated[int, typer.Option(min=1, help="Tokens a sequence.")] = 2048,
    precision: Annotated[Literal["bf16", "fp32"], typer.Option(help="Of matrix products.")] = "bf16",
    top: Annotated[int, typer.Option(min=1, help="Layouts to show.")] = 5,
    plot: Annotated[Path | None, typer.Option(help="Draw time, memory and weak scaling into this HTML file.")] = None,
) -> None:
    """The best layouts of a training on many devices, why the others lose, and weak scaling: predictions all."""
    from harmony_core.machines import Machine, TrainingStep, comparisons, plan_layouts, weak_scaling

    if plot is not None and (plot.suffix != ".html" or not plot.parent.is_dir()):
        raise UserError("plot", plot, "name a file that ends in .html, in a folder that exists")
    architecture, target = load_preset(file), Machine.from_yaml(machine)
    architecture.check_length(sequence_length)
    step = TrainingStep(4 * max(gpus, 1) if batch_size is None else batch_size, sequence_length, precision)
    found = plan_layouts(architecture, target, gpus, step)
    best = found.fitting[0]
    scaling = weak_scaling(architecture, target, best.layout, step)
    model = (
        f"{architecture.id}  {count(architecture.num_params())} parameters, "
        f"{count(architecture.num_active_params())} active, on {gpus} x {target.device}"
    )
    batch = (
        f"a step: {step.batch_size} sequences of {sequence_length} tokens, {precision}; "
        f"{len(found.fitting)} layouts fit, {len(found.too_large)} sizes do not, {len(found.impossible)} are impossible"
    )
    console.print(f"[bold]{architecture.id}[/]{model.removeprefix(architecture.id)}")
    console.print(batch)
    console.print(layouts_table(found.fitting[:top], gpus))
    console.print(causes_line(best))
    console.print(comparisons_table(comparisons(found)))
    if scaling:
        console.print(scaling_table(scaling))
    if plot is not None:
        from harmony_core.cli.plan_figure import write_figure

        try:
            title = f"{Path(file).stem} on {gpus} x {target.device} ({Path(machine).stem})"
            write_figure(plot, found.fitting[:top], scaling, title=title, details=[model, batch])
        except OSError as error:
            raise UserError("plot", plot, f"{error.strerror}; name a file that can be written") from None
        console.print(f"drawn: {plot}")


def layouts_table(best: tuple[Estimate, ...], gpus: int) -> Table:
    """The fastest layouts."""
    table = _table(
        f"fastest layouts on {gpus} devices", ("layout", "step", "memory", "tokens/s", "a device", "MFU", "bound by")
    )
    for one in best:
        table.add_row(
            str(one.layout),
            seconds(one.seconds),
            f"{one.peak_memory / 1e9:.3g} of {one.memory_limit / 1e9:.0f} GB",
            count(one.tokens_per_second),
            f"{one.tokens_per_second / gpus:.0f}",
            f"{one.model_flops_utilization:.1%}",
            f"{one.bound} {one.causes[one.bound] / one.seconds:.0%}",
        )
    return table


def causes_line(one: Estimate) -> str:
    """Where the time of a step goes."""
    parts = sorted(one.causes.items(), key=lambda item: -item[1])
    return "the first one's time: " + ", ".join(f"{name} {value / one.seconds:.1%}" for name, value in parts)


def comparisons_table(told: list[Comparison]) -> Table:
    """Why the others lose."""
    table = _table("why others lose: the best layout with another setting", ("setting", "layout", "loses by"))
    for one in told:
        table.add_row(one.setting, "impossible" if one.layout is None else str(one.layout), one.reason)
    return table


def scaling_table(points: list[Scaled]) -> Table:
    """Weak scaling."""
    names = ("devices", "sequences", "step", "tokens/s", "a device", "efficiency", "layout")
    table = _table("weak scaling: as many sequences a device", names)
    for point in points:
        rate = point.estimate.tokens_per_second
        table.add_row(
            str(point.gpus),
            str(point.batch_size),
            seconds(point.estimate.seconds),
            count(rate),
            f"{rate / point.gpus:.0f}",
            f"{point.efficiency:.1%}",
            str(point.estimate.layout),
        )
    return table


def _table(title: str, names: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name in _WORDS else "right", overflow="fold")
    return table


_WORDS = ("layout", "setting", "loses by", "bound by")
