"""kill -9 of anything at any moment, then resume: the same results, and nothing finished is trained twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harmony_core.cli.resume import resume
from harmony_core.errors import UserError
from harmony_core.store import training
from harmony_core.workflow import only_looks
from tests.waiting import PATIENCE, SOON, wait_until
from tests.workflow.compare import assert_same
from tests.workflow.conftest import ROOT, command, harmony, write_config


def journal(folder: Path) -> list[dict[str, object]]:
    """Every record of every training journal of the search."""
    paths = sorted((folder / "results" / "tiny" / "work" / "training").rglob("journal.jsonl"))
    lines = [line for path in paths for line in path.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def finals(folder: Path) -> list[str]:
    """Keys of the candidates that have a final record, once for each record."""
    return [f"{r['answer']['row']['generation']}/{r['key']}" for r in journal(folder) if r["event"] == "final"]  # type: ignore[index]


def start(folder: Path, config: Path) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command(folder, config), stdout=quiet, stderr=quiet, cwd=ROOT, start_new_session=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Waits until something has happened in the search; its end is a failure."""

    def happened() -> object:
        assert process.poll() is None, "the search ended before it could be disturbed"
        return condition()

    wait_until(happened)


def working_in(folder: Path) -> list[psutil.Process]:
    """Processes whose working directory is `folder`."""
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def named(process: subprocess.Popen[bytes], *words: str) -> list[psutil.Process]:
    """The search's processes whose command line holds all words."""
    found = []
    for child in family(process):
        try:
            line = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if all(word in line for word in words):
            found.append(child)
    return found


