"""The paper's protocol: 66 settings of six tasks, each at six pairs of learning rate and weight decay.

Poli et al. 2024 (arXiv:2403.17844), section 3 and appendix B; the numbers are those of the authors' code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from harmony_core.base import canonical_json, digest
from harmony_core.errors import UserError
from harmony_core.mad.task import MadTask, Mode, task_class, task_names

LEARNING_RATES = (1e-4, 5e-4, 1e-3)
WEIGHT_DECAYS = (0.0, 0.1)
NUM_TEST = 1280
BATCH_SIZE = 128
EPOCHS = 200
LEAST_LEARNING_RATE = 1e-6
# A run ends where accuracy has reached this much.
ENOUGH = 0.999
SEED = 12345


@dataclass(frozen=True)
class FullRun:
    """One training of the full protocol.

    Args:
        task: in its setting.
        setting: number of the setting among the task's, 0 the baseline.
        learning_rate: where the cosine begins.
        weight_decay: AdamW's, on all parameters.
    """

    task: MadTask
    setting: int
    learning_rate: float
    weight_decay: float

    @property
    def key(self) -> str:
        """Its name among all runs of an architecture."""
        return f"{self.task.name}-{self.setting:02d}-lr{self.learning_rate:g}-wd{self.weight_decay:g}"

    @property
    def steps(self) -> int:
        """Optimiser steps of all epochs, the last batch of each included where it is smaller."""
        return EPOCHS * -(-self.task.num_train // BATCH_SIZE)

    @property
    def identity(self) -> str:
        """A digest of all that it is a function of beside the architecture."""
        return digest({"task": describe(self.task), "lr": self.learning_rate, "wd": self.weight_decay})


def describe(task: MadTask) -> str:
    """A setting as canonical JSON, its task's name included."""
    return canonical_json({"task": task.name, **task.model_dump()})


def described(text: str) -> MadTask:
    """The setting that `describe` wrote."""
    fields = json.loads(text)
    return task_class(fields.pop("task")).parse(fields)


def full_protocol(tasks: Sequence[str] = (), mode: Mode = "faithful") -> list[FullRun]:
    """The runs of one architecture, 396 for all tasks.

    Args:
        tasks: names of those that are run; none named is all.
        mode: of the generators.

    Raises:
        UserError: there is no such task.
    """
    return [
        FullRun(task, setting, rate, decay)
        for name in chosen_tasks(tasks)
        for setting, task in enumerate(task_class(name)(mode=mode).settings())  # type: ignore[call-arg]
        for rate in LEARNING_RATES
        for decay in WEIGHT_DECAYS
    ]


def chosen_tasks(names: Sequence[str]) -> list[str]:
    """These in the paper's order, or all where none is named; UserError for one that does not exist, or named twice."""
    for name in names:
        if name not in task_names():
            raise UserError("tasks", name, f"no such task; use {', '.join(task_names())}")
    if len(set(names)) < len(names):
        raise UserError("tasks", ", ".join(names), "list each once")
    return [name for name in task_names() if name in names or not names]
