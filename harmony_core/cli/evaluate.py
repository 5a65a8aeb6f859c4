"""`harmony evaluate`: a trained model on people's own tasks, by lm-evaluation-harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from harmony_core.cli.answer import console
from harmony_core.cli.candidate import SearchOption
from harmony_core.cli.export import TrainedArgument, find_trained


def evaluate(
    trained: TrainedArgument,
    tasks: Annotated[Path, typer.Option(help="Folder of task files (*.yaml) of lm-evaluation-harness.")],
    search: SearchOption = None,
    replicate: Annotated[int, typer.Option(min=0, help="Which of the trainings on other seeds.")] = 0,
    num_fewshot: Annotated[int | None, typer.Option(min=0, max=1000, help="Instead of what the tasks say.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples a task at most.")] = None,
    max_length: Annotated[int | None, typer.Option(min=2, help="Tokens at most; what it was trained on.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the examples before each, and of draws.")] = 0,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Run the Python that task files name.")] = False,
) -> None:
    """Asks a trained model local tasks, offline, prints its scores and keeps them as rows beside the search.

    Task files that ask for Python, or for what is outside of their folder, are refused unless --allow-code trusts them.
    Needs harmony-search[eval].
    """
    # Imports torch and the harness, for seconds.
    from harmony_core.evaluation.harness.run import Asked, evaluate, offline
    from harmony_core.models import HybridLM
    from harmony_core.store.table import write_table
    from harmony_core.store.task_scores import TASK_SCORES, task_scores_file
    from harmony_core.training.device import device_for_training
    from harmony_core.training.trained import load_trained

    found = find_trained(trained, search, replicate)
    tokenizer = found.require_tokenizer()

    def load() -> HybridLM:
        return load_trained(found.checkpoints).eval().to(device_for_training())

    key: dict[str, Any] = {"search": found.folder.name, "generation": None, "replicate": 0, "rate": 0, **found.key}
    asked = Asked(tasks, num_fewshot, limit, max_length or found.context(), seed, allow_code)
    with offline():
        identity, rows = evaluate(load, tokenizer, asked, key)
    path = task_scores_file(found.folder, identity)
    write_table(path, rows, TASK_SCORES)
    table = Table(box=None, pad_edge=False)
    for name in ("task", "metric", "value", "standard error", "examples", "shots"):
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")
    for row in rows:
        metric = row["metric"] if row["filter"] == "none" else f"{row['metric']}, {row['filter']}"
        error = "-" if row["standard_error"] is None else f"{row['standard_error']:.4f}"
        figures = (f"{row['value']:.4f}", error, str(row["num_samples"]), str(row["num_fewshot"]))
        table.add_row(escape(row["task"]), escape(metric), *figures)
    console.print(table)
    if shortened := rows[0]["num_shortened"]:
        console.print(f"{shortened} requests were longer than {asked.max_length} tokens and lost their beginning")
    console.print(f"rows: {path}", markup=False)
