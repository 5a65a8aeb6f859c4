"""Saving goes on beside training, one save at a time, and says what went wrong."""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harmony_core.errors import UserError
from harmony_core.training.checkpoint import CheckpointWriter, Piece, newest, save
from harmony_core.training.checkpoint import writer as writer_module
from harmony_core.training.checkpoint.commit import poll
from harmony_core.training.checkpoint.piece import snapshot
from harmony_core.training.checkpoint.tensor_file import write_tensors
from tests.training.checkpoint.memory import copies_while_saved
from tests.training.checkpoint.ranks import assert_state, cut, read_all, save_all, save_alone, state, whole, writers
from tests.waiting import PATIENCE


class Gate:
    """Holds every write until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        write = write_tensors

        def held(*arguments: Any) -> tuple[int, int]:
            self.reached.set()
            assert self.opened.wait(PATIENCE)
            return write(*arguments)

        monkeypatch.setattr(save, "write_tensors", held)


def test_a_save_returns_at_once_and_keeps_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, writer = Gate(monkeypatch), CheckpointWriter(tmp_path, 0, 1)
    tensors, facts = state(1), {"curve": [1.0]}
    writer.save(1, whole(tensors), facts)
    assert gate.reached.wait(PATIENCE)
    assert newest(tmp_path) is None
    for tensor in tensors.values():
        tensor.zero_()
    facts["curve"].append(2.0)
    gate.opened.set()
    writer.wait()
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.facts == {"curve": [1.0]}
    assert_state(checkpoint, 1)


def test_the_copy_goes_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, writer = Gate(monkeypatch), CheckpointWriter(tmp_path, 0, 1)
    copies: list[weakref.ref[Tensor]] = []

    def watched(pieces: Iterable[Piece]) -> list[Piece]:
        taken = snapshot(pieces)
        copies.extend(weakref.ref(piece.values) for piece in taken)
        return taken

    monkeypatch.setattr(writer_module, "snapshot", watched)
    writer.save(1, whole(state(1)), {})
    assert gate.reached.wait(PATIENCE)
    assert len(copies) == len(state())
    assert all(copy() is not None for copy in copies)
    gate.opened.set()
    assert poll(lambda: all(copy() is None for copy in copies), 10)
    writer.wait()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the kernel does not tell a descriptor's path")
def test_values_are_durable_before_the_receipt_and_the_manifest_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, synced, fsync = CheckpointWriter(tmp_path, 0, 1), [], os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    save_alone(writer, 1)
    values, receipt, first, manifest, second, last = synced
    assert values == "rank=00000.safetensors"
    assert receipt.startswith(".rank=00000.json")
    assert manifest.startswith(".checkpoint.json")
    assert first == second
    assert first.endswith(".writing")
    assert last == tmp_path.name


def test_a_second_save_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, writer = Gate(monkeypatch), CheckpointWriter(tmp_path, 0, 1)
    writer.save(1, whole(state(1)), {})
    assert gate.reached.wait(PATIENCE)
    saved = threading.Event()

    def save_again() -> None:
        writer.save(2, whole(state(2)), {})
        saved.set()

    second = threading.Thread(target=save_again)
    second.start()
    assert not saved.wait(0.2)
    gate.opened.set()
    assert saved.wait(PATIENCE)
    second.join()
    writer.wait()
    assert_state(newest(tmp_path), 2)


def test_a_save_that_waits_is_committed_when_it_returns(tmp_path: Path) -> None:
    CheckpointWriter(tmp_path, 0, 1).save(1, whole(state(1)), {}, wait=True)
    assert_state(newest(tmp_path), 1)


def test_every_rank_waits_for_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = writers(tmp_path, 2)
    second.save(1, [], {})
    returned = threading.Event()

    def wait() -> None:
        second.wait()
        returned.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not returned.wait(0.2)
    first.save(1, whole(state(1)), {}, wait=True)
    assert returned.wait(PATIENCE)
    waiting.join()


def overlap() -> list[list[Piece]]:
    return [cut("w", torch.zeros(9), [0, 5]), cut("w", torch.zeros(9), [4, 9])]


def twice() -> list[list[Piece]]:
    return [whole({"w": torch.zeros(9)}), whole({"w": torch.zeros(9)})]


def gap() -> list[list[Piece]]:
    return [cut("w", torch.zeros(9), [0, 3]), cut("w", torch.zeros(9), [5, 9])]


def no_beginning() -> list[list[Piece]]:
    return [cut("w", torch.zeros(9), [2, 9]), []]


def no_end() -> list[list[Piece]]:
    return [cut("w", torch.zeros(9), [0, 3]), cut("w", torch.zeros(9), [3, 8])]


def two_sizes() -> list[list[Piece]]:
    return [cut("w", torch.zeros(9), [0, 3]), [Piece("w", 3, 6, torch.zeros(3))]]


def two_types() -> list[list[Piece]]:
    return [cut("w", torch.zeros(9), [0, 3]), cut("w", torch.zeros(9, dtype=torch.int64), [3, 9])]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (overlap, r"w: elements from 4 on are in both rank=00000.* and rank=00001"),
        (twice, r"w: elements from 0 on are in both"),
        (gap, r"w: no rank saved elements \[3, 5\)"),
        (no_beginning, r"w: no rank saved elements \[0, 2\)"),
        (no_end, r"w: no rank saved elements \[8, 9\)"),
        (two_sizes, r"w: 9 of F32 elements in rank=00000.*, 6 of F32 in rank=00001"),
        (two_types, r"w: 9 of F32 elements in rank=00000.*, 9 of I64 in rank=00001"),
    ],
)
def test_pieces_that_are_no_whole_tensor_are_refused(
    tmp_path: Path, pieces: Callable[[], list[list[Piece]]], said: str
) -> None:
    ranks = writers(tmp_path, 2)
    save_all(ranks, 1, [whole(state(1)), []])
    for writer, own in zip(ranks, pieces(), strict=True):
        writer.save(1, own, {})
    with pytest.raises(ValueError, match=said):
        ranks[0].wait()
    with pytest.raises(RuntimeError, match="rank 0 could not commit it"):
        ranks[1].wait()
    assert {path.name for path in tmp_path.iterdir()} == {"attempt", "step=00000001"}
    assert_state(newest(tmp_path), 1)
    save_all(ranks, 2, [whole(state(2)), []])
    assert_state(newest(tmp_path), 2)


def test_a_rank_that_still_writes_when_rank_0_gives_up_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = writers(tmp_path, 2)
    gate = Gate(monkeypatch)
    second.save(1, whole(state(1)), {})
    assert gate.reached.wait(PATIENCE)

    def full(*_: Any) -> tuple[int, int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(save, "write_tensors", full)
    first.save(1, whole(state(1)), {})
    with pytest.raises(UserError, match="No space left"):
        first.wait()
    gate.opened.set()
    with pytest.raises(RuntimeError, match="rank 0 could not commit it"):
        second.wait()
    assert newest(tmp_path) is None


def test_a_rank_that_does_not_save_is_named(tmp_path: Path) -> None:
    ranks = writers(tmp_path, 4, timeout_seconds=0.2)
    for rank in (0, 2):
        ranks[rank].save(1, whole({f"w{rank}": torch.zeros(3)}), {})
    with pytest.raises(TimeoutError, match=r"step=00000001.*: rank 1, 3 did not save within 0.2 s"):
        ranks[0].wait()
    with pytest.raises(RuntimeError, match="rank 0 could not commit it"):
        ranks[2].wait()
    assert newest(tmp_path) is None


def test_a_rank_0_that_does_not_commit_is_named(tmp_path: Path) -> None:
    _, second = writers(tmp_path, 2, timeout_seconds=0.2)
    second.save(1, whole(state(1)), {})
    with pytest.raises(TimeoutError, match=r"step=00000001.*: rank 0 did not commit it within 0.2 s"):
        second.wait()


def test_a_second_try_does_not_take_what_the_first_left(tmp_path: Path) -> None:
    """The late rank's receipt of the failed save must not stand for its file of the next one."""
    first, second = writers(tmp_path, 2, timeout_seconds=0.2)
    first.save(1, whole({"w": torch.zeros(3)}), {})
    with pytest.raises(TimeoutError, match="rank 1 did not save"):
        first.wait()
    second.save(1, whole({"v": torch.zeros(3)}), {})
    first.save(1, whole({"w": torch.ones(3)}), {})
    with pytest.raises(TimeoutError, match="rank 1 did not save"):
        first.wait()
    assert newest(tmp_path) is None


