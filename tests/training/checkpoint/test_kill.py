"""A kill at any moment leaves a whole checkpoint the newest, and nothing that a later run would take for its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_core.training.checkpoint import CheckpointWriter, commit, folders, newest, open_checkpoint, save
from harmony_core.training.checkpoint.manifest import Manifest
from tests.training.checkpoint.ranks import assert_state, cut, save_all, save_alone, state, whole, writers
from tests.waiting import wait_until

FORK = multiprocessing.get_context("fork")


def in_child(work: Callable[[], None]) -> int | None:
    """Runs `work` in a forked child; its exit code, -9 if it was killed."""
    child = FORK.Process(target=work)
    child.start()
    child.join(20)
    child.kill()
    return child.exitcode


def kill_at_call(place: Any, name: str, number: int) -> None:
    """Kills the process when a function is called for the `number`-th time from now on."""
    function, calls = getattr(place, name), 0

    def killing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    setattr(place, name, killing)


# Where the kill strikes while step 2 is saved, with what must be found then.
MOMENTS = [
    pytest.param(save, "write_tensors", 1, 1, id="before the values"),
    pytest.param(zlib, "crc32", 3, 1, id="amid the values"),
    pytest.param(os, "fsync", 1, 1, id="before the values are durable"),
    pytest.param(save, "write_receipt", 1, 1, id="before the receipt"),
    pytest.param(commit, "check_coverage", 1, 1, id="after the receipt"),
    pytest.param(Manifest, "write", 1, 1, id="before the manifest"),
    pytest.param(os, "replace", 2, 1, id="amid the manifest"),
    pytest.param(commit, "commit", 1, 1, id="before the renaming"),
    pytest.param(folders, "sync", 1, 2, id="after the renaming"),
    pytest.param(folders, "retain", 1, 2, id="before old ones go"),
    pytest.param(os, "rmdir", 1, 2, id="while old ones go"),
]


@pytest.mark.parametrize(("place", "name", "call", "expected"), MOMENTS)
def test_a_kill_at_any_point_leaves_a_whole_checkpoint_the_newest(
    tmp_path: Path, place: Any, name: str, call: int, expected: int
) -> None:
    for step in (0, 1):
        save_alone(CheckpointWriter(tmp_path, 0, 1), step)

    def work() -> None:
        writer = CheckpointWriter(tmp_path, 0, 1)
        kill_at_call(place, name, call)
        save_alone(writer, 2)

    assert in_child(work) == -signal.SIGKILL
    lines: list[str] = []
    assert_state(newest(tmp_path, log=lines.append), expected)
    assert lines == []
    for path in folders.committed(tmp_path).values():
        open_checkpoint(path).close()
    ranks = writers(tmp_path, 3)
    save_all(ranks, 2, [cut("w", torch.arange(9), bounds) for bounds in ([0, 2], [2, 4], [4, 9])])
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.names()) == (2, {"w"})
    assert {path.name for path in tmp_path.iterdir()} == {"attempt", "step=00000001", "step=00000002"}


@pytest.mark.parametrize("renamings", [1, 2])
def test_a_kill_while_a_step_is_replaced_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamings: int
) -> None:
    save_alone(CheckpointWriter(tmp_path, 0, 1), 1, seed=1)
    rename, done = Path.rename, 0

    def rename_and_die(path: Path, target: Path) -> Path:
        nonlocal done
        rename(path, target)
        done += 1
        if done == renamings:
            os.kill(os.getpid(), signal.SIGKILL)
        return target

    def work() -> None:
        writer = CheckpointWriter(tmp_path, 0, 1)
        monkeypatch.setattr(Path, "rename", rename_and_die)
        save_alone(writer, 1, seed=2)

    assert in_child(work) == -signal.SIGKILL
    CheckpointWriter(tmp_path, 0, 1)
    assert_state(newest(tmp_path), renamings)
    assert {path.name for path in tmp_path.iterdir()} == {"attempt", "step=00000001"}


def test_a_receipt_of_a_killed_attempt_does_not_count(tmp_path: Path) -> None:
    """Two of three ranks leave receipts before all die; of the two ranks that come back one never saves."""
    for writer in writers(tmp_path, 3)[1:]:
        writer.save(1, whole(state(1)), {})
    assert commit.poll(lambda: len(list(tmp_path.glob("step=*.writing/rank=*.json"))) == 2, 10)
    ranks = writers(tmp_path, 2, timeout_seconds=0.2)
    ranks[0].save(1, whole(state(1)), {})
    with pytest.raises(TimeoutError, match="rank 1 did not save"):
        ranks[0].wait()


def test_a_rank_of_a_killed_attempt_that_lives_on_changes_nothing(tmp_path: Path) -> None:
    old = writers(tmp_path, 2, timeout_seconds=0.2)[1]
    old.save(1, whole({"old": torch.zeros(3)}), {})
    ranks = writers(tmp_path, 2)
    ranks[1].save(5, [], {})
    with pytest.raises((TimeoutError, RuntimeError, FileNotFoundError)):
        old.save(5, whole({"old": torch.ones(3)}), {})
    ranks[0].save(5, whole(state(5)), {}, wait=True)
    ranks[1].wait()
    assert_state(newest(tmp_path), 5)


def test_a_run_that_was_given_up_for_dead_commits_nothing_more(tmp_path: Path) -> None:
    old = CheckpointWriter(tmp_path, 0, 1)
    save_alone(old, 1)
    new = CheckpointWriter(tmp_path, 0, 1)
    with pytest.raises(RuntimeError, match=r"another run .* has taken this folder over"):
        save_alone(old, 2)
    assert_state(newest(tmp_path), 1)
    save_alone(new, 3)
    assert_state(newest(tmp_path), 3)


@pytest.mark.parametrize("trial", range(4))
def test_a_process_that_is_killed_amid_its_saves_goes_on_from_a_whole_one(tmp_path: Path, trial: int) -> None:
    def work() -> None:
        writer = CheckpointWriter(tmp_path, 0, 1)
        for step in range(10_000):
            writer.save(step, whole(state(step)), {})

    child = FORK.Process(target=work)
    child.start()
    wait_until(lambda: newest(tmp_path) is not None)
    child.join(0.01 * trial)  # it is in the middle of something else each time
    child.kill()
    child.join()
    found = newest(tmp_path)
    assert found is not None
    assert_state(found, found.step)
    assert len(list(tmp_path.iterdir())) <= 6
    save_alone(CheckpointWriter(tmp_path, 0, 1), found.step + 1)
    assert_state(newest(tmp_path), found.step + 1)
