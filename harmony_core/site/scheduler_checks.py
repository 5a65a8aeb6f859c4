"""Whether Slurm can run what a profile asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from harmony_core.site.command import NOT_FOUND
from harmony_core.site.demand import Demand
from harmony_core.site.finding import Finding, missing, ok, unknown, warning
from harmony_core.site.limits import Site
from harmony_core.site.profile import Profile
from harmony_core.site.slurm import Node, Partition, Slurm


def check_slurm(slurm: Slurm, profile: Profile, site: Site) -> Iterator[Finding]:
    """Slurm itself, then account, partition, nodes, times, and Slurm's own word on each job."""
    if absent := slurm.absent():
        yield missing("slurm", f"no {', '.join(absent)} on PATH", "run this on a login node of the cluster")
        return
    controller = slurm.controller()
    if controller.code or "UP" not in controller.out:
        yield missing("slurm", f"the controller does not answer: {controller.reason}", "ask the site, or try later")
        return
    yield ok("slurm", f"{slurm.version()}, the controller answers")
    yield accounting(slurm)
    demands = profile.demands()
    yield from jobs_at_once(profile, site)
    partitions = slurm.partitions()
    accounts, qualities = slurm.accounts(), slurm.qualities()
    for demand in demands:
        findings = [
            account(demand, site, accounts, profile),
            quality(demand, qualities),
            *place(slurm, demand, site, partitions),
        ]
        yield from findings
        verdicts = {finding.verdict for finding in findings}
        if "missing" not in verdicts:
            yield scheduler_says(slurm, demand, now="warning" not in verdicts)


def accounting(slurm: Slurm) -> Finding:
    """Whether sacct works, which this search does not need."""
    answer = slurm.run(["sacct", "--noheader", "--allocations", "--format=JobID"])
    if answer.code == 0:
        return ok("accounting", "sacct answers")
    said = "not installed" if answer.code == NOT_FOUND else answer.reason
    return ok("accounting", f"none here ({said}); not needed, job states are read with squeue")


def jobs_at_once(profile: Profile, site: Site) -> Iterator[Finding]:
    """Whether more jobs would wait in the queue than the site lets compete."""
    limit = site.max_eligible_jobs
    if limit is None:
        return
    if profile.cluster == "pilot":
        yield ok("jobs", f"one standing allocation at a time, {limit} may compete here")
        return
    jobs = profile.values.get("jobs")
    if isinstance(jobs, int) and jobs <= limit:
        yield ok("jobs", f"{jobs} at once, {limit} may compete here")
    else:
        said = f"{jobs} at once, but only {limit} of a user's compete for nodes here"
        yield missing("jobs", said, f"set `jobs: {limit}` in {profile.path}, or `submitit-cluster: pilot`")


def account(demand: Demand, site: Site, accounts: Sequence[str] | None, profile: Profile) -> Finding:
    """Whether the job is charged to an account that its user has."""
    subject = f"{demand.name}, account"
    given = demand.account or os.environ.get("SBATCH_ACCOUNT")
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


def quality(demand: Demand, qualities: Sequence[str] | None) -> Finding:
    """Whether the quality of service exists."""
    subject = f"{demand.name}, qos"
    if demand.qos is None:
        return ok(subject, "none given, Slurm takes the default one")
    if not qualities:
        return unknown(subject, f"{demand.qos!r} cannot be checked here (sacctmgr tells none)")
    if demand.qos not in qualities:
        return missing(subject, f"{demand.qos!r} does not exist here", f"use one of {', '.join(qualities)}")
    return ok(subject, demand.qos)


def place(slurm: Slurm, demand: Demand, site: Site, partitions: Sequence[Partition]) -> Iterator[Finding]:
    """Whether the partition exists, is up, lets the job run so long, and has such nodes."""
    subject = f"{demand.name}, partition"
    found = next((one for one in partitions if one.name == demand.partition), None)
    if demand.partition is None:
        found = next((one for one in partitions if one.default), None)
    names = ", ".join(one.name for one in partitions) or "none at all"
    if found is None:
        said = f"{demand.partition!r} does not exist" if demand.partition else "none given, and there is no default one"
        yield missing(subject, said, f"set slurm_partition to one of {names}")
        return
    if found.state != "UP":
        yield missing(subject, f"{found.name!r} is {found.state}", f"wait, or take another of {names}")
        return
    yield ok(subject, found.name)
    yield runtime(demand, found, site)
    yield nodes(demand, found, site, slurm.nodes(found.name))


