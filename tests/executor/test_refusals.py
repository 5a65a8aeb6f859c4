"""What Slurm says, as it says it (22.05 to 25.05), and what is made of it."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.cluster import Refused
from snakemake_executor_plugin_submitit.refusals import hopeless, refusal, waits_for

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


@pytest.mark.parametrize(
    "words",
    [
        "Unexpected message received",
        "Message receive failure",
        "Message send failure",
        "Communications shutdown failure",
        "Protocol authentication error",
        "Invalid authentication credential",
        "I/O error writing script/environment to file",
        "Slurmdbd connection lost",
        "Job credential expired",
        "Le contr\N{LATIN SMALL LETTER O WITH CIRCUMFLEX}leur est parti",
        "",
    ],
)
def test_words_of_the_way_to_slurm_and_unknown_ones_are_tried_again_a_few_times(words: str) -> None:
    refused = refusal(FAILED + words if words else "", policy_may_pass=False)
    assert (refused.kind, refused.doubtful) == (Refused.NOW, True)
    assert words in str(refused) if words else "without a word" in str(refused)


def test_a_controller_that_is_away_is_no_doubt() -> None:
    refused = refusal(FAILED + "Socket timed out on send/recv operation", policy_may_pass=False)
    assert (refused.kind, refused.doubtful) == (Refused.NOW, False)


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: unrecognized option '--foo'",
        FAILED + "Access/permission denied",
        FAILED + "Batch script is empty!",
        FAILED + "Job dependency problem",
        FAILED + "More processors requested than permitted",
        FAILED + "Pathname of a file, directory or other parameter too long",
        FAILED + "Requested partition configuration not available now",
        "sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.",
        "sbatch: error: lua: You must specify an account",
    ],
)
def test_words_about_the_request_are_final(words: str) -> None:
    assert refusal(words, policy_may_pass=True).kind is Refused.FOREVER


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("None", None),
        ("Resources", "free nodes"),
        ("Priority", "free nodes"),
        ("BeginTime", "the moment at which Slurm may begin it (BeginTime)"),
        ("AssocGrpCpuLimit", "a limit of its account or QOS (AssocGrpCpuLimit)"),
        ("AssocMaxJobsLimit", "a limit of its account or QOS (AssocMaxJobsLimit)"),
        ("QOSMaxJobsPerUserLimit", "a limit of its account or QOS (QOSMaxJobsPerUserLimit)"),
        ("MaxCpuPerAccount", "a limit of its account or QOS (MaxCpuPerAccount)"),
        (
            "ReqNodeNotAvail,_UnavailableNodes:n1",
            "nodes that are down or reserved (ReqNodeNotAvail, UnavailableNodes:n1)",
        ),
        (
            "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved",
            "nodes that are down or reserved (Nodes required for job are DOWN, DRAINED or reserved)",
        ),
        ("PartitionDown", "its partition (PartitionDown)"),
        ("{odd}", "something else ({odd})"),
    ],
)
def test_what_a_job_waits_for(reason: str, told: str | None) -> None:
    assert waits_for(reason) == told


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
