"""Every command with an argument that is missing, unreadable, unwritable or full: one line, exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony_core.store import population
from tests.cli.many_commands import answers
from tests.progress.searches import MadeUpSearch

LONG = "n" * 300
ARCHITECTURE = "d_model: 32\nvocab_size: 64\nblocks:\n- {kind: mlp, d_ff: 64}\n"
# Root reads and writes what nobody else may, unless it gives that up.
POWERS = "-dac_override,-dac_read_search"
PLAIN = ["setpriv", f"--bounding-set={POWERS}", f"--inh-caps={POWERS}"] if os.geteuid() == 0 else []

SEARCHES = ("locked", "closed", "file", LONG, "nowhere")
OF_A_SEARCH = (
    ("top", "{}"),
    ("pareto", "{}"),
    ("aggregate", "{}"),
    ("report", "{}"),
    ("watch", "{}", "--once"),
    ("resume", "{}"),
    ("show", "abc", "--search", "{}"),
    ("export", "abc", "--search", "{}", "-o", "new"),
    ("reproduce", "abc", "--search", "{}"),
)
FILES = ("locked.yaml", "latin.yaml", "folder.yaml", f"{LONG}.yaml", "nowhere.yaml", "empty.yaml", "deep.yaml")
OF_A_FILE = (
    ("cost", "{}"),
    ("plan", "{}"),
    ("grow", "{}"),
    ("train", "{}", "--out", "file"),
    ("train", "llama-nano", "--out", "file", "--recipe", "{}"),
    ("cost", "llama-nano", "--machine", "{}"),
    ("config", "check", "{}"),
    # An empty file is a configuration, with which Snakemake would start.
    ("search", "{}", "--profile", "nowhere"),
    ("doctor", "--profile", "profile", "--configfile", "{}"),
    ("run", "train", "--search", "{}", "--generation", "0", "--shard", "0"),
    ("run", "mutate", "--search", "{}", "--generation", "0"),
    ("run", "select", "--search", "{}", "--generation", "0"),
    ("run", "settle", "--search", "{}"),
    ("run", "data", "--search", "{}"),
    ("run", "report", "--search", "{}"),
)
# An empty file is a configuration that leaves all at its default, and a recipe that does.
FINE = (("config", "empty.yaml"), ("doctor", "empty.yaml"))
OUTPUTS = ("file/within", "sealed/new", f"{LONG}/new", "/dev/full/new")
WRITERS = (
    ("report", "toy", "--out", "{}"),
    ("train", "small.yaml", "--out", "{}"),
    ("calibrate", "-o", "{}/machine.yaml"),
    ("plan", "small.yaml", "--plot", "{}/figure.html"),
    ("grow", "small.yaml", "--out", "{}/large.yaml"),
    ("init", "{}", "--yes", "--name", "mine"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of things that refuse to be read or written."""
    root = tmp_path_factory.mktemp("refusing")
    for name in ("toy", "closed"):
        search = MadeUpSearch(root, generations=1, name=name)
        search.prepare()
        search.finish(0, {one: (3.0 - 0.1 * one, 0.01) for one in range(8)})
        search.end()
    for folder in (root / "results" / "locked", root / "sealed", root / "folder.yaml", root / "profile"):
        folder.mkdir()
    (root / "results" / "file").touch()
    (root / "file").touch()
    (root / "small.yaml").write_text(ARCHITECTURE)
    (root / "locked.yaml").write_text(ARCHITECTURE)
    (root / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (root / "empty.yaml").touch()
    (root / "deep.yaml").write_text("[" * 1000)
    (root / "profile" / "config.yaml").write_text("cores: 1\n")
    locks = {root / "results" / "locked": 0o000, root / "results" / "closed" / "generation=000": 0o000}
    locks |= {root / "sealed": 0o555, root / "locked.yaml": 0o000}
    for path, mode in locks.items():
        path.chmod(mode)
    yield root
    for path in locks:
        path.chmod(0o700)


def assert_one_line(found: dict[str, object], code: int = 2) -> None:
    told = str(found["told"])
    assert found["code"] == code, found
    assert told.startswith("error: "), found
    assert told.count("\n") == 1, found


def filled(commands: tuple[tuple[str, ...], ...], values: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [tuple(word.replace("{}", value) for word in command) for command in commands for value in values]


def test_searches_that_cannot_be_read(root: Path) -> None:
    for found in answers(filled(OF_A_SEARCH, SEARCHES), root, PLAIN):
        assert_one_line(found)


def test_files_that_cannot_be_read(root: Path) -> None:
    for found in answers(filled(OF_A_FILE, FILES), root, PLAIN):
        words, told = [str(word) for word in found["arguments"]], str(found["told"])  # type: ignore[attr-defined]
        if any(words[0] == command and name in words for command, name in FINE):
            assert "Traceback" not in told
        elif told.startswith("Usage: "):
            # The parser of the command line looks whether a path that is there can be read, and says so in its own way.
            assert found["code"] == 2
            assert "'locked.yaml' is not readable" in told
        else:
            assert_one_line(found)


def test_places_that_cannot_be_written(root: Path) -> None:
    for found in answers(filled(WRITERS, OUTPUTS), root, PLAIN):
        assert_one_line(found)
    assert list((root / "sealed").iterdir()) == []


def test_export_goes_into_no_search(root: Path) -> None:
    before = sorted(root.rglob("*"))
    for found in answers(filled((("export", "abc", "-o", "{}"),), ("results/toy", "results/toy/new")), root, PLAIN):
        assert_one_line(found)
        assert "results/toy is a search; name a folder outside of it" in str(found["told"])
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("command", [("top", "toy"), ("show", "ID", "--yaml"), ("config", "default")])
def test_standard_output_that_is_full(root: Path, command: tuple[str, ...]) -> None:
    one = population(root / "results" / "toy").collect()["architecture_id"][0]
    words = [f"toy/{one}" if word == "ID" else word for word in command]
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-m", "harmony_core", *words]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=root)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_a_folder_that_vanished_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from harmony_core.cli.main import main; main()"
    for words in (["top", "toy"], ["report", "toy", "--out", "new"], ["export", "abc", "-o", "new"]):
        gone.mkdir(exist_ok=True)
        call = [sys.executable, "-c", code, *words]
        done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=gone)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
