"""A batch script that starts one program on many nodes with srun, as a profile's rule asks for them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.site.job_request import JobRequest, shell_words
from harmony_core.site.profile import Profile


class JobScript(Frozen):
    """A program of many ranks in an allocation of its own.

    Args:
        name: of the job.
        command: what each rank runs, without the interpreter.
        ranks: how many.
        log: file of all output.
        minutes: limit on its time; None is the profile's.
    """

    name: str
    command: tuple[str, ...]
    ranks: int
    log: Path
    minutes: int | None = None


def job_script(profile: Profile, job: JobScript, rule: str = "train") -> str:
    """The script of a job whose nodes, tasks and flags are those of a rule of the profile.

    Ranks hear SIGUSR1 ahead of the time limit, and one that fails ends them all.

    Args:
        profile: gives nodes, flags, set-up and the signal's lead.
        job: the program and its ranks.
        rule: the one whose resources are taken.

    Raises:
        UserError: the ranks do not fill whole nodes.
    """
    resources = profile.rules().get(rule)
    if resources is None:
        raise UserError(f"{profile.path}: set-resources.{rule}", "missing", "say there what a training asks for")
    request = _request(resources, job)
    seconds = _signal_seconds(profile)
    lines = ["#!/bin/bash", *(f"#SBATCH {flag}" for flag in _flags(request, job, seconds))]
    lines += ['cd "$SLURM_SUBMIT_DIR" || exit 1', *profile.setup.strip().splitlines(), _srun(request, resources, job)]
    return "\n".join(lines) + "\n"


def _request(resources: dict[str, Any], job: JobScript) -> JobRequest:
    asked = JobRequest.from_resources(job.name, resources)
    a_node = min(asked.node_tasks, job.ranks)
    nodes, rest = divmod(job.ranks, a_node)
    if rest:
        fix = f"a node has {a_node} of them; use a multiple, or up to {a_node}"
        raise UserError("gpus", job.ranks, fix)
    changes = {"nodes": nodes, "tasks": job.ranks, "tasks_per_node": a_node, "runtime": job.minutes or asked.runtime}
    return asked.model_copy(update=changes)


def _signal_seconds(profile: Profile) -> int:
    given = profile.setting("signal_seconds") or 0
    if not str(given).isdecimal():
        raise UserError(f"{profile.path}: submitit-signal-seconds", given, "give whole seconds")
    return int(given)


def _flags(request: JobRequest, job: JobScript, signal_seconds: int) -> Sequence[str]:
    named = [f"--job-name={job.name}", f"--output={job.log}", "--open-mode=append"]
    return [*named, *request.flags(), *([f"--signal=USR1@{signal_seconds}"] if signal_seconds else [])]


def _srun(request: JobRequest, resources: dict[str, Any], job: JobScript) -> str:
    flags = [
        "--kill-on-bad-exit=1",
        f"--nodes={request.nodes}",
        f"--ntasks={job.ranks}",
        f"--ntasks-per-node={request.node_tasks}",
        f"--cpus-per-task={request.cpus_per_task}",
        *shell_words(f"{job.name}.srun_flags", str(resources.get("srun_flags") or "")),
    ]
    python = f'"${{HARMONY_PYTHON:-{sys.executable}}}"'
    return f"exec srun {shlex.join(flags)} {python} {shlex.join(job.command)}"
