"""What this machine must have: folders, modules, variables, data, a plan."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harmony_core.data import data_id
from harmony_core.data.corpus import Unfetchable
from harmony_core.errors import UserError
from harmony_core.resources import ROOT
from harmony_core.search.config import Config
from harmony_core.site import Finding, Profile, Site, local_checks
from harmony_core.site.setup_script import SetupScript
from harmony_core.slurm.command import Answer, run
from tests.site.fakes import FakeRun

ANYWHERE = Site(name="anywhere", source="a test")
TABLE = "Job stats:\njob      count\n-----  -------\ntrain       16\ntotal       17\n"


def profile(**values: Any) -> Profile:
    return Profile(name="mine", path=Path("mine/config.yaml"), values=values)


@pytest.mark.parametrize(
    ("answer", "verdict", "told"),
    [
        (Answer(0, TABLE), "ok", "17 jobs to do"),
        (Answer(0, "Nothing to be done\n"), "ok", "nothing left to do"),
        (
            Answer(2, "", "usage: snakemake\nsnakemake: error: unrecognized arguments: --jbos=3\n"),
            "missing",
            "--jbos=3",
        ),
        (Answer(2, "", "error: config.search.populaton: 3: unknown key\n"), "missing", "config.search.populaton: 3"),
        (Answer(1, "", "Traceback\nRuleException: no rule\n"), "missing", "RuleException: no rule"),
    ],
)
def test_snakemakes_own_word_on_the_plan(
    answer: Answer, verdict: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    finding = local_checks.check_plan(profile(), Path("my.yaml"), FakeRun({"": answer}))
    assert finding.verdict == verdict
    assert told in finding.line


def test_outside_of_a_clone_the_installed_workflow_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fake = FakeRun({"": Answer(0, TABLE)})
    assert local_checks.check_plan(profile(), None, fake).verdict == "ok"
    assert f"--snakefile {ROOT / 'Snakefile'}" in " ".join(map(str, fake.asked[0]))


def test_a_folder_that_is_not_there_yet_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    finding = local_checks.check_folder("results", tmp_path / "results" / "deep", ANYWHERE)
    assert (finding.verdict, list(tmp_path.iterdir())) == ("ok", [])


def test_a_folder_that_cannot_be_written() -> None:
    # Nobody writes here, root neither.
    finding = local_checks.check_folder("job folder", Path("/proc/submitit"), ANYWHERE)
    assert finding.verdict == "missing"
    assert finding.line.startswith("job folder: /proc cannot be written (")


def test_little_space_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1e12, 1e12, 2e9))  # type: ignore[attr-defined]
    finding = local_checks.check_folder("results", tmp_path, ANYWHERE)
    assert finding.verdict == "warning"
    assert "2.0 GB free" in finding.line


def test_a_home_that_nodes_cannot_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(name="strict", source="a test", read_only_on_nodes=("~",))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for place, verdict in (("home/project/results", "missing"), ("orion/results", "ok")):
        assert local_checks.check_folder("results", tmp_path / place, site).verdict == verdict


@pytest.fixture
def module_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A login shell in which `module load` knows two modules, the second after the first alone."""
    body = 'module() { case "$2:$first" in gcc/14:*) first=yes;; mpi/5:yes) ;; *) return 1;; esac; }\n'
    (tmp_path / ".bash_profile").write_text(body)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def modules(setup: str) -> list[Finding]:
    return list(local_checks.check_modules(SetupScript.read(setup), run))


@pytest.mark.usefixtures("module_command")
def test_modules_are_loaded_in_the_order_of_the_setup() -> None:
    assert [finding.line for finding in modules("module load gcc/14\nmodule load mpi/5")] == ["modules: gcc/14, mpi/5"]
    (missing,) = modules("module load mpi/5 || exit 1\nmodule load gcc/14 || exit 1")
    assert (missing.verdict, missing.line) == ("missing", "modules: mpi/5 cannot be loaded; see `module spider mpi`")


def test_no_module_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    no_modules = FakeRun({"bash -lc": Answer(3)})
    (finding,) = local_checks.check_modules(SetupScript.read("module load gcc"), no_modules)
    assert finding.line.startswith("modules: there is no `module` command here; jobs load gcc;")


def test_a_setup_script_that_is_not_there() -> None:
    (finding,) = modules("source nowhere/setup.sh || exit 1")
    assert finding.line.startswith("setup: nowhere/setup.sh does not exist")


def test_a_sourced_script_is_read(tmp_path: Path) -> None:
    script = tmp_path / "setup.sh"
    script.write_text('module load a/1 b  # two\n  export X="$Y:1" Z=2\n# module load c\nmodule purge\n')
    setup = SetupScript.read(f"source {script} || exit 1\nexport W=1")
    assert (setup.modules, setup.variables, setup.absent) == (["a/1", "b"], {"W", "X", "Z"}, ())


def test_variables_of_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(name="mine", source="a test", variables=("SET_HERE", "SET_BY_SETUP", "SET_NOWHERE"))
    monkeypatch.setenv("SET_HERE", "1")
    (finding,) = local_checks.check_variables(SetupScript.read("export SET_BY_SETUP=1"), site)
    assert (finding.verdict, finding.said) == ("missing", "SET_NOWHERE not set")
    monkeypatch.setenv("SET_NOWHERE", "1")
    (finding,) = local_checks.check_variables(SetupScript.read("export SET_BY_SETUP=1"), site)
    assert finding.verdict == "ok"


@pytest.mark.parametrize(
    ("command", "verdict"), [("bash -c true", "ok"), ("no-such-companion --flag", "missing"), ("", "missing")]
)
def test_the_companion_of_a_standing_allocation(command: str, verdict: str) -> None:
    pilot = profile(**{"submitit-cluster": "pilot", "submitit-pilot-command": command})
    assert [finding.verdict for finding in local_checks.check_pilot_command(pilot)] == [verdict]
    assert list(local_checks.check_pilot_command(profile())) == []


def data(**changes: Any) -> Config:
    return Config.parse({"data": changes})


def test_data_that_is_prepared(tmp_path: Path) -> None:
    config = data(source="synthetic")
    assert local_checks.check_data(config, tmp_path).said == "synthetic: will be prepared when the search starts"
    (tmp_path / data_id(config.data)).mkdir()
    assert local_checks.check_data(config, tmp_path).said.endswith(": prepared")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    finding = local_checks.check_data(data(source="files", paths=["/nowhere/text"]), tmp_path)
    assert (finding.verdict, "/nowhere/text" in finding.line) == ("missing", True)


@pytest.mark.parametrize(
    ("error", "fallback", "verdict"),
    [
        (Unfetchable("no network"), "installed-python", "warning"),
        (Unfetchable("no network"), None, "missing"),
        (UserError("shakespeare", "another hash", "do not use it"), "installed-python", "missing"),
        (None, None, "ok"),
    ],
)
def test_text_that_is_fetched(
    error: Exception | None, fallback: str | None, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(local_checks, "fetch_sdist", fetch)
    assert local_checks.check_data(data(fallback=fallback), tmp_path).verdict == verdict
