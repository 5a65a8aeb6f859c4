"""The journal over several processes and torn lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.journal import Journal, Place
from tests.executor.conftest import Works


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.jsonl"


def test_attempts_count_over_all_processes(path: Path, work: Works) -> None:
    assert Journal(path).next_attempt("a") == 1
    Journal(path).works([work("a"), work("b")])
    journal = Journal(path)
    journal.works([work("a", attempt=journal.next_attempt("a"))])
    assert Journal(path).next_attempt("a") == 3
    assert Journal(path).next_attempt("b") == 2


def test_an_attempt_is_open_until_it_is_reported(path: Path, work: Works) -> None:
    Journal(path).works([work("a"), work("b")])
    Journal(path).reported([work("a")])
    journal = Journal(path)
    assert journal.open_attempt("a") is None
    assert list(journal.open_keys()) == ["b"]
    journal.works([work("a", attempt=2)])
    assert Journal(path).open_attempt("a") == 2


def test_places_have_ids_once_the_scheduler_gave_them(path: Path, work: Works) -> None:
    journal = Journal(path)
    assert journal.place("b", 1) is None
    journal.begin("tag", "slurm", [work("a"), work("b")])
    assert Journal(path).place("b", 1) == Place("slurm", "tag", 1, None)
    journal.submitted("tag", ["7_0", "7_1"])
    assert Journal(path).place("b", 1) == Place("slurm", "tag", 1, "7_1")
    assert Journal(path).place("b", 2) is None


def test_every_torn_end_is_passed_over_and_written_on_after(path: Path, work: Works) -> None:
    Journal(path).works([work("a")])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole + whole[:length])
        journal = Journal(path)
        journal.works([work("b")])
        journal.works([work("c")])
        assert set(Journal(path).open_keys()) == {"a", "b", "c"}


def test_a_full_disk_is_an_error_and_tears_nothing_else(
    path: Path, work: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    journal = Journal(path)
    journal.works([work("a")])
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) > 20:
            return write(descriptor, content[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        journal.works([work("b" * 20)])
    monkeypatch.undo()
    journal.works([work("c")])
    assert list(Journal(path).open_keys()) == ["a", "c"]
