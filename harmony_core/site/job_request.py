"""What a rule, or the standing allocation, asks of Slurm, in the resource names of Snakemake's Slurm executors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from harmony_core.base import Frozen
from harmony_core.errors import UserError
from snakemake_executor_plugin_submitit.resource_rules import ResourceError, check_resources
from snakemake_executor_plugin_submitit.resources import sbatch_flags

_MINUTES = {"": 1.0, "s": 1 / 60, "m": 1.0, "min": 1.0, "minutes": 1.0, "h": 60.0, "hours": 60.0, "d": 1440.0}
_COUNTS = (
    "nodes",
    "tasks",
    "tasks_per_node",
    "gpus",
    "gpus_per_node",
    "gpus_per_task",
    "mem_mb",
    "mem_mb_per_cpu",
    "mem_mb_per_gpu",
    "cpus_per_gpu",
    "tasks_per_gpu",
)
# Each field, and the resource that it is read from.
_TEXTS = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    **{name: name for name in ("qos", "constraint", "gres", "reservation", "exclude", "gpu_model")},
    "extra": "slurm_extra",
}


class JobRequest(Frozen):
    """The resources of one Slurm job.

    Args:
        name: who asks: a rule, or `standing allocation`.
        nodes: nodes.
        tasks: tasks in all; None leaves that to `tasks_per_node`.
        tasks_per_node: tasks on each node.
        cpus_per_task: CPUs of a task.
        gpus: GPUs in all; None where whole nodes are given anyway.
        gpu_model: the model of `gpus`; None is any.
        gpus_per_node: GPUs on each node.
        gpus_per_task: GPUs of each task.
        mem_mb: MB on each node; 0 is all of it, None the partition's default.
        mem_mb_per_cpu: MB for each CPU, instead of `mem_mb`.
        mem_mb_per_gpu: MB for each GPU, instead of both.
        cpus_per_gpu: CPUs of a GPU, instead of `cpus_per_task`.
        tasks_per_gpu: tasks of each GPU.
        runtime: minutes.
        partition: partition; None is the default one.
        account: account; None is the user's default one.
        qos: quality of service; None is the default one.
        constraint: features that each node must have.
        gres: generic resources on each node.
        reservation: a reservation to run in.
        exclude: nodes that are not taken.
        extra: further flags of sbatch.
    """

    name: str
    nodes: int = Field(default=1, ge=1)
    tasks: int | None = Field(default=None, ge=1)
    tasks_per_node: int | None = Field(default=None, ge=1)
    cpus_per_task: int = Field(default=1, ge=1)
    gpus: int | None = Field(default=None, ge=1)
    gpu_model: str | None = None
    gpus_per_node: int | None = Field(default=None, ge=1)
    gpus_per_task: int | None = Field(default=None, ge=1)
    mem_mb: int | None = Field(default=None, ge=0)
    mem_mb_per_cpu: int | None = Field(default=None, ge=0)
    mem_mb_per_gpu: int | None = Field(default=None, ge=0)
    cpus_per_gpu: int | None = Field(default=None, ge=1)
    tasks_per_gpu: int | None = Field(default=None, ge=1)
    runtime: int | None = Field(default=None, ge=1)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    reservation: str | None = None
    exclude: str | None = None
    extra: str = ""

    @classmethod
    def from_resources(cls, name: str, resources: Mapping[str, Any]) -> JobRequest:
        """Reads what a profile says of a rule.

        Raises:
            UserError: a number is none, such as an expression, which only Snakemake can evaluate; or a resource would
                have no effect.
        """
        try:
            check_resources({key: value for key, value in resources.items() if isinstance(value, str | int | float)})
        except ResourceError as error:
            raise UserError(f"{name}.{error.resource}", error.value, error.fix) from error
        counts: dict[str, Any] = {key: _count(name, key, resources.get(key)) for key in _COUNTS}
        if counts["gpus"] is None:
            counts["gpus"] = _count(name, "gpu", resources.get("gpu"))
        cpus = next((resources[key] for key in ("cpus_per_task", "threads") if resources.get(key)), 1)
        texts = {field: _text(resources.get(key)) for field, key in _TEXTS.items()}
        given = {key: value for key, value in {**counts, **texts}.items() if value is not None}
        given["cpus_per_task"] = _count(name, "cpus_per_task", cpus)
        return cls.parse({"name": name, "runtime": _minutes(name, resources.get("runtime")), **given}, name)

    @property
    def node_tasks(self) -> int:
        """Tasks on each node."""
        return self.tasks_per_node or -(-(self.tasks or 1) // self.nodes)

    @property
    def cpus_per_node(self) -> int:
        """CPUs that each node must have."""
        of_gpus = (self.cpus_per_gpu or 0) * self.node_gpus
        return of_gpus or self.node_tasks * self.cpus_per_task

    @property
    def node_gpus(self) -> int:
        """GPUs that each node must have."""
        of_tasks = (self.gpus_per_task or 0) * self.node_tasks
        return max(self.gpus_per_node or 0, of_tasks, -(-(self.gpus or 0) // self.nodes))

    @property
    def node_mb(self) -> int:
        """MB that each node must have."""
        of_cpus = (self.mem_mb_per_cpu or 0) * self.cpus_per_node
        return self.mem_mb or of_cpus or (self.mem_mb_per_gpu or 0) * self.node_gpus

    def flags(self) -> list[str]:
        """The flags of sbatch that ask for this, as the executor plugin asks.

        Raises:
            UserError: `extra` cannot be read, or says what the plugin says.
        """
        resources = {_TEXTS.get(field, field): value for field, value in self if field != "name" and value is not None}
        if self.cpus_per_gpu:
            del resources["cpus_per_task"]
        try:
            return sbatch_flags(resources)
        except ResourceError as error:
            raise UserError(f"{self.name}.{error.resource}", error.value, error.fix) from error


def shell_words(field: str, text: str) -> list[str]:
    """The words of `text` as a shell splits them; `UserError` for quotes that do not close."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(field, text, f"{error}; close the quotes") from None


def _count(name: str, key: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        count = int(value)
        if count == float(value):
            return count
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{name}.{key}", value, "give a whole number")


def _text(value: Any) -> str | None:
    """A resource as text, without the quotes that keep Snakemake from evaluating it; None where it is empty."""
    return str(value or "").strip().strip("'\"") or None


def _minutes(name: str, value: Any) -> int | None:
    """A `runtime`: a number of minutes, or a text like `2h`."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([a-z]*)", _text(value) or "")
    if match is None or match[2] not in _MINUTES:
        raise UserError(f"{name}.runtime", value, "give minutes, or a text like 2h")
    return max(1, round(float(match[1]) * _MINUTES[match[2]]))
