"""Bad input ends in one line with field, value and fix, an exit code that is not 0, and nothing lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony_core.workflow import Plan
from tests.workflow.compare import tables
from tests.workflow.conftest import Completed, command, harmony, search, write_config


def errors(done: Completed) -> list[str]:
    assert done.returncode != 0
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error:")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"search": {"populaton": 3}}, "search.populaton: 3: unknown key; did you mean 'population'?"),
        ({"search": {"population": 1}}, "search.population: 1: "),
        ({"recipe": {"precision": "fp8"}}, "recipe.precision: fp8: "),
        ({"latency": {"source": "guessed"}}, "'measured' or 'predicted:MACHINE'"),
    ],
)
def test_a_bad_key_or_value(
    tmp_path: Path, changes: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the Snakefile reads them; that Snakemake ends with it, the key given twice shows."""
    with pytest.raises(SystemExit) as ended:
        Plan.read(yaml.safe_load(write_config(tmp_path, **changes).read_text()))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:")
    assert told in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"source": "files", "paths": ["/nowhere/text.txt"]}}, "/nowhere/text.txt"),
        (
            {"recipe": {"sequence_length": 100000, "batch_size": 1, "tokens": 100000, "validation_tokens": 100000}},
            "sequence_length",
        ),
        ({"latency": {"source": "predicted:abacus"}}, "abacus"),
        ({"promote": {"baselines": ["gpt-9"]}}, "gpt-9"),
        ({"promote": {"baselines": ["samba-1.3b"]}}, "window 2048 is longer than the sequence; use at most 64"),
    ],
)
def test_what_only_the_first_step_can_see(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    (line,) = errors(search(tmp_path, write_config(tmp_path, **changes)))
    assert told in line


def test_a_key_given_twice(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text() + "promote: {top_k: 2}\n")
    (line,) = errors(search(tmp_path, config, "-n"))
    assert "'promote' is there twice" in line


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").touch()
    with pytest.raises(SystemExit) as ended:
        Plan.read({"search": {"name": "tiny"}}).start()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: search folder: results/tiny")
    assert line.endswith("Not a directory; results/ must be a folder that you can write to")


def test_an_empty_space(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    space = tmp_path / "space.yaml"
    text = Path(str(Path(__file__).parent / "tiny-space.yaml")).read_text()
    space.write_text(text.replace("num_params: {max: 100_000}", "num_params: {max: 10}"))
    assert space.read_text() != text
    config.write_text(config.read_text().replace(str(Path(__file__).parent / "tiny-space.yaml"), str(space)))
    lines = errors(search(tmp_path, config))
    assert lines
    assert "num_params" in lines[0]


def test_a_changed_config_is_refused_and_loses_nothing(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    folder = copy_of(finished)
    before = tables(folder / "results" / "tiny")
    (line,) = errors(search(folder, write_config(folder, recipe={"learning_rate": 0.5})))
    assert "recipe.learning_rate 0.003 -> 0.5" in line
    assert tables(folder / "results" / "tiny").keys() == before.keys()


def test_a_corrupted_parquet_is_named(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    folder = copy_of(finished)
    path = folder / "results" / "tiny" / "generation=000" / "training" / "shard=000.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    done = harmony(folder, "top", "results/tiny")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "shard=000.parquet" in done.stderr


def test_a_corrupted_shard_is_named(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    folder = copy_of(finished)
    (shard, *_) = sorted((folder / "data").rglob("train*.bin"))
    content = bytearray(shard.read_bytes())
    content[100] ^= 0xFF
    shard.write_bytes(content)
    shutil.rmtree(folder / "results" / "tiny" / "generation=001")
    shutil.rmtree(folder / "results" / "tiny" / "work" / "training" / "generation=001")
    done = search(folder, folder / "config.yaml")
    lines = errors(done)
    assert lines
    assert shard.name in lines[0]
    assert (folder / "results" / "tiny" / "generation=000" / "selection.parquet").exists()


def test_an_unknown_search(tmp_path: Path) -> None:
    done = harmony(tmp_path, "top", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: search: nowhere: no such search")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path) -> None:
    """Writes zeros until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


def test_a_full_disk_is_told_and_what_was_there_stays(small_disk: Path, finished: Path) -> None:
    results = small_disk / "results" / "tiny"
    shutil.copytree(finished / "results" / "tiny", results, ignore=shutil.ignore_patterns("report", "logs", "weights"))
    (results / "generation=001" / "selection.parquet").unlink()
    before = tables(results)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill(ballast)
    done = harmony(small_disk, "run", "select", "--search", "results/tiny", "--generation", "1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "selection.parquet" in done.stderr
    assert "space" in done.stderr
    assert tables(results).keys() == before.keys()
    ballast.unlink()
    assert harmony(small_disk, "run", "select", "--search", "results/tiny", "--generation", "1").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--configfile", "missing.yaml"), "error: --configfile: missing.yaml: No such file or directory; "),
        (("--configfile=latin.yaml",), "error: --configfile: latin.yaml: not UTF-8 text; "),
        (("--configfile", "fine.yaml", "--config", "a.b=c"), "error: --config: a.b=c: a key of the top alone, "),
        (("--config", "foo"), "error: --config: foo: write NAME=VALUE"),
        (("--configfile", "long.yaml"), f"error: search folder: results/{'n' * 300}"),
    ],
)
def test_what_snakemake_itself_cannot_read(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"search: {name: caf\xe9}\n")
    (tmp_path / "fine.yaml").write_text("search: {name: fine}\n")
    (tmp_path / "long.yaml").write_text(f"search: {{name: {'n' * 300}}}\n")
    call = [*command(tmp_path, tmp_path / "none")[:7], *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path)
    (line,) = errors(done)
    assert line.startswith(told)
    assert "Traceback" not in done.stderr
