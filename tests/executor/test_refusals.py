"""What Slurm says, as it says it (22.05 to 25.05), and what is made of it."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.cluster import Refused
from snakemake_executor_plugin_submitit.refusals import hopeless, refusal

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    "words",
    [
        FAILED + "Unable to contact slurm controller (connect failure)",
        FAILED + "Socket timed out on send/recv operation",
        FAILED + "Resource temporarily unavailable",
        FAILED + "Zero Bytes were transmitted or received",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "sbatch: error: Slurm job queue full, sleeping and retrying",
        FAILED + "Slurm backup controller in standby mode",
        FAILED + "Required partition not available (inactive or drain)",
    ],
)
def test_passing(words: str) -> None:
    assert refusal(words, policy_may_pass=False).kind is Refused.NOW


@pytest.mark.parametrize(
    "limit",
    [
        "AssocMaxSubmitJobLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "MaxSubmitJobsPerAccount",
        "AssocGrpSubmitJobsLimit",
        "QOSGrpSubmitJobsLimit",
    ],
)
def test_too_many(limit: str) -> None:
    assert refusal(f"sbatch: error: {limit}\n{POLICY}", policy_may_pass=False).kind is Refused.SO_MANY


def test_a_limit_without_a_name_may_be_their_number_while_others_are_queued() -> None:
    assert refusal(POLICY, policy_may_pass=True).kind is Refused.SO_MANY
    assert refusal(POLICY, policy_may_pass=False).kind is Refused.FOREVER
    named = f"sbatch: error: QOSMaxNodePerUserLimit\n{POLICY}"
    assert refusal(named, policy_may_pass=True).kind is Refused.FOREVER


@pytest.mark.parametrize(
    ("words", "resource"),
    [
        (
            f"sbatch: error: invalid partition specified: nope\n{FAILED}Invalid partition name specified",
            "slurm_partition",
        ),
        (FAILED + "Invalid account or account/partition combination specified", "slurm_account"),
        (FAILED + "Invalid qos specification", "qos"),
        (FAILED + "Invalid feature specification", "constraint"),
        (FAILED + "Requested node configuration is not available", "nodes, tasks, threads, mem_mb, gpus"),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", "runtime"),
        (FAILED + "Memory specification can not be satisfied", "mem_mb"),
        (FAILED + "Node count specification invalid", "nodes, tasks, threads, mem_mb, gpus"),
        (FAILED + "Invalid generic resource (gres) specification", "gpus, gres"),
        (FAILED + "Requested reservation is invalid", "reservation"),
        (FAILED + "User's group not permitted to use this partition", "slurm_partition"),
    ],
)
def test_for_ever_with_slurms_words_and_the_resource(words: str, resource: str) -> None:
    refused = refusal(words, policy_may_pass=True)
    assert refused.kind is Refused.FOREVER
    assert words.splitlines()[-1].removeprefix("sbatch: error: ") in str(refused)
    assert f"(resource{'s' if ',' in resource else ''} {resource}" in str(refused)
    assert "\n" not in str(refused)


def test_words_not_known_are_an_error_and_not_waited_for() -> None:
    assert refusal("sbatch: unrecognized option '--foo'", policy_may_pass=True).kind is Refused.FOREVER
    assert "without a word" in str(refusal("", policy_may_pass=True))


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("Resources", False),
        ("Priority", False),
        ("BeginTime", False),
        ("ReqNodeNotAvail,_UnavailableNodes:n1", False),
        ("QOSMaxJobsPerUserLimit", False),
        ("AssocGrpCpuLimit", False),
        ("JobHeldUser", False),
        ("QOSMaxCpuPerUserLimit", False),
        ("MaxCpuPerAccount", False),
        ("PartitionTimeLimit", True),
        ("QOSMaxCpuPerJobLimit", True),
        ("QOSMaxGRESPerNode", True),
        ("QOSMinCpuNotSatisfied", True),
        ("QOSMinGRES", True),
        ("AssocMaxNodePerJobLimit", True),
        ("BadConstraints", True),
        ("launch failed requeued held", True),
        ("DependencyNeverSatisfied", True),
    ],
)
def test_reasons_of_waiting(reason: str, never: bool) -> None:
    assert (hopeless(reason) is not None) == never