def kill_main_alone(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def kill(processes: list[psutil.Process]) -> None:
    """Kills what is still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_everything(process: subprocess.Popen[bytes]) -> None:
    kill([*family(process), psutil.Process(process.pid)])


def kill_main_and_step(process: subprocess.Popen[bytes]) -> None:
    kill(named(process, "harmony_core", "run"))
    process.kill()


Changes = dict[str, dict[str, object]]
# What is struck in a generation needs nothing after it to be whole again; each step that trains imports torch anew.
NO_PROMOTION: Changes = {"promote": {"top_k": 0, "baselines": []}}
ONE_GENERATION: Changes = {"search": {"generations": 1}, **NO_PROMOTION}
FIRST = ("results/tiny/generation=000",)
BOTH = (*FIRST, "results/tiny/generation=001")


@pytest.mark.parametrize(
    ("strike", "done", "changes", "parts"),
    [
        (kill_main_alone, 1, ONE_GENERATION, FIRST),
        (kill_main_and_step, 2, ONE_GENERATION, FIRST),
        (kill_everything, 5, NO_PROMOTION, BOTH),
        (kill_main_alone, 8, {}, ("results/tiny",)),
    ],
)
def test_resume_ends_as_if_undisturbed(
    finished: Path,
    tmp_path: Path,
    strike: Callable[[subprocess.Popen[bytes]], None],
    done: int,
    changes: Changes,
    parts: tuple[str, ...],
) -> None:
    process = start(tmp_path, write_config(tmp_path, **changes))
    wait_for(lambda: len(finals(tmp_path)) >= done, process)
    strike(process)
    process.wait()
    resumed = harmony(tmp_path, "resume", "results/tiny")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_parts_are_the_same(finished, tmp_path, parts)
    keys = finals(tmp_path)
    assert len(keys) == len(set(keys))


def assert_parts_are_the_same(finished: Path, folder: Path, parts: tuple[str, ...]) -> None:
    """These folders hold what those of the undisturbed search hold."""
    for part in parts:
        assert_same(finished / part, folder / part)


def test_a_killed_worker_and_a_killed_forkserver_cost_an_attempt_only(finished: Path, tmp_path: Path) -> None:
    process = start(tmp_path, write_config(tmp_path, **NO_PROMOTION))
    wait_for(lambda: len(finals(tmp_path)) >= 1, process)
    # The forkserver's children carry its command line: the youngest is a candidate, the oldest the server.
    candidates = sorted(named(process, "multiprocessing.forkserver"), key=lambda child: child.create_time())
    kill(candidates[-1:])
    wait_for(lambda: len(finals(tmp_path)) >= 5, process)
    servers = sorted(named(process, "multiprocessing.forkserver"), key=lambda child: child.create_time())
    kill(servers[:1])
    assert process.wait(timeout=PATIENCE) == 0
    assert_parts_are_the_same(finished, tmp_path, BOTH)


def test_a_running_search_is_not_resumed(tmp_path: Path) -> None:
    process = start(tmp_path, write_config(tmp_path))
    wait_for(lambda: finals(tmp_path), process)
    refused = harmony(tmp_path, "resume", "results/tiny")
    assert refused.returncode == 2
    assert f"pid {process.pid}" in refused.stderr
    # As Ctrl-C in a terminal does it; nothing of the search may go on afterwards.
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=PATIENCE)
    wait_until(lambda: not working_in(tmp_path), "nothing to be left", SOON)


def test_plain_snakemake_after_unlock_does_the_same(finished: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, **ONE_GENERATION)
    process = start(tmp_path, config)
    wait_for(lambda: len(finals(tmp_path)) >= 2, process)
    kill_everything(process)
    process.wait()
    subprocess.run(command(tmp_path, config, "--unlock"), check=True, cwd=ROOT, capture_output=True)
    subprocess.run(command(tmp_path, config), check=True, cwd=ROOT, capture_output=True)
    assert_parts_are_the_same(finished, tmp_path, FIRST)


def test_a_search_killed_before_its_manifest_is_resumed(tmp_path: Path) -> None:
    process = start_one_generation(tmp_path)
    wait_for(lambda: (tmp_path / "results" / "tiny" / "work" / "config.json").exists(), process)
    kill_everything(process)
    process.wait()
    assert not (tmp_path / "results" / "tiny" / "manifest.json").exists()
    resumed = harmony(tmp_path, "resume", "tiny")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len(finals(tmp_path)) == 4


def test_a_manifest_that_snakemake_holds_for_incomplete_is_made_again_and_the_rest_too(tmp_path: Path) -> None:
    process = start_one_generation(tmp_path)
    wait_for(lambda: list((tmp_path / ".snakemake" / "incomplete").glob("*")), process)
    kill_everything(process)
    process.wait()
    # As the step does it when it outlives the main process.
    assert harmony(tmp_path, "run", "settle", "--search", "results/tiny").returncode == 0
    resumed = harmony(tmp_path, "resume", "tiny")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len(finals(tmp_path)) == 4
    promote_by_name(tmp_path)


def promote_by_name(folder: Path) -> None:
    """What a person names is trained again, and the search's own command finds nothing that it would undo."""
    first, second, *_ = training(folder / "results" / "tiny").collect()["architecture_id"].to_list()
    told = harmony(folder, "promote", first[:8], "--replicates", "2", "--tokens", "1024", "--dry-run")
    assert told.stdout == (
        "promotion: 0 of the front, 1 asked for, 0 baselines, each 2 seeds x 1 learning rates x 1024 tokens: "
        "2 trainings at most, less what is trained\n"
    )
    for ids in ((first[:8],), (f"tiny/{second}", first)):
        done = harmony(folder, "promote", *ids, "--replicates", "2", "--tokens", "1024")
        assert done.returncode == 0, done.stdout + done.stderr
    rows = training(folder / "results" / "tiny", promoted=True).collect()
    assert rows.select("architecture_id", "replicate").rows() == [
        (one, seed) for one in (first, second) for seed in (0, 1)
    ]
    assert set(rows["tokens"]) == {1024}
    refused = harmony(folder, "promote", first, "--tokens", "2048")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "tokens: 2048: it promoted at 1024 tokens" in refused.stderr
    promote_as_told(folder, first, refused.stderr)
    refused = harmony(folder, "promote", first, "--replicates", "1")
    assert "replicates: 1: the search has 2; use as many or more" in refused.stderr
    verified = harmony(folder, "verify", "tiny")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def promote_as_told(folder: Path, one: str, refusal: str) -> None:
    """The commands that a refusal of other tokens says promote so in a copy, and leave the search as it is."""
    commands = refusal[refusal.index("mkdir -p ") :].replace(
        "harmony promote", f"{sys.executable} -m harmony_core promote"
    )
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = folder.with_name(f"{folder.name}-2048-tokens") / "results" / "tiny"
    again, before = (training(path, promoted=True).collect() for path in (copy, folder / "results" / "tiny"))
    assert set(again["tokens"]) == {2048}
    assert set(again["architecture_id"]) == set(before["architecture_id"]) >= {one}
    assert set(before["tokens"]) == {1024}


def start_one_generation(folder: Path) -> subprocess.Popen[bytes]:
    return start(folder, write_config(folder, **ONE_GENERATION))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"folder": "/", "arguments": 3}'])
def test_a_damaged_record_of_the_start_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "main.json").write_text(text)
    with pytest.raises(UserError, match=r"main\.json: damaged: start again with snakemake"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "looks"),
    [
        (["--profile", "slurm", "-n"], True),
        (["-np", "--profile", "slurm"], True),
        (["--profile", "slurm", "-pnq"], True),
        (["--profile", "slurm", "--dry-run"], True),
        (["--profile", "slurm", "-p"], False),
        (["--profile", "slurm", "--unlock"], False),
        (["--nolock", "-j1"], False),
    ],
)
def test_who_looks_needs_no_right_to_the_search(arguments: list[str], looks: bool) -> None:
    assert only_looks(arguments) == looks
