"""Snakemake's resources as submitit's parameters; names are those of the official Slurm plugin."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from .backend import Resource

Parameters = dict[str, Any]

# Resource: submitit's parameter of the same meaning.
_NAMED = {
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "gres": "gres",
    "exclude": "exclude",
    "gpus_per_task": "gpus_per_task",
    "gpus_per_node": "gpus_per_node",
    "tasks_per_node": "ntasks_per_node",
}
# Set here or by submitit: another value would cut the plugin off from its jobs.
_OURS = {"array", "error", "job-name", "open-mode", "output", "parsable", "signal", "test-only", "wait", "wrap"}
# The official plugin's names for another cluster than the one whose squeue is asked here.
_OTHER_CLUSTERS = ("cluster", "clusters", "slurm_cluster")
_LONGEST_LOCAL_MINUTES = 365 * 24 * 60


class ResourceError(ValueError):
    """A resource that cannot be asked for; its text is one line for the user."""

    def __init__(self, resource: str, value: object, fix: str) -> None:
        super().__init__(f"resource {resource}={value}: {fix}")


def slurm_parameters(resources: Mapping[str, Resource], setup: str = "", signal_seconds: int = 300) -> Parameters:
    """Parameters of submitit's Slurm executor.

    Args:
        resources: Of one job, with ``threads``.
        setup: Shell lines for the batch script, before the job starts.
        signal_seconds: Lead of SIGUSR2 ahead of the time limit, at most half of that.

    Raises:
        ResourceError: A value makes no sense, or an option of ``slurm_extra`` is the plugin's.
    """
    for name in _OTHER_CLUSTERS:
        if resources.get(name):
            raise ResourceError(name, resources[name], "jobs go to the default cluster alone; leave it out")
    minutes = _count(resources, "runtime")
    parameters: Parameters = {
        "nodes": _count(resources, "nodes") or 1,
        # None, here and below, keeps submitit from writing its default: the site's counts.
        "time": minutes,
        "wckey": None,
        "signal_delay_s": min(signal_seconds, minutes * 30) if minutes else signal_seconds,
        "use_srun": False,
        # A signal to the batch step must not end the batch shell ahead of the command: slurmstepd kills at once what a
        # dead shell leaves behind.
        "setup": ["trap : TERM", *setup.splitlines()],
    }
    for resource, name in _NAMED.items():
        if resources.get(resource) not in (None, ""):
            parameters[name] = resources[resource]
    extra = _slurm_extra(str(resources.get("slurm_extra") or ""))
    parameters["additional_parameters"] = {
        **({} if "no-requeue" in extra else {"requeue": True}),
        **_cpus(resources),
        **_memory(resources),
        **_tasks(resources),
        **_gpus(resources),
        **({"reservation": resources["reservation"]} if resources.get("reservation") else {}),
        **extra,
    }
    return parameters


def local_parameters(resources: Mapping[str, Resource]) -> Parameters:
    """Parameters of submitit's local executor: one node, one task, the command.

    Raises:
        ResourceError: More than this machine is asked for.
    """
    if (nodes := _count(resources, "nodes") or 1) > 1:
        raise ResourceError("nodes", nodes, "the local cluster is this one machine; use 1")
    return {
        "timeout_min": _count(resources, "runtime") or _LONGEST_LOCAL_MINUTES,
        "gpus_per_node": _count(resources, "gpus_per_node")
        or _count(resources, "gpus")
        or _count(resources, "gpu")
        or 0,
    }


def read_resources(text: str) -> dict[str, Resource]:
    """``nodes=2 runtime=120 slurm_partition=batch`` as resources; quotes as in a shell.

    Raises:
        ResourceError: A word is not ``name=value``.
    """
    resources: dict[str, Resource] = {}
    for word in _words("list", text):
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ResourceError(word, "", "write name=value")
        resources[name] = int(value) if re.fullmatch(r"\d+", value) else value
    return resources


def _count(resources: Mapping[str, Resource], name: str) -> int | None:
    value = resources.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0 or number != float(value):
        raise ResourceError(name, value, "give a whole number, at least 0")
    return number


def _cpus(resources: Mapping[str, Resource]) -> Parameters:
    """CPUs of a task or, where these alone are given, of a GPU: Slurm takes one of the two."""
    of_task, of_gpu = _count(resources, "cpus_per_task"), _count(resources, "cpus_per_gpu")
    if of_gpu and not of_task:
        return {"cpus-per-gpu": of_gpu}
    return {"cpus-per-task": of_task or _count(resources, "threads") or 1}


def _memory(resources: Mapping[str, Resource]) -> Parameters:
    total, per_cpu = _count(resources, "mem_mb"), _count(resources, "mem_mb_per_cpu")
    if per_cpu is not None:
        return {"mem-per-cpu": f"{per_cpu}M"}
    return {} if total is None else {"mem": f"{total}M"}


def _tasks(resources: Mapping[str, Resource]) -> Parameters:
    counts = {"ntasks": _count(resources, "tasks"), "ntasks-per-gpu": _count(resources, "tasks_per_gpu")}
    return {option: count for option, count in counts.items() if count}


def _gpus(resources: Mapping[str, Resource]) -> Parameters:
    count = resources.get("gpus") or resources.get("gpu")
    if not count:
        return {}
    model = resources.get("gpu_model")
    return {"gpus": f"{model}:{count}" if model else count}


def _slurm_extra(text: str) -> Parameters:
    options: Parameters = {}
    for word in _words("slurm_extra", text):
        match = re.fullmatch(r"--([a-z][a-z-]*)(?:=(.*))?", word)
        if not match:
            raise ResourceError("slurm_extra", repr(text), f"{word}: write long options as --name=value or --name")
        name, value = match.groups()
        if name in _OURS:
            raise ResourceError("slurm_extra", repr(text), f"--{name} is set by the plugin; leave it out")
        options[name] = True if value is None else value
    return options


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ResourceError(name, repr(text), f"{error}; quote as in a shell") from error