def runtime(demand: Demand, partition: Partition, site: Site) -> Finding:
    """Whether the job may run as long as it wants to."""
    subject = f"{demand.name}, runtime"
    if demand.runtime is None:
        return warning(subject, "none given, Slurm takes the partition's", "set runtime, in minutes")
    if partition.max_minutes is not None and demand.runtime > partition.max_minutes:
        said = f"{demand.runtime} min is more than the {partition.max_minutes} of {partition.name!r}"
        return missing(subject, said, f"set runtime to {partition.max_minutes} or less")
    if partition.name not in site.bins:
        return ok(subject, f"{demand.runtime} min")
    found = site.bin(partition.name, demand.nodes)
    if found is None:
        most = site.bins[partition.name][-1].nodes
        return missing(subject, f"no bin of {site.name} has {demand.nodes} nodes", f"set nodes to {most} or less")
    if demand.runtime > found.hours * 60:
        said = f"{demand.runtime} min, but {site.name} gives jobs of {demand.nodes} nodes {found.hours:g} h"
        wider = next((one for one in site.bins[partition.name] if one.hours * 60 >= demand.runtime), None)
        fix = f"set runtime to {found.hours * 60:g} or less"
        below = max((one.nodes for one in site.bins[partition.name] if wider and one.nodes < wider.nodes), default=0)
        return missing(subject, said, fix if wider is None else f"{fix}, or nodes to more than {below}")
    return ok(subject, f"{demand.runtime} min; {demand.nodes} nodes may have {found.hours:g} h")


def nodes(demand: Demand, partition: Partition, site: Site, members: Sequence[Node]) -> Finding:
    """Whether the partition has as many nodes of that kind as the job wants."""
    subject = f"{demand.name}, nodes"
    if partition.max_nodes is not None and demand.nodes > partition.max_nodes:
        said = f"{demand.nodes}, but {partition.name!r} gives a job {partition.max_nodes} at most"
        return missing(subject, said, f"set nodes to {partition.max_nodes} or less")
    if not members:
        return unknown(subject, f"sinfo tells none of {partition.name!r}")
    fitting = list(members)
    for what, (wanted, names) in _wanted(demand).items():
        most = max(_have(node, what, site) for node in fitting)
        if wanted > most:
            said = f"{wanted} {what} a node, but none in {partition.name!r} has more than {most}"
            return missing(subject, said, f"lower {names}")
        fitting = [node for node in fitting if _have(node, what, site) >= wanted]
    if demand.constraint and demand.constraint.replace("&", "").replace("_", "").replace("-", "").isalnum():
        fitting = [node for node in fitting if node.features >= set(demand.constraint.split("&"))]
        if not fitting:
            features = sorted(set().union(*(node.features for node in members)))
            said = f"none in {partition.name!r} has the feature {demand.constraint!r}"
            return missing(subject, said, f"set constraint to one of {', '.join(features)}" if features else "drop it")
    kind = f"{demand.cpus_per_node} CPUs" + (f" and {demand.node_gpus} GPUs" if demand.node_gpus else "")
    if len(fitting) < demand.nodes:
        said = f"{demand.nodes} with {kind}, but {partition.name!r} has {len(fitting)}"
        return missing(subject, said, f"set nodes to {len(fitting)} or less")
    in_service = sum(node.in_service for node in fitting)
    if in_service < demand.nodes:
        said = f"{demand.nodes} with {kind}, but only {in_service} of {len(fitting)} are in service now"
        return warning(subject, said, "the job will wait for the others")
    return ok(subject, f"{demand.nodes} with {kind}; {in_service} of {len(members)} in {partition.name!r} would do")


def _wanted(demand: Demand) -> dict[str, tuple[int, str]]:
    """What each node must have, and the resources that say so."""
    return {
        "CPUs": (demand.cpus_per_node, "tasks_per_node or cpus_per_task"),
        "GPUs": (demand.node_gpus, "gpus"),
        "MB": (demand.node_mb, "mem_mb or mem_mb_per_cpu"),
    }


def _have(node: Node, what: str, site: Site) -> int:
    """What a node has of it for jobs."""
    cpus = node.cpus if site.cpus_per_node is None else min(node.cpus, site.cpus_per_node)
    return {"CPUs": cpus, "GPUs": node.gpus, "MB": node.memory_mb}[what]


def scheduler_says(slurm: Slurm, demand: Demand, now: bool) -> Finding:
    """Slurm's own word: `sbatch --test-only` with what the job will ask for.

    Args:
        slurm: who is asked.
        demand: the job.
        now: whether nothing stands against starting it now; Slurm refuses a test where nodes are out of service,
            and queues the job itself.
    """
    subject = f"{demand.name}, scheduler"
    refusal = slurm.refusal(demand)
    if refusal is None:
        return ok(subject, "would take the job")
    asked = f"asked was sbatch {' '.join(demand.flags())}"
    if now:
        return missing(subject, f"would refuse the job: {refusal}", asked)
    return warning(subject, f"cannot start the job as things are: {refusal}", asked)
