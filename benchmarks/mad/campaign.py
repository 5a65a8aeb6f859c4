"""The trainings of each part, run once and for all from a journal on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.mad.architectures import PUBLISHED_MEMORISATION, drawn, ordered, presets, pure
from harmony_core.architecture import Architecture
from harmony_core.evaluation.mad_runs import full_trainings, is_answer, journalled_rows, quick_trainings
from harmony_core.mad import task_names
from harmony_core.mad.config import QUICK_TASKS, STEPS, MadConfig
from harmony_core.store import Journal
from harmony_core.workers import Pool, Task

SEEDS = (0, 1, 2)
LONGER = 10

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Training:
    """A training of a part.

    Args:
        task: what a worker runs.
        labels: columns that its row gets beside.
    """

    task: Task
    labels: Row


def quick(part: str, architectures: Mapping[str, Architecture], config: MadConfig, seed: int) -> list[Training]:
    """Every architecture under the quick protocol on a seed.

    Args:
        part: whose.
        architectures: by label.
        config: of the protocol.
        seed: of weights and examples.
    """
    return [
        _named(task, {"part": part, "label": label, "asked_seed": seed, "asked_steps": config.steps})
        for label, architecture in architectures.items()
        for task in quick_trainings(architecture, config, "fp32", seed)
    ]


def _named(task: Task, labels: Row) -> Training:
    name = ".".join(str(one) for one in labels.values())
    return Training(dataclasses.replace(task, key=f"{name}.{task.key}"), labels)


def parts() -> dict[str, list[Training]]:
    """The trainings of each part, cheap ones first."""
    spread, retest = drawn("spread"), drawn("retest")
    left_out = MadConfig(tasks=tuple(name for name in task_names() if name not in QUICK_TASKS))
    longer = MadConfig(steps=LONGER * STEPS)
    fuzzy = MadConfig(tasks=("fuzzy_recall",), steps=LONGER * STEPS)
    return {
        "presets": quick("presets", presets(), MadConfig(), SEEDS[0]),
        "spread": quick("spread", spread, MadConfig(), SEEDS[0]),
        "left_out": quick("left_out", spread, left_out, SEEDS[0]),
        "retest": [one for seed in SEEDS[:2] for one in quick("retest", retest, MadConfig(), seed)],
        "orderings": [
            one
            for config in (MadConfig(), fuzzy)
            for seed in SEEDS
            for one in quick("orderings", ordered(), config, seed)
        ],
        "loss": quick("loss", drawn("loss"), MadConfig(), SEEDS[0]),
        "longer": quick("longer", retest, longer, SEEDS[0]),
        "memorisation": [
            _named(task, {"part": "memorisation", "label": name})
            for name in PUBLISHED_MEMORISATION
            for task in full_trainings(pure(name), ["memorisation"], "bf16")
        ],
    }


def run(pool: Pool, trainings: list[Training], journal: Path) -> list[Row]:
    """Their rows, with the labels.

    Args:
        pool: where.
        trainings: of one part.
        journal: what is done is read from here, and written here.
    """
    rows = journalled_rows(journal, [one.task for one in trainings], pool, _report)
    return [{**one.labels, **row} for one, row in zip(trainings, rows, strict=True)]


def done(trainings: list[Training], journal: Path) -> list[Row]:
    """The rows, with the labels, of those that the journal holds; the first record of a training counts."""
    tasks = {one.task.key: one for one in trainings}
    found: dict[str, Row] = {}
    for record in Journal(journal).records():
        one = tasks.get(record["key"]) if record["event"] == "final" else None
        if one is not None and is_answer(record["answer"], one.task):
            found.setdefault(record["key"], {**one.labels, **record["answer"]["rows"][0]})
    return [found[key] for key in tasks if key in found]


def _report(row: Row, done: int, total: int) -> None:
    figure = next((row[name] for name in ("score", "test_accuracy") if row[name] is not None), row["status"])
    print(f"{done}/{total} {row['pattern']} {row['task']} {row['setting']}: {figure}", flush=True)