def test_a_full_disk_is_told_and_the_older_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1)
    save_alone(writer, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        writer.save(2, whole(state(2)), {})
        with pytest.raises(UserError, match="No space left on device: use a folder that can be written and has space"):
            writer.wait()
    assert {path.name for path in tmp_path.iterdir()} == {"attempt", "step=00000001"}
    assert_state(newest(tmp_path), 1)
    save_alone(writer, 3)
    assert_state(newest(tmp_path), 3)


def test_an_error_is_raised_by_the_next_save_and_only_once(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1)
    writer.save(1, gap()[0], {})
    with pytest.raises(ValueError, match="no rank saved"):
        writer.save(2, whole(state(2)), {})
    writer.wait()
    assert newest(tmp_path) is None


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, reason in [("file", "File exists"), ("file/deep", "Not a directory")]:
        with pytest.raises(UserError, match=f"{folder}: {reason}: use a folder that can be written"):
            CheckpointWriter(tmp_path / folder, 0, 1)


@pytest.mark.parametrize("facts", [{"loss": float("nan")}, {"what": object()}])
def test_facts_that_are_no_json_are_refused_at_once(tmp_path: Path, facts: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        CheckpointWriter(tmp_path, 0, 1).save(1, whole(state(1)), facts)


def test_whatever_json_the_facts_are_they_come_back(tmp_path: Path) -> None:
    facts = {"b": 0.1 + 0.2, "a": {10: (1e-300, None, True), 9: "ä\n"}, "big": 2**70, "small": -0.0}
    save_all(writers(tmp_path, 1), 1, [whole(state(1))], facts)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.facts == facts | {"a": {"10": [1e-300, None, True], "9": "ä\n"}}


def test_values_that_are_not_finite_come_back_bit_by_bit(tmp_path: Path) -> None:
    tensors = state(1)
    tensors["weights/embedding"][:4] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])
    save_all(writers(tmp_path, 1), 1, [whole(tensors)])
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    found = read_all(checkpoint)["weights/embedding"]
    assert torch.equal(found.view(torch.int32), tensors["weights/embedding"].view(torch.int32))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not tell peak memory")
def test_host_memory_holds_one_copy_alone(tmp_path: Path) -> None:
    # In a process of its own: memory that other tests have freed would be used again here and not be seen.
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        copies = pool.submit(copies_while_saved, tmp_path).result()
    assert 0.9 < copies < 1.3
