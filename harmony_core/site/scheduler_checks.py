"""Whether Slurm can run what a profile asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from harmony_core.site.finding import Finding, missing, ok, unknown, warning
from harmony_core.site.job_request import JobRequest
from harmony_core.site.limits import Site
from harmony_core.site.profile import Profile
from harmony_core.slurm.client import Node, Partition, Slurm
from harmony_core.slurm.command import NOT_FOUND


def check_slurm(slurm: Slurm, profile: Profile, site: Site) -> Iterator[Finding]:
    """Slurm itself, then account, partition, nodes, times, and Slurm's own word on each job.

    Args:
        slurm: asks Slurm's commands.
        profile: gives the jobs of each rule.
        site: gives its limits.
    """
    if absent := slurm.absent():
        yield missing("slurm", f"no {', '.join(absent)} on PATH", "run this on a login node of the cluster")
        return
    controller = slurm.controller()
    if controller.code or "UP" not in controller.out:
        yield missing("slurm", f"the controller does not answer: {controller.reason}", "ask the site, or try later")
        return
    yield ok("slurm", f"{slurm.version()}, the controller answers")
    yield accounting(slurm)
    requests = profile.requests()
    yield from jobs_at_once(profile, site)
    partitions = slurm.partitions()
    accounts, qualities = slurm.accounts(), slurm.qualities()
    for request in requests:
        findings = [
            account(request, site, accounts, profile),
            quality(request, qualities),
            *place(slurm, request, site, partitions),
        ]
        yield from findings
        verdicts = {finding.verdict for finding in findings}
        if "missing" not in verdicts:
            yield scheduler_says(slurm, request, now="warning" not in verdicts)
    for command, lines in slurm.unreadable.items():
        fix = f"see what {command} prints here; what is told above does not hold it"
        yield warning("slurm", f"{command} printed {lines} lines that cannot be read; they were passed over", fix)


def accounting(slurm: Slurm) -> Finding:
    """Whether sacct works, which this search does not need."""
    answer = slurm.run(["sacct", "--noheader", "--allocations", "--format=JobID"])
    if answer.code == 0:
        return ok("accounting", "sacct answers")
    said = "not installed" if answer.code == NOT_FOUND else answer.reason
    return ok("accounting", f"none here ({said}); not needed, job states are read with squeue")


def jobs_at_once(profile: Profile, site: Site) -> Iterator[Finding]:
    """Whether more jobs would wait in the queue than the site lets compete."""
    limit, queued = site.max_eligible_jobs, site.max_queued_jobs
    jobs = profile.values.get("jobs")
    if queued is not None and profile.cluster != "pilot" and isinstance(jobs, int) and jobs > queued:
        said = f"{jobs} at once, but only {queued} of a user's may be in the queue here"
        yield missing("jobs", said, f"set `jobs: {limit or queued}` in {profile.path}, or `submitit-cluster: pilot`")
        return
    if limit is None:
        return
    if profile.cluster == "pilot":
        yield ok("jobs", f"one standing allocation at a time, {limit} may compete here")
        return
    if isinstance(jobs, int) and jobs <= limit:
        yield ok("jobs", f"{jobs} at once, {limit} may compete here")
    else:
        said = f"{jobs} at once, but only {limit} of a user's compete for nodes here"
        yield missing("jobs", said, f"set `jobs: {limit}` in {profile.path}, or `submitit-cluster: pilot`")


def account(request: JobRequest, site: Site, accounts: Sequence[str] | None, profile: Profile) -> Finding:
    """Whether the job is charged to an account that its user has.

    Args:
        request: one job of a rule.
        site: says whether it wants an account.
        accounts: of the user; None or empty where Slurm does not tell.
        profile: its path is named in the fix.
    """
    subject = f"{request.name}, account"
    given = request.account or os.environ.get("SBATCH_ACCOUNT")
    if given is None:
        if site.account_required:
            fix = f"export SBATCH_ACCOUNT=..., or set default-resources: slurm_account in {profile.path}"
            return missing(subject, f"none given, and {site.name} wants one", fix)
        return ok(subject, "none given, Slurm takes the default one")
    if given.startswith("$"):
        return missing(subject, f"{given} is not set", f"export {given[1:].strip('{}')}=...")
    if not accounts:
        return unknown(subject, f"{given!r} cannot be checked here (sacctmgr tells no account of yours)")
    if given.lower() not in {one.lower() for one in accounts}:
        return missing(subject, f"{given!r} is not one of yours", f"use one of {', '.join(accounts)}")
    return ok(subject, given)


def quality(request: JobRequest, qualities: Sequence[str] | None) -> Finding:
    """Whether the quality of service exists."""
    subject = f"{request.name}, qos"
    if request.qos is None:
        return ok(subject, "none given, Slurm takes the default one")
    if not qualities:
        return unknown(subject, f"{request.qos!r} cannot be checked here (sacctmgr tells none)")
    if request.qos not in qualities:
        return missing(subject, f"{request.qos!r} does not exist here", f"use one of {', '.join(qualities)}")
    return ok(subject, request.qos)


def place(slurm: Slurm, request: JobRequest, site: Site, partitions: Sequence[Partition]) -> Iterator[Finding]:
    """Whether the partition exists, is up, lets the job run so long, and has such nodes.

    Args:
        slurm: asks for the partition's nodes.
        request: one job of a rule.
        site: gives its limits.
        partitions: all that the user sees.
    """
    subject = f"{request.name}, partition"
    found = next((one for one in partitions if one.name == request.partition), None)
    if request.partition is None:
        found = next((one for one in partitions if one.default), None)
    names = ", ".join(one.name for one in partitions) or "none at all"
    if found is None:
        said = f"{request.partition!r} does not exist" if request.partition else "none given, and there is no default"
        yield missing(subject, said, f"set slurm_partition to one of {names}")
        return
    if found.state != "UP":
        yield missing(subject, f"{found.name!r} is {found.state}", f"wait, or take another of {names}")
        return
    yield ok(subject, found.name)
    yield runtime(request, found, site)
    yield nodes(request, found, site, slurm.nodes(found.name))


def runtime(request: JobRequest, partition: Partition, site: Site) -> Finding:
    """Whether the job may run as long as it wants to.

    Args:
        request: one job of a rule.
        partition: that it goes to.
        site: gives its limits by number of nodes.
    """
    subject = f"{request.name}, runtime"
    if request.runtime is None:
        return warning(subject, "none given, Slurm takes the partition's", "set runtime, in minutes")
    if partition.max_minutes is not None and request.runtime > partition.max_minutes:
        said = f"{request.runtime} min is more than the {partition.max_minutes} of {partition.name!r}"
        return missing(subject, said, f"set runtime to {partition.max_minutes} or less")
    if partition.name not in site.bins:
        return ok(subject, f"{request.runtime} min")
    found = site.bin(partition.name, request.nodes)
    if found is None:
        most = site.bins[partition.name][-1].nodes
        return missing(subject, f"no bin of {site.name} has {request.nodes} nodes", f"set nodes to {most} or less")
    if request.runtime > found.hours * 60:
        said = f"{request.runtime} min, but {site.name} gives jobs of {request.nodes} nodes {found.hours:g} h"
        wider = next((one for one in site.bins[partition.name] if one.hours * 60 >= request.runtime), None)
        fix = f"set runtime to {found.hours * 60:g} or less"
        below = max((one.nodes for one in site.bins[partition.name] if wider and one.nodes < wider.nodes), default=0)
        return missing(subject, said, fix if wider is None else f"{fix}, or nodes to more than {below}")
    return ok(subject, f"{request.runtime} min; {request.nodes} nodes may have {found.hours:g} h")


def nodes(request: JobRequest, partition: Partition, site: Site, members: Sequence[Node]) -> Finding:
    """Whether the partition has as many nodes of that kind as the job wants.

    Args:
        request: one job of a rule.
        partition: that it goes to.
        site: says what Slurm does not tell of a node.
        members: nodes of the partition; empty where Slurm does not tell.
    """
    subject = f"{request.name}, nodes"
    if partition.max_nodes is not None and request.nodes > partition.max_nodes:
        said = f"{request.nodes}, but {partition.name!r} gives a job {partition.max_nodes} at most"
        return missing(subject, said, f"set nodes to {partition.max_nodes} or less")
    if not members:
        return unknown(subject, f"sinfo tells none of {partition.name!r}")
    fitting = list(members)
    for what, (wanted, names) in _wanted(request).items():
        most = max(_have(node, what, site) for node in fitting)
        if wanted > most:
            said = f"{wanted} {what} a node, but none in {partition.name!r} has more than {most}"
            return missing(subject, said, f"lower {names}")
        fitting = [node for node in fitting if _have(node, what, site) >= wanted]
    if request.constraint and request.constraint.replace("&", "").replace("_", "").replace("-", "").isalnum():
        fitting = [node for node in fitting if node.features >= set(request.constraint.split("&"))]
        if not fitting:
            features = sorted(set().union(*(node.features for node in members)))
            said = f"none in {partition.name!r} has the feature {request.constraint!r}"
            return missing(subject, said, f"set constraint to one of {', '.join(features)}" if features else "drop it")
    kind = f"{request.cpus_per_node} CPUs" + (f" and {request.node_gpus} GPUs" if request.node_gpus else "")
    if len(fitting) < request.nodes:
        said = f"{request.nodes} with {kind}, but {partition.name!r} has {len(fitting)}"
        return missing(subject, said, f"set nodes to {len(fitting)} or less")
    in_service = sum(node.in_service for node in fitting)
    if in_service < request.nodes:
        said = f"{request.nodes} with {kind}, but only {in_service} of {len(fitting)} are in service now"
        return warning(subject, said, "the job will wait for the others")
    return ok(subject, f"{request.nodes} with {kind}; {in_service} of {len(members)} in {partition.name!r} would do")


def _wanted(request: JobRequest) -> dict[str, tuple[int, str]]:
    """What each node must have, and the resources that say so."""
    return {
        "CPUs": (request.cpus_per_node, "tasks_per_node or cpus_per_task"),
        "GPUs": (request.node_gpus, "gpus"),
        "MB": (request.node_mb, "mem_mb or mem_mb_per_cpu"),
    }


def _have(node: Node, what: str, site: Site) -> int:
    """What a node has of it for jobs."""
    cpus = node.cpus if site.cpus_per_node is None else min(node.cpus, site.cpus_per_node)
    return {"CPUs": cpus, "GPUs": node.gpus, "MB": node.memory_mb}[what]


def scheduler_says(slurm: Slurm, request: JobRequest, now: bool) -> Finding:
    """Slurm's own word: `sbatch --test-only` with what the job will ask for.

    Args:
        slurm: who is asked.
        request: the job.
        now: whether nothing stands against starting it now; Slurm refuses a test where nodes are out of service,
            and queues the job itself.
    """
    subject = f"{request.name}, scheduler"
    refusal = slurm.refusal(request.flags())
    if refusal is None:
        return ok(subject, "would take the job")
    asked = f"asked was sbatch {' '.join(request.flags())}"
    if now:
        return missing(subject, f"would refuse the job: {refusal}", asked)
    return warning(subject, f"cannot start the job as things are: {refusal}", asked)
