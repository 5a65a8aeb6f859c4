"""What Snakemake may still have to submit."""

from collections.abc import Collection
from typing import Any


def more_to_come(workflow: Any, failed: Collection[Any]) -> bool:
    """Whether a job remains for the executor, beyond those that run; in Snakemake's main thread, which owns the DAG.

    Args:
        workflow: Snakemake's.
        failed: Jobs that failed for good: neither they nor what needs them will run.
    """
    scheduler, dag = workflow.scheduler, workflow.dag
    if failed and not scheduler.keepgoing:
        return False
    if dag.has_unfinished_queue_input_jobs() or not all(map(dag.finished, dag.checkpoint_jobs)):
        return True
    out = _members(scheduler.running) | _downstream(dag, failed)
    return any(not job.is_local and job not in out for job in dag.needrun_jobs())


def _members(jobs: Collection[Any]) -> set[Any]:
    return {member for job in jobs for member in (job.jobs if job.is_group() else (job,))}


def _downstream(dag: Any, jobs: Collection[Any]) -> set[Any]:
    found: set[Any] = set()
    waiting = list(_members(jobs))
    while waiting:
        job = waiting.pop()
        if job not in found:
            found.add(job)
            waiting.extend(dag.depending[job])
    return found
