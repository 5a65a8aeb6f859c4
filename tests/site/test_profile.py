"""Profiles are found and read as Snakemake does."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.site import Profile

TEXT = """
executor: submitit
submitit-cluster: slurm
submitit-folder: $HARMONY_TEST_FOLDER/jobs
default-resources: {runtime: 60, slurm_partition: main}
set-resources:
  train: {nodes: 2, runtime: 120}
  promote: {nodes: 1}
set-threads: {promote: 3}
"""


def write(folder: Path, text: str, name: str = "config.yaml") -> Profile:
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / name).write_text(text)
    return Profile.find(str(folder / "mine"))


def test_a_rule_has_its_own_resources_over_the_defaults(tmp_path: Path) -> None:
    train, promote = write(tmp_path, TEXT).requests()
    assert (train.name, train.nodes, train.runtime, train.partition) == ("train", 2, 120, "main")
    assert (promote.nodes, promote.runtime, promote.cpus_per_task) == (1, 60, 3)


def test_without_rules_the_defaults_count(tmp_path: Path) -> None:
    (request,) = write(tmp_path, "executor: submitit\ndefault-resources: [runtime=30, nodes=2]\n").requests()
    assert (request.name, request.nodes, request.runtime) == ("every rule", 2, 30)


def test_a_standing_allocation_is_one_demand(tmp_path: Path) -> None:
    pilot = TEXT.replace("cluster: slurm", "cluster: pilot\nsubmitit-pilot-resources: nodes=8 runtime=90")
    profile = write(tmp_path, pilot)
    (request,) = profile.requests()
    assert (request.name, request.nodes, request.runtime, request.partition) == ("standing allocation", 8, 90, "main")
    assert profile.uses_slurm


@pytest.mark.parametrize(
    ("text", "slurm"),
    [
        ("executor: submitit", True),
        ("executor: slurm", True),
        ("executor: submitit\nsubmitit-cluster: local", False),
        ("executor: submitit\nsubmitit-cluster: pilot\nsubmitit-pilot-resources: cluster=local", False),
        ("cores: all", False),
    ],
)
def test_who_needs_slurm(tmp_path: Path, text: str, slurm: bool) -> None:
    assert write(tmp_path, text).uses_slurm is slurm


def test_settings_have_their_variables_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMONY_TEST_FOLDER", "/scratch")
    assert write(tmp_path, TEXT).folder == Path("/scratch/jobs")


def test_the_highest_version_of_a_file_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "jobs: 1")
    write(tmp_path, "jobs: 9", "config.v9+.yaml")
    assert write(tmp_path, "jobs: 8", "config.v8+.yaml").values == {"jobs": 9}


def test_a_user_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write(tmp_path, "jobs: 1").path.parent.rename(tmp_path / "mine2")
    (tmp_path / "snakemake").mkdir()
    (tmp_path / "mine2").rename(tmp_path / "snakemake" / "elsewhere")
    assert Profile.find("elsewhere").values == {"jobs": 1}


def test_a_link_is_called_by_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, "jobs: 1")
    (tmp_path / "link").symlink_to("mine")
    assert Profile.find(str(tmp_path / "link")).site == "mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a list", "list: write `key: value` lines"),
        ("jobs: [", "not valid YAML"),
        ("set-resources: {train: 3}", "set-resources.train: 3"),
        ("default-resources: 3", "default-resources: 3"),
        ("default-resources: [nodes]", "default-resources: ['nodes']: write `name: value`"),
        ("submitit-cluster: pilot\nsubmitit-pilot-resources: nodes 8", "pilot-resources: nodes: write name=value"),
        ("submitit-cluster: pilot\nsubmitit-pilot-resources: nodes=8 'x", "pilot-resources: nodes=8 'x: No closing"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        write(tmp_path, text).requests()
    assert told in str(caught.value)


def test_an_unknown_profile_is_told() -> None:
    with pytest.raises(UserError, match=r"profile: nowhere: there is no nowhere/config\.yaml"):
        Profile.find("nowhere")


def test_a_rules_memory_goes_over_a_default_of_another_kind() -> None:
    """profiles/slurm has mem_mb_per_cpu as its default."""
    defaults = {"default-resources": {"mem_mb_per_cpu": 2000, "runtime": 60}}
    rules = {"train": {"mem_mb": 64000}, "promote": {"nodes": 2}}
    profile = Profile(name="mine", path=Path("c"), values={**defaults, "set-resources": rules})
    assert [(request.mem_mb, request.mem_mb_per_cpu) for request in profile.requests()] == [(64000, None), (None, 2000)]
    pilot = {"submitit-cluster": "pilot", "submitit-pilot-resources": "mem_mb=0 nodes=2"}
    (request,) = Profile(name="mine", path=Path("c"), values={**defaults, **pilot}).requests()
    assert (request.mem_mb, request.mem_mb_per_cpu) == (0, None)
