"""Snakemake's resources as submitit's parameters; names are those of the official Slurm plugin."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from .backend import Resource
from .resource_rules import ResourceError, check_resources, is_given

Parameters = dict[str, Any]

# Each resource, and submitit's parameter of the same meaning.
_NAMED = {
    "slurm_partition": "partition",
    "slurm_account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "gres": "gres",
    "exclude": "exclude",
    "tasks_per_node": "ntasks_per_node",
}
# The plugin or submitit sets these. Another value would cut the plugin off from its jobs.
_OURS = {"array", "error", "job-name", "open-mode", "output", "parsable", "signal", "test-only", "wait", "wrap"}
_LONGEST_LOCAL_MINUTES = 365 * 24 * 60
# `2`, `a100:2`, `a100:2,v100:1`
_GPU_COUNT = re.compile(r"(?:[A-Za-z][\w.-]*:)?[0-9]{1,6}(?:,[A-Za-z][\w.-]*:[0-9]{1,6})*")
# Each option of sbatch, and the resource that says the same.
_OPTIONS = {
    **{name.replace("_", "-"): resource for resource, name in _NAMED.items()},
    **{"time": "runtime", "nodes": "nodes", "ntasks": "tasks", "reservation": "reservation"},
}


# The order of sbatch_flags: first how much, then where.
_ORDER = (
    "nodes",
    "ntasks",
    "ntasks_per_node",
    "ntasks-per-gpu",
    "cpus-per-task",
    "cpus-per-gpu",
    "gpus",
    "gpus_per_node",
    "gpus_per_task",
    "mem",
    "mem-per-cpu",
    "mem-per-gpu",
    "time",
    "partition",
    "account",
    "qos",
    "constraint",
    "gres",
    "reservation",
    "exclude",
)


def slurm_parameters(resources: Mapping[str, Resource], setup: str = "", signal_seconds: int = 300) -> Parameters:
    """Parameters of submitit's Slurm executor.

    Args:
        resources: Of one job, with ``threads``.
        setup: Shell lines for the batch script, before the job starts.
        signal_seconds: Lead of SIGUSR2 ahead of the time limit, at most half of that.

    Raises:
        ResourceError: A value makes no sense, or an option of ``slurm_extra`` is the plugin's.
    """
    check_resources(resources)
    minutes = _count(resources, "runtime")
    parameters: Parameters = {
        "nodes": _least_one(resources, "nodes") or 1,
        # None, here and below, keeps submitit from writing its own default, so that the site's counts.
        "time": minutes,
        "wckey": None,
        "signal_delay_s": min(signal_seconds, minutes * 30) if minutes else signal_seconds,
        "use_srun": False,
        # A signal to the batch step must not end the batch shell before the command: slurmstepd at once kills what a
        # dead shell leaves behind.
        "setup": ["trap : TERM", *setup.splitlines()],
    }
    for resource, name in _NAMED.items():
        if is_given(resources, resource):
            parameters[name] = resources[resource]
    parameters |= _gpus_of(resources)
    extra = _slurm_extra(str(resources.get("slurm_extra") or ""))
    for option in extra.keys() & _OPTIONS.keys():
        if is_given(resources, _OPTIONS[option]):
            fix = f"--{option} is resource {_OPTIONS[option]}={resources[_OPTIONS[option]]} too; say it once"
            raise ResourceError("slurm_extra", repr(resources["slurm_extra"]), fix)
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


def sbatch_flags(resources: Mapping[str, Resource]) -> list[str]:
    """What sbatch is asked for, as flags of its own; for whoever asks Slurm about a job without submitting it.

    Raises:
        ResourceError: As for `slurm_parameters`.
    """
    parameters = slurm_parameters(resources)
    options = {**parameters, **parameters["additional_parameters"]}
    wanted = dict.fromkeys([*_ORDER, *parameters["additional_parameters"]])
    given = {name: options[name] for name in wanted if name != "requeue" and options.get(name) is not None}
    # submitit writes options like this.
    return [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in given.items()]


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
    """``nodes=2 runtime=120 slurm_partition=batch`` as resources; quotes as in a shell, times and sizes as in a rule.

    Raises:
        ResourceError: A word is not ``name=value``, or a time or size cannot be read.
    """
    resources: dict[str, Resource] = {}
    for word in _words("list", text):
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ResourceError(word, "", "write name=value")
        if re.fullmatch(r"[0-9]{1,18}", value):
            resources[name] = int(value)
        elif name in ("runtime", "mem"):
            name, value_read = _human(name, value)
            resources[name] = value_read
        else:
            resources[name] = value
    if "mem" in resources:
        raise ResourceError("mem", resources["mem"], "give a size such as 64GB, or mem_mb")
    return resources


def _human(name: str, value: str) -> tuple[str, int]:
    """A time in minutes, or a size in MB, as Snakemake reads them of a rule."""
    from snakemake.exceptions import WorkflowError
    from snakemake.resources import Resource as SnakemakeResource

    try:
        number = SnakemakeResource.parse_human_friendly(name, value)
    except (WorkflowError, ValueError, OverflowError):
        number = value
    if not isinstance(number, int):
        raise ResourceError(name, value, "give minutes, or a text such as 2h; a size such as 64GB")
    return ("mem_mb" if name == "mem" else name), number


def _least_one(resources: Mapping[str, Resource], name: str) -> int | None:
    number = _count(resources, name)
    if number == 0:
        raise ResourceError(name, 0, "give at least 1, or leave it out")
    return number


def _count(resources: Mapping[str, Resource], name: str) -> int | None:
    value = resources.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(value)
        whole = number == float(value)
    except (ValueError, OverflowError):
        number, whole = -1, False
    if number < 0 or not whole:
        raise ResourceError(name, value, "give a whole number, at least 0")
    return number


def _cpus(resources: Mapping[str, Resource]) -> Parameters:
    """CPUs of a task or, where these are given, of a GPU: Slurm takes one of the two."""
    if of_gpu := _least_one(resources, "cpus_per_gpu"):
        return {"cpus-per-gpu": of_gpu}
    return {"cpus-per-task": _least_one(resources, "cpus_per_task") or _count(resources, "threads") or 1}


def _memory(resources: Mapping[str, Resource]) -> Parameters:
    options = {"mem_mb": "mem", "mem_mb_per_cpu": "mem-per-cpu", "mem_mb_per_gpu": "mem-per-gpu"}
    counts = {option: _count(resources, name) for name, option in options.items()}
    return {option: f"{count}M" for option, count in counts.items() if count is not None}


def _tasks(resources: Mapping[str, Resource]) -> Parameters:
    counts = {"ntasks": _least_one(resources, "tasks"), "ntasks-per-gpu": _least_one(resources, "tasks_per_gpu")}
    return {option: count for option, count in counts.items() if count}


def _gpus_of(resources: Mapping[str, Resource]) -> Parameters:
    """GPUs of nodes and tasks, as submitit's parameters."""
    names = ("gpus_per_node", "gpus_per_task")
    return {name: count for name in names if (count := _gpu_count(resources, name))}


def _gpus(resources: Mapping[str, Resource]) -> Parameters:
    count = _gpu_count(resources, "gpus") or _gpu_count(resources, "gpu")
    return {"gpus": count} if count else {}


def _gpu_count(resources: Mapping[str, Resource], name: str) -> str | None:
    """A number of GPUs with their model, as sbatch takes it; None for none."""
    if not is_given(resources, name) or str(resources[name]) == "0":
        return None
    count, model = str(resources[name]), resources.get("gpu_model")
    if not _GPU_COUNT.fullmatch(count):
        raise ResourceError(name, count, "give a number, or MODEL:NUMBER")
    if not model:
        return count
    if ":" in count:
        raise ResourceError("gpu_model", model, f"{name}={count} names a model too; leave one out")
    return f"{model}:{count}"


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
