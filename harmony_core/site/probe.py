"""A job of one task that begins as every job does, and says how it is there."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harmony_core.errors import UserError
from harmony_core.site.environment import TOLD, installed
from harmony_core.site.finding import Finding, missing, ok, warning
from harmony_core.site.job_request import JobRequest
from harmony_core.site.limits import Site
from harmony_core.site.node_report import ANSWER
from harmony_core.site.profile import Profile
from harmony_core.slurm.command import TOO_LATE, Run

LIMIT_SECONDS = 600.0
_RUNTIME_MINUTES = 5
# A shared file system may show a new file late.
_APPEARS_SECONDS = 30.0
_CLOCK_SECONDS = 2.0


def check_node(profile: Profile, site: Site, run: Run, limit: float = LIMIT_SECONDS) -> Iterator[Finding]:
    """Sends a job of one task, and waits for it.

    Args:
        profile: gives the resources, the set-up and a folder to write to.
        site: says which variables a job needs.
        run: runs a command and answers with its output.
        limit: most seconds to wait.
    """
    try:
        profile.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=profile.folder) as folder:
            place = Path(folder).absolute()
            yield from _ask(profile, site, run, place, limit)
    except OSError as error:
        yield missing("probe", f"{profile.folder}: {error.strerror}", "choose another submitit-folder")


def _ask(profile: Profile, site: Site, run: Run, folder: Path, limit: float) -> Iterator[Finding]:
    request = profile.requests()[0]
    one = request.model_copy(update={"nodes": 1, "runtime": min(request.runtime or _RUNTIME_MINUTES, _RUNTIME_MINUTES)})
    (folder / "probe.sh").write_text(script(profile, site, one, folder), encoding="utf-8")
    name = f"harmony-doctor-{uuid.uuid4().hex[:8]}"
    log = folder / "log"
    before = time.time()
    command = ["sbatch", "--wait", f"--job-name={name}", f"--output={log}", *one.flags(), str(folder / "probe.sh")]
    try:
        answer = run(command, limit=limit)
    finally:
        # This ends the job where it still waits: after the limit, and after Ctrl-C.
        run(["scancel", f"--name={name}"])
    if answer.code == TOO_LATE:
        yield warning("probe", f"no node within {limit:g} s", "try again with a higher --probe-seconds")
        return
    told = _answer(folder / ANSWER, _APPEARS_SECONDS if answer.code == 0 else 0.0)
    after = time.time()
    if told is None:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:] if log.is_file() else []
        said = tail[0] if tail else f"{answer.reason}; it left no log, so {profile.folder} may not be shared"
        yield missing("probe", f"the job failed: {said}", f"correct that, or submitit-setup in {profile.path}")
        return
    yield ok("probe", f"{told['node']} sees {profile.folder}, {told['devices']} GPUs of its own for one task")
    if not told["devices"] and (request.node_gpus or "--gpu" in _srun_flags(profile)):
        said = f"torch {told['versions'].get('torch')} sees none on {told['node']}, and jobs ask for them"
        yield missing("GPUs", said, "install the build of torch that is for this site's GPUs")
    yield from judge(told, site, before, after)


def script(profile: Profile, site: Site, request: JobRequest, folder: Path) -> str:
    """The batch script: the profile's setup, then one task that reports.

    Args:
        profile: gives the set-up and srun's flags.
        site: says which variables are reported.
        request: gives the CPUs of the task.
        folder: that the task writes its report to.
    """
    report = ["-m", "harmony_core.site.node_report", str(folder), *site.variables]
    python = f'"${{HARMONY_PYTHON:-{sys.executable}}}"'
    task = f"--nodes=1 --ntasks=1 --cpus-per-task={request.cpus_per_task}"
    launch = f"srun {task} {_srun_flags(profile)} {python} {shlex.join(report)}"
    return f"#!/bin/bash\n{profile.setup}\n{launch}\n"


def _srun_flags(profile: Profile) -> str:
    return next((str(rule["srun_flags"]) for rule in profile.rules().values() if rule.get("srun_flags")), "")


def judge(told: Mapping[str, Any], site: Site, before: float, after: float) -> Iterator[Finding]:
    """What a node's report means.

    Args:
        told: the report.
        site: what its jobs need.
        before: this machine's clock when the job was sent.
        after: this machine's clock when it was over.
    """
    here = installed()
    differing = [
        f"{name} {version}, here {here.get(name)}"
        for name in TOLD
        if (version := told["versions"].get(name)) != here.get(name)
    ]
    if differing:
        yield missing("ranks' python", f"{told['python']} has {'; '.join(differing)}", "pack the environment again")
    else:
        yield ok("ranks' python", f"{told['python']}, the same versions as here")
    if told["unset"]:
        said = f"{', '.join(told['unset'])} not set on the node"
        yield missing("job's variables", said, f"export them in profiles/{site.name}/setup.sh")
    yield _of_fork(told)
    # The node read its clock between these two moments; only a difference beyond them is certain.
    apart = max(before - told["time"], told["time"] - after, 0.0)
    if apart > _CLOCK_SECONDS:
        said = f"{told['node']} is at least {apart:.0f} s apart from this machine"
        yield warning("clocks", said, "times in logs will not agree; no result depends on them")
    else:
        yield ok("clocks", f"{told['node']} and this machine agree, as far as one job can tell")


def _of_fork(told: Mapping[str, Any]) -> Finding:
    """Whether a candidate, which is forked after the preload, can use the device."""
    node, fork = told["node"], told["fork"]
    if "error" in fork:
        fix = "no candidate would train there; unset what makes imports ask for devices, and see docs/sites.md"
        return missing("fork", f"a child of a warm worker on {node} failed: {fork['error']}", fix)
    if told["devices"] and fork["device"] == "cpu":
        said = f"a child of a warm worker on {node} computes on the CPU, and torch sees {told['devices']} GPUs"
        return missing("fork", said, "name the GPUs in CUDA_VISIBLE_DEVICES, or in ROCR_VISIBLE_DEVICES on AMD's")
    return ok("fork", f"a child of a warm worker computes on {fork['device']}")


def _answer(path: Path, limit: float) -> dict[str, Any] | None:
    """The node's report; None where there is none within `limit` seconds, or none that can be understood."""
    deadline = time.monotonic() + limit
    while True:
        try:
            return parse_report(path.read_bytes())
        except OSError:
            # The file is not there yet, or a shared file system has a passing error.
            if time.monotonic() >= deadline:
                return None
        time.sleep(0.1)


def parse_report(content: bytes) -> dict[str, Any] | None:
    """What `node_report` wrote; None for anything else."""
    try:
        report = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match report:
        case {
            "node": str(),
            "time": int() | float(),
            "python": str(),
            "versions": dict(versions),
            "devices": int(),
            "unset": list(unset),
            "fork": {"device": str()} | {"error": str()},
        } if all(isinstance(one, str) for one in (*versions.values(), *unset)):
            return dict(report)
    return None


def refuse_local(profile: Profile) -> None:
    """A profile that sends nothing to Slurm has no node to ask."""
    if not profile.uses_slurm:
        raise UserError("--probe", profile.name, "this profile sends no job to Slurm; leave --probe out")
