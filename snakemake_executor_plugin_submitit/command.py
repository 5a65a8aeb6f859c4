"""A Snakemake job as a :class:`Work`: the command that does it, and a key that tells it from every other."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from .backend import Resource, Work
from .resource_rules import ONE_OF

# Snakemake's own shell() sets these for a rule's threads.
_THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
_LONGEST_NAME = 100


def describe(job: Any, direct: bool, nested_command: Callable[[Any], str]) -> Work:
    """Describe a job.

    Args:
        job: Snakemake's job, or group of jobs.
        direct: Whether its shell command is run itself; see :func:`may_run_directly`.
        nested_command: Makes the command line of a Snakemake that runs this job.
    """
    fields = {
        "key": key(job),
        "rule": "group" if job.is_group() else job.rule.name,
        "name": _name(job),
        "command": job.shellcmd if direct else nested_command(job),
        "cwd": os.getcwd(),
        "resources": _resources(job),
        "environment": _environment(job) if direct else {},
    }
    # Snakemake's strings and numbers are of classes of its own, which the job shall not import; JSON makes them plain.
    return Work(**json.loads(json.dumps(fields)))


def may_run_directly(job: Any, workflow: Any) -> bool:
    """Whether running a job's shell command is all that a nested Snakemake would do for it.

    Directories, removal of old output, checks of the result and metadata are the main process's, on a shared file
    system.
    """
    if job.is_group() or not job.is_shell or job.is_shadow or job.benchmark is not None:
        return False
    from snakemake.io import is_flagged
    from snakemake.shell import shell

    rule = job.rule
    deployed = workflow.deployment_settings.deployment_method and (
        rule.conda_env or rule.container_img or rule.env_modules or rule.is_containerized
    )
    customised = shell._process_prefix or shell._process_suffix or "shell_exec" in dict(job.resources.items())
    executable = shell.get_executable()
    return not (
        deployed
        or customised
        or (executable and os.path.basename(executable) != "bash")
        or rule.is_handover
        or (rule.cache is not None and rule.cache.flag)
        # The node alone knows its temporary folder; a command that does not name it needs no value.
        or "resources.tmpdir" in rule.shellcmd
        or getattr(rule.resources.get("tmpdir"), "raw", "system_tmpdir") != "system_tmpdir"
        or set(workflow.storage_settings.shared_fs_usage) != set(SharedFSUsage.all())
        or any(file.is_storage for file in (*job.input, *job.output))
        or any(is_flagged(file, "update") for file in job.output)
    )


async def prepare(job: Any) -> None:
    """Make folders and remove old output, as a nested Snakemake does first.

    Not ``job.prepare()``: on the main process's side it makes a folder of the temporary folder's name, ``<TBD>``.
    """
    await job.check_protected_output()
    await job.remove_existing_output()
    for file in (*job.output, *job.log):
        file.prepare()


def key(job: Any) -> str:
    """``<target>-<content>``: jobs of one target write the same files; the content is all that decides what they write.

    Content is the command (or the code), parameters, and names, sizes and modification times of the input: a result
    that was made from anything else is not this job's.
    """
    members = sorted(job.jobs, key=lambda member: member.jobid) if job.is_group() else [job]
    targets = [
        [os.getcwd(), member.rule.name, sorted(map(str, member.output)), _wildcards(member)] for member in members
    ]
    contents = [[_code(member), _parameters(member), sorted(_stamps(member))] for member in members]
    return f"{_digest(targets)}-{_digest(contents)}"


def target(key: str) -> str:
    """The part of a key that is the same for all jobs that write the same files."""
    return key.partition("-")[0]


def default_resources(workflow: Any) -> dict[str, Resource]:
    """Values of ``--default-resources`` that do not depend on a job, for what is not a job."""
    from snakemake.exceptions import WorkflowError

    values: dict[str, Resource] = {}
    for name, resource in workflow.resource_settings._parsed_default_resources.items():
        if _is_builtin(resource):
            continue  # of a job's input, or of its node
        if resource.is_evaluable():
            try:
                resource = resource.evaluate(
                    {}, rulename="", input=[], attempt=1, threads=1, async_run=workflow.async_run
                )
            except WorkflowError:
                continue  # an expression of the job's input
        if resource.value is not None:
            values[name] = int(resource.value) if isinstance(resource.value, int) else str(resource.value)
    return values


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()[:16]


def _wildcards(job: Any) -> dict[str, str]:
    return {name: str(value) for name, value in job.wildcards_dict.items()}


def _code(job: Any) -> Any:
    rule = job.rule
    if job.is_shell:
        return job.shellcmd
    for source in (rule.script, rule.notebook, rule.template_engine, rule.cwl, rule.wrapper):
        if source:
            path = rule.basedir.join(str(source)).get_path_or_uri(secret_free=True)
            return [str(source), _stamp(path)]
    return rule.run_func_src


def _parameters(job: Any) -> Any:
    return [list(job.params), dict(job.params.items())]


def _stamps(job: Any) -> Iterator[tuple[str, Any]]:
    from snakemake.io import is_flagged

    for file in job.input:
        yield str(file), None if is_flagged(file, "ancient") else _stamp(file)


def _stamp(path: str) -> tuple[int, int] | None:
    """Size and modification time of a regular file; a folder changes with every file that comes into it."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _name(job: Any) -> str:
    if job.is_group():
        text = job.name
    else:
        text = ".".join([job.rule.name, *(f"{name}={value}" for name, value in _wildcards(job).items())])
    return re.sub(r"[^\w.=-]+", "_", text)[:_LONGEST_NAME]


def _resources(job: Any) -> dict[str, Resource]:
    from snakemake.common.tbdstring import TBDString

    given = {"threads": job.threads} | {
        name: value
        for name, value in job.resources.items()
        if not name.startswith("_") and isinstance(value, str | int | float) and not isinstance(value, TBDString)
    }
    members = list(job.jobs) if job.is_group() else [job]
    for names in ONE_OF:
        # Where resources say the same in several ways, the most special source counts; two ways of one source are
        # refused.
        ranks = {name: max(_rank(member, name) for member in members) for name in names if name in given}
        for name, rank in ranks.items():
            if rank < max(ranks.values()):
                del given[name]
    return given


def _rank(job: Any, name: str) -> int:
    """Where a resource of a job comes from: 2 rule or ``--set-resources``, 1 ``--default-resources``, 0 Snakemake."""
    defaults = job.rule.workflow.resource_settings._parsed_default_resources
    if name not in job.rule.resources:
        return 0
    # A rule has copies of its defaults. The copy of a function is the function.
    if name not in defaults or job.rule.resources[name]._value != defaults[name]._value:
        return 2
    return 0 if _is_builtin(defaults[name]) else 1


def _is_builtin(default: Any) -> bool:
    """Whether a default is Snakemake's own: of its sizes it keeps the function, and not the expression."""
    return bool(default.is_evaluable()) and (default.raw is None or default.raw == "system_tmpdir")


def _environment(job: Any) -> dict[str, str]:
    variables = {f"{library}_NUM_THREADS": str(job.threads) for library in _THREADS}
    return {**variables, "VECLIB_MAXIMUM_THREADS": str(job.threads)}
