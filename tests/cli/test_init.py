"""`harmony init`: a folder from which a search can be started, by questions or flags, never over what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from harmony_core.cli.init_files import Answers, begun
from harmony_core.cli.main import app
from harmony_core.errors import UserError
from harmony_core.search.checking import read_checked
from harmony_core.site.profile import Profile


def init(*arguments: str, questions: str = "") -> str:
    """What the command says."""
    done = CliRunner().invoke(app, ["init", *arguments], input=questions, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my text.txt").write_text("words\n" * 50)
    return tmp_path


@pytest.mark.parametrize("place", ["laptop", "slurm", "frontier"])
@pytest.mark.parametrize("text", [(), ("--text", "my text.txt")])
def test_what_it_writes_is_a_search(
    here: Path, monkeypatch: pytest.MonkeyPatch, place: str, text: tuple[str, ...]
) -> None:
    told = init("mine", "--for", place, "--yes", *text)
    assert told.splitlines()[-1].strip() == "harmony search config.yaml"
    monkeypatch.chdir(here / "mine")
    config = read_checked(Path("config.yaml"))
    assert (config.search.name, config.space) == ("mine", "space.yaml")
    assert config.data.paths == ((str(here / "my text.txt"),) if text else ())
    name = "local" if place == "laptop" else place
    assert Profile.find(f"profiles/{name}").site == name
    for path in Path("profiles").rglob("*.sh"):
        assert os.access(path, os.X_OK) == (path.name == "pack.sh")


def test_every_key_is_explained(here: Path) -> None:
    init("mine", "--yes")
    lines = (here / "mine" / "config.yaml").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line.strip() and not line.strip().startswith("#")]
    assert len(keys) > 20
    assert [lines[number] for number in keys if not lines[number - 1].strip().startswith("#")] == []
    # What HARMONY's own file says of a value stays.
    assert any("By benchmarks/pilot" in line for line in lines)


def test_questions_ask_for_what_is_not_given(here: Path) -> None:
    told = init("mine", "--account", "abc-1", questions="slurm\n'my text.txt'\ntoy\nall\n")
    assert "Where will it run" in told
    assert "account" not in told.replace("--account", "")
    config = yaml.safe_load((here / "mine" / "config.yaml").read_text())
    assert (config["search"]["name"], config["data"]["source"]) == ("toy", "files")
    asked = yaml.safe_load((here / "mine/profiles/slurm/config.yaml").read_text())["default-resources"]
    # Snakemake evaluates what looks like Python, and `all` is a function of Python's.
    assert (asked["slurm_partition"], asked["slurm_account"]) == ("'all'", "'abc-1'")


def test_an_account_where_the_profile_has_no_line_for_it() -> None:
    files = begun(Answers("frontier", "mine", partition="extended", account="abc123"))
    asked = yaml.safe_load(files["profiles/frontier/config.yaml"][0])["default-resources"]
    assert (asked["slurm_partition"], asked["slurm_account"], asked["mem_mb"]) == ("'extended'", "'abc123'", 0)


@pytest.mark.parametrize("name", ["config.yaml", "space.yaml", "profiles/local/config.yaml"])
def test_nothing_is_written_over(here: Path, name: str) -> None:
    path = here / "mine" / name
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere")
    with pytest.raises(UserError, match=f"{name} is there already, and nothing was written"):
        CliRunner().invoke(app, ["init", "mine", "--yes"], catch_exceptions=False)
    assert [one for one in (here / "mine").rglob("*") if not one.is_dir()] == [path]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mine", "--yes", "--text", "no\x1b[31m.txt"), "--text"),
        (("mine", "--yes", "--name", "../up"), "search.name: ../up: use letters"),
        (("mine", "--yes", "--for", "slurm", "--partition", "a'; rm -rf b"), "--partition: a'; rm -rf b: use letters"),
        (("my text.txt", "--yes"), "DIR: my text.txt: is a file"),
    ],
)
def test_mistakes_are_a_line_and_write_nothing(here: Path, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()
    assert [path.name for path in here.iterdir()] == ["my text.txt"]
