"""The sites that are described, and the profiles that are called as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.resources import resource_names
from harmony_core.site import Profile, Site
from harmony_core.site.scheduler_checks import jobs_at_once, runtime
from harmony_core.site.setup_script import SetupScript
from harmony_core.slurm.client import Partition

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", resource_names("sites"))
def test_every_site_has_a_profile_that_keeps_to_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    site, profile = Site.named(name), Profile.find(name)
    assert profile.site == site.name == name
    assert [finding for finding in jobs_at_once(profile, site) if finding.verdict != "ok"] == []
    setup = SetupScript.read(profile.setup)
    assert setup.absent == ()
    assert set(site.variables) <= setup.variables
    for request in profile.requests():
        anything = Partition(str(request.partition), False, "UP", None, None)
        assert runtime(request, anything, site).verdict == "ok"
        assert request.cpus_per_node <= (site.cpus_per_node or request.cpus_per_node)


def test_frontiers_rules_fit_its_bins_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of use with `submitit-cluster: slurm`, in which each rule's job goes to the queue by itself."""
    monkeypatch.chdir(ROOT)
    profile = Profile.find("frontier")
    each = profile.model_copy(update={"values": {**profile.values, "submitit-cluster": "slurm", "jobs": 4}})
    batch = Partition("batch", True, "UP", None, None)
    assert {request.name for request in each.requests()} == {"train", "benchmark_latency", "promote", "isoflop"}
    site = Site.named("frontier")
    assert {runtime(request, batch, site).verdict for request in each.requests()} == {"ok"}
    assert [finding.verdict for finding in jobs_at_once(each, site)] == ["ok"]


@pytest.mark.parametrize(("nodes", "hours"), [(1, 2), (91, 2), (92, 6), (183, 6), (184, 12), (9472, 12), (9473, None)])
def test_frontiers_bins(nodes: int, hours: float | None) -> None:
    found = Site.named("frontier").bin("batch", nodes)
    assert (found and found.hours) == hours


def test_a_profile_without_a_site_has_no_rules_but_slurms() -> None:
    site = Site.of_profile("mine")
    assert (site.name, site.bins, site.account_required) == ("mine", {}, False)


def test_this_room_needs_neither_torch_nor_the_command_line() -> None:
    code = "import sys, harmony_core.site; sys.exit(bool({'torch', 'typer', 'snakemake'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_site_is_told() -> None:
    with pytest.raises(UserError, match=r"sites: frontjer: no such name; did you mean 'frontier'\?"):
        Site.named("frontjer")
