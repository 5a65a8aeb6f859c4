"""What a site does not have is said before anything is queued, in the profile's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harmony_core.site import Bin, Finding, Profile, Site
from harmony_core.site.scheduler_checks import check_slurm
from harmony_core.slurm.client import Slurm
from harmony_core.slurm.command import NOT_FOUND, Answer
from tests.site.fakes import ACCOUNTING, FakeRun, fake_slurm

ANYWHERE = Site(name="anywhere", source="a test")
BINS = {"batch": (Bin(nodes=2, hours=1), Bin(nodes=4, hours=2))}


def profile(resources: dict[str, Any], **values: Any) -> Profile:
    given = {"runtime": 60, **resources}
    values = {"executor": "submitit", "jobs": 4, "set-resources": {"train": given}, **values}
    return Profile(name="mine", path=Path("mine/config.yaml"), values=values)


def findings(
    resources: dict[str, Any], run: FakeRun | None = None, site: Site = ANYWHERE, **values: Any
) -> list[Finding]:
    return list(check_slurm(Slurm(run or fake_slurm()), profile(resources, **values), site))


def not_ok(*arguments: Any, **named: Any) -> list[str]:
    found = findings(*arguments, **named)
    return [f"{finding.verdict} {finding.line}" for finding in found if finding.verdict != "ok"]


@pytest.fixture(autouse=True)
def _no_account_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)


def test_a_job_that_fits() -> None:
    assert not_ok({"nodes": 2, "tasks_per_node": 8, "cpus_per_task": 8, "gpus_per_node": 8}) == []


def test_a_site_without_accounting_is_fine() -> None:
    (line,) = [one.line for one in findings({}) if one.subject == "accounting"]
    assert line == (
        "accounting: none here (Slurm accounting storage is disabled); not needed, job states are read with squeue"
    )


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (
            {"slurm_partition": "nope"},
            "partition: 'nope' does not exist; set slurm_partition to one of batch, long, old",
        ),
        ({"slurm_partition": "old"}, "partition: 'old' is DOWN"),
        ({"runtime": 121}, "runtime: 121 min is more than the 120 of 'batch'; set runtime to 120 or less"),
        ({"nodes": 5}, "nodes: 5, but 'batch' gives a job 4 at most"),
        ({"nodes": 4, "tasks_per_node": 64}, "nodes: 4 with 64 CPUs, but 'batch' has 3; set nodes to 3 or less"),
        ({"tasks_per_node": 65}, "nodes: 65 CPUs a node, but none in 'batch' has more than 64; lower tasks_per_node"),
        ({"gpus_per_node": 9}, "nodes: 9 GPUs a node, but none in 'batch' has more than 8; lower gpus"),
        ({"mem_mb": 300_000}, "nodes: 300000 MB a node, but none in 'batch' has more than 256000; lower mem_mb"),
        ({"constraint": "h100"}, "nodes: none in 'batch' has the feature 'h100'; set constraint to one of a100, nvme"),
        ({"slurm_account": "$NOT_SET"}, "account: $NOT_SET is not set; export NOT_SET=..."),
    ],
)
def test_what_a_site_does_not_have(resources: dict[str, Any], told: str) -> None:
    (line,) = not_ok(resources)
    assert line.startswith(f"missing train, {told}")


def test_nodes_out_of_service_are_waited_for() -> None:
    (line,) = not_ok({"nodes": 3, "constraint": "nvme"})
    assert line.startswith("warning train, nodes: 3 with 1 CPUs, but only 2 of 3 are in service now")


def test_a_job_without_a_time_limit_is_warned_of() -> None:
    assert not_ok({"runtime": None})[0].startswith("warning train, runtime: none given")


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"slurm_account": "nope"}, "account: 'nope' is not one of yours; use one of abc123, xyz789"),
        ({"qos": "nope"}, "qos: 'nope' does not exist here; use one of debug, normal"),
    ],
)
def test_accounts_and_qualities(resources: dict[str, Any], told: str) -> None:
    (line,) = not_ok(resources, fake_slurm(**ACCOUNTING))
    assert line == f"missing train, {told}"
    (line,) = not_ok(resources)
    assert line.startswith("unknown train, ")
    assert "cannot be checked here" in line
    assert not_ok({"slurm_account": "ABC123", "qos": "debug"}, fake_slurm(**ACCOUNTING)) == []


def test_an_account_in_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Site(name="wants", source="a test", account_required=True)
    (line,) = not_ok({}, fake_slurm(**ACCOUNTING), wanted)
    assert line.startswith("missing train, account: none given, and wants wants one; export SBATCH_ACCOUNT=...")
    monkeypatch.setenv("SBATCH_ACCOUNT", "abc123")
    assert not_ok({}, fake_slurm(**ACCOUNTING), wanted) == []


@pytest.mark.parametrize(
    ("nodes", "runtime", "told"),
    [
        (2, 60, None),
        (
            2,
            61,
            "runtime: 61 min, but binned gives jobs of 2 nodes 1 h; set runtime to 60 or less, or nodes to more than 2",
        ),
        (3, 120, None),
        (3, 121, "runtime: 121 min is more than the 120 of 'batch'"),
    ],
)
def test_bins(nodes: int, runtime: int, told: str | None) -> None:
    lines = not_ok({"nodes": nodes, "runtime": runtime}, site=Site(name="binned", source="a test", bins=BINS))
    assert len(lines) == (told is not None)
    assert all(line.startswith(f"missing train, {told}") for line in lines)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"jobs": 4}, None),
        ({"jobs": 5}, "missing jobs: 5 at once, but only 4 of a user's compete for nodes here; set `jobs: 4`"),
        ({"jobs": 101}, "missing jobs: 101 at once, but only 100 of a user's may be in the queue here; set `jobs: 4`"),
        ({"jobs": 99, "submitit-cluster": "pilot"}, None),
    ],
)
def test_jobs_at_once(values: dict[str, Any], told: str | None) -> None:
    limits = Site(name="few", source="a test", max_eligible_jobs=4, max_queued_jobs=100)
    lines = not_ok({}, site=limits, **{"default-resources": {"runtime": 60}, **values})
    assert len(lines) == (told is not None)
    assert all(line.startswith(str(told)) for line in lines)


def test_the_scheduler_has_the_last_word() -> None:
    refusing = fake_slurm(**{"sbatch --test-only": Answer(1, "", "allocation failure: Invalid qos specification\n")})
    (line,) = not_ok({}, refusing)
    assert line.startswith(
        "missing train, scheduler: would refuse the job: allocation failure: Invalid qos specification"
    )
    assert "sbatch --nodes=1 --cpus-per-task=1 --time=60" in line
    # Where nodes are out of service, its refusal is of this moment.
    lines = not_ok({"nodes": 3, "constraint": "nvme"}, refusing)
    assert [line.split(":")[0] for line in lines] == ["warning train, nodes", "warning train, scheduler"]
    # Not asked about what is known to be wrong.
    run = fake_slurm()
    findings({"slurm_partition": "nope"}, run)
    assert ["sbatch", "--test-only"] not in [command[:2] for command in run.asked]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"sinfo --version": Answer(NOT_FOUND)}, "slurm: no sinfo on PATH; run this on a login node of the cluster"),
        (
            {"scontrol ping": Answer(1, "Slurmctld(primary) at host is DOWN\n")},
            "slurm: the controller does not answer: ",
        ),
        (
            {"scontrol ping": Answer(0, "Slurmctld(primary) at host is DOWN\n")},
            "slurm: the controller does not answer: ",
        ),
    ],
)
def test_no_slurm_ends_the_questions(answers: dict[str, Answer], told: str) -> None:
    (line,) = not_ok({}, fake_slurm(**answers))
    assert line.startswith(f"missing {told}")
