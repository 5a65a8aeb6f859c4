"""`harmony mad`: an architecture on MAD's synthetic tasks, by the paper's protocol or the quick one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from harmony_core.architecture.demands import Demands
from harmony_core.architecture.presets import load_preset
from harmony_core.cli.train_asked import folder_refusals
from harmony_core.errors import UserError
from harmony_core.mad.config import QUICK_TASKS, MadConfig
from harmony_core.mad.protocol import chosen_tasks
from harmony_core.store import SearchFolder
from harmony_core.workers.task import WorkInterrupted

if TYPE_CHECKING:
    import polars as pl

    from harmony_core.workers import Task

console = Console(highlight=False, soft_wrap=True)

Protocol = Literal["full", "quick"]


def mad(
    file: Annotated[str, typer.Argument(help="An architecture's YAML file, or a preset's name.")],
    protocol: Annotated[Protocol, typer.Option(help="The paper's 396 trainings, or one short one a task.")] = "quick",
    tasks: Annotated[str, typer.Option(help="Names with commas between; all, or those of the quick score.")] = "",
    trained: Annotated[
        Literal["stack", "projection"], typer.Option(help="What quick trains; full trains the projection.")
    ] = "stack",
    iso_state: Annotated[bool, typer.Option("--iso-state", help="The projection's mixers get equal state.")] = False,
    mode: Annotated[
        Literal["faithful", "fixed"], typer.Option(help="Generators of the full protocol; quick has fixed ones.")
    ] = "faithful",
    steps: Annotated[int | None, typer.Option(help="Steps a task of quick; scores of others do not compare.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Of quick; the paper's is 12345.")] = 0,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto: bf16 in full, as the paper, and on GPUs; else fp32."),
    ] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Trainings at once.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a training.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; results/FILE-mad by default.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be trained, and train nothing.")] = False,
) -> None:
    """Trains an architecture on MAD's tasks, keeps a row a training, and prints the scores.

    Ctrl-C ends it; the same command goes on where it was. The rows are those of the trainings that this command asks
    for; what others have asked for in the same folder stays in its journal. The full protocol selects the best of six
    trainings on the test, as the paper does, and prints beside it what selection on validation examples gives.
    """
    from harmony_core.evaluation.mad_runs import full_trainings, quick_trainings

    architecture = load_preset(file)
    chosen = _precision(precision, protocol)
    architecture.check_demands(Demands(precision=chosen))
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if protocol == "full":
        if steps is not None or trained == "projection" or seed:
            raise UserError(
                "protocol", "full", "it has its own steps, seed, model; leave out --steps, --seed, --trained"
            )
        listed = full_trainings(architecture, names, chosen, mode, iso_state)
    else:
        asked = {"tasks": chosen_tasks(names) if names else QUICK_TASKS, "trained": trained, "iso_state": iso_state}
        config = MadConfig.parse({**asked, **({} if steps is None else {"steps": steps})}, "mad")
        listed = quick_trainings(architecture, config, chosen, seed)
    if plan:
        _tell_plan(listed)
        return
    folder = out or Path("results") / f"{Path(file).stem}-mad"
    rows = _train(folder, listed, workers, threads)
    for line in _PRINTED[protocol](rows):
        console.print(line)
    console.print(f"rows: {folder / 'mad.parquet'}")
    if (rows["status"] != "ok").any():
        raise typer.Exit(1)


def _precision(asked: str, protocol: Protocol) -> str:
    """What is asked, or the paper's; never by measuring, since a run that goes on must not change."""
    if asked != "auto":
        return asked
    from harmony_core.training.device import uses_gpu

    return "bf16" if protocol == "full" or uses_gpu() else "fp32"


def _train(folder: Path, listed: Sequence[Task], workers: int | None, threads: int) -> pl.DataFrame:
    from harmony_core.evaluation.mad_runs import TARGET, run_trainings
    from harmony_core.workers.pool import WarmPool

    with folder_refusals(folder):
        logs = SearchFolder(folder).work("mad", "logs")
        logs.mkdir(parents=True, exist_ok=True)
        pool = WarmPool(logs, workers=workers, threads=threads, preload=TARGET.split(":")[0])
        try:
            return run_trainings(folder, listed, pool, _report)
        except KeyboardInterrupt:
            raise WorkInterrupted(f"{folder}: told to stop; the same command goes on") from None


def _report(row: dict[str, Any], done: int, total: int) -> None:
    figure = next((row[name] for name in ("score", "test_accuracy") if row[name] is not None), None)
    told = row["status"] if figure is None else f"{figure:.3f}"
    run = f"{row['task']} {row['setting']} lr {row['learning_rate']:g} wd {row['weight_decay']:g}"
    console.print(f"{done}/{total} {run}: {told} ({row['seconds']:.0f} s)")


def _tell_plan(listed: Sequence[Task]) -> None:
    for name in dict.fromkeys(task.payload["row"]["task"] for task in listed):
        runs = [task for task in listed if task.payload["row"]["task"] == name]
        console.print(f"{name}: {len(runs)} trainings")
    console.print(f"in all {len(listed)} trainings of {listed[0].payload['row']['trained']}")


def _full_lines(rows: pl.DataFrame) -> list[str]:
    from harmony_core.evaluation.mad_runs import full_scores

    lines = [f"{'task':20}{'selected on the test':>24}{'on validation':>16}   (test accuracy, %)"]
    selected = [full_scores(rows, name) for name in ("test_accuracy", "validation_accuracy")]
    for task in selected[0]:
        lines.append(f"{task:20}{_percent(selected[0][task]):>24}{_percent(selected[1][task]):>16}")
    means = [_mean(list(one.values())) for one in selected]
    return [*lines, f"{'mean':20}{_percent(means[0]):>24}{_percent(means[1]):>16}"]


def _quick_lines(rows: pl.DataFrame) -> list[str]:
    lines = [f"{row['task']:20}{_percent(row['score']):>8}" for row in rows.to_dicts()]
    return [*lines, f"{'mad_score':20}{_percent(_mean(rows['score'].to_list())):>8}   (area under accuracy, %)"]


_PRINTED = {"full": _full_lines, "quick": _quick_lines}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
