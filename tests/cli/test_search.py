"""`harmony search`: what it calls Snakemake with, and what it refuses before that."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.cli import parse_config

from harmony_core.cli.main import app
from harmony_core.cli.search import prepared
from harmony_core.cli.set_option import changes
from harmony_core.cli.snakemake_call import find_profile, snakemake_arguments
from harmony_core.cli.started import recorded
from harmony_core.errors import UserError
from harmony_core.resources import ROOT
from harmony_core.search.checking import merged, read_checked
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder
from tests.logger.test_snakemake import environment
from tests.logger.test_stopped import BEGUN, DONE, WAITING, check
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("search:\n  name: mine\n\nrecipe: {tokens: 100000}\n")
    return tmp_path


SET = (
    *("search.generations=3", "recipe.learning_rate=[1e-3, 3.0e-3]", "recipe.compile=true", "space=nano"),
    *("latency.modes=[prefill]", "recipe.parametrisation.embedding_std=0.1", "data.text_key='a: {b}'"),
)


def test_what_is_set_reaches_the_workflow_as_it_was_checked(here: Path) -> None:
    """Snakemake reads `--config` without YAML's types; the configuration's own give them back."""
    arguments = snakemake_arguments(Path("mine.yaml"), changes(SET))
    given = arguments[arguments.index("--config") + 1 : arguments.index("--snakefile")]
    file = yaml.safe_load(Path("mine.yaml").read_text())
    assert Config.parse(merged(file, parse_config(given))) == read_checked("mine.yaml", changes(SET))
    assert read_checked("mine.yaml", changes(SET)).data.text_key == "a: {b}"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["search"], "--set: search: write SECTION.KEY=VALUE"),
        (["search..name=a"], "--set: search..name=a: write"),
        (["budget.gpu_hours=null"], "take the key out of the file"),
        (["search.name=[a"], "the value is no YAML"),
        (["recipe=1", "recipe.tokens=2"], "recipe has a value already"),
    ],
)
def test_a_setting_that_is_none_is_refused(texts: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        changes(texts)
    assert told in str(caught.value)


def test_every_mistake_is_told_where_it_stands(here: Path) -> None:
    (here / "mine.yaml").write_text("search:\n  name: mine\n  populaton: 4\n\nlatency: {source: predicted:abacus}\n")
    with pytest.raises(UserError) as caught:
        prepared(Path("mine.yaml"), ["search.generations=0"], None, [])
    assert [str(one).split(": ")[:2] for one in caught.value.every] == [
        ["mine.yaml:3", "search.populaton"],
        ["--set", "search.generations"],
        ["mine.yaml:5", "latency.source"],
    ]


def test_snakemake_is_called_as_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda *call: called.append(call))
    app(["search", "mine.yaml", "--profile", "slurm", "--", "-n", "--jobs", "3", "target"], standalone_mode=False)
    profile, snakefile = f"{ROOT}/profiles/slurm", f"{ROOT}/Snakefile"
    words = ["--configfile", "mine.yaml", "--snakefile", snakefile, "--profile", profile, "-n", "--jobs", "3", "target"]
    assert called == [(sys.executable, [sys.executable, "-m", "snakemake", *words])]
    assert capsys.readouterr().out == f"snakemake {' '.join(words)}\n"


@pytest.mark.parametrize("word", ["--profile=x", "--configfile", "-C", "--config"])
def test_what_is_said_twice_is_refused(here: Path, word: str) -> None:
    with pytest.raises(UserError, match="Snakemake's options"):
        snakemake_arguments(Path("mine.yaml"), {}, None, [word, "a=b"])


def test_own_snakefile_is_taken(here: Path) -> None:
    arguments = snakemake_arguments(Path("mine.yaml"), {}, None, ["-s", "mine.smk"])
    assert f"{ROOT}/Snakefile" not in arguments


def test_a_clone_needs_no_word_on_its_snakefile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert "--snakefile" not in snakemake_arguments(Path("config/nano.yaml"), {}, "local")


def test_the_folders_only_profile_is_taken(here: Path) -> None:
    assert find_profile(None) == str(ROOT / "profiles/local")
    for name, taken in (("mine", "profiles/mine"), ("other", str(ROOT / "profiles/local"))):
        (here / "profiles" / name).mkdir(parents=True)
        (here / "profiles" / name / "config.yaml").write_text("cores: 1\n")
        assert find_profile(None) == taken
    assert find_profile("other") == "profiles/other"


def test_no_such_profile_and_one_that_needs_its_scripts_here(here: Path) -> None:
    with pytest.raises(UserError, match="none of this name; use frontier, local, slurm, or a folder"):
        find_profile("lokal")
    with pytest.raises(UserError, match="harmony init --for frontier DIR"):
        find_profile("frontier")


def test_an_installation_that_moved_is_found_again(here: Path) -> None:
    gone = "/nowhere/lib/site-packages/harmony_core/installed"
    main = SearchFolder(here / "results/mine").main
    main.parent.mkdir(parents=True)
    arguments = ["--snakefile", f"{gone}/Snakefile", f"--profile={gone}/profiles/local", "--set", f"{gone}/none"]
    main.write_text(json.dumps({"arguments": arguments, "folder": str(here)}))
    found = recorded(SearchFolder(here / "results/mine")).arguments
    assert found == ("--snakefile", f"{ROOT}/Snakefile", f"--profile={ROOT}/profiles/local", "--set", f"{gone}/none")


def test_a_killed_search_is_unlocked_and_a_running_one_is_not(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Done:
        returncode = 0

    monkeypatch.setattr("subprocess.run", lambda command, check: asked.append(command) or Done())
    (here / ".snakemake/locks").mkdir(parents=True)
    (here / ".snakemake/locks/0.input.lock").touch()
    prepared(Path("mine.yaml"), [], None, [])
    assert asked == []
    SearchFolder(here / "results/mine").main.parent.mkdir(parents=True)
    SearchFolder(here / "results/mine").main.touch()
    prepared(Path("mine.yaml"), [], None, ["-n"])
    assert asked == []
    prepared(Path("mine.yaml"), [], None, [])
    assert [command[-1] for command in asked] == ["--unlock"]


def test_ctrl_c_says_what_is_done_and_how_to_go_on(here: Path) -> None:
    """It becomes Snakemake, which tests/logger tells to stop in every way there is."""
    (here / "toy.smk").write_text(WAITING)
    call = [sys.executable, "-m", "harmony_core", "search", "mine.yaml", "--", "-s", "toy.smk", "--cores", "2"]
    with (here / "said.txt").open("wb") as said:
        streams: dict[str, Any] = {"stdout": said, "stderr": said}
        process = subprocess.Popen(call, cwd=here, env=environment(), start_new_session=True, **streams)
        try:
            wait_until((here / BEGUN).exists)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(PATIENCE) in (1, 130)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = (here / "said.txt").read_text().splitlines()
    check(lines)
    assert lines[-1] == f"stopped by Ctrl-C: {DONE}"
