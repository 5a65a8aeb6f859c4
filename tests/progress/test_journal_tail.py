"""A journal is read while it is written, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmony_core.progress.journal_tail import JournalTail
from harmony_core.store import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work" / "journal.jsonl"


def test_each_record_is_read_once(path: Path) -> None:
    tail = JournalTail(path)
    assert tail.read() == []
    with Journal(path) as journal:
        journal.append({"event": "open"})
        journal.append({"event": "begin", "key": "a"})
        assert tail.read() == [{"event": "open"}, {"event": "begin", "key": "a"}]
        assert tail.read() == []
        journal.append({"event": "death", "key": "a"})
        assert tail.read() == [{"event": "death", "key": "a"}]


def test_a_line_counts_once_it_is_whole(path: Path) -> None:
    path.parent.mkdir()
    tail = JournalTail(path)
    path.write_bytes(b'{"event":"open"}\n{"event":"be')
    assert tail.read() == [{"event": "open"}]
    with path.open("ab") as file:
        file.write(b'gin"}\n')
    assert tail.read() == [{"event": "begin"}]


def test_a_torn_line_that_the_next_writer_cut_off_was_never_read(path: Path) -> None:
    path.parent.mkdir()
    tail = JournalTail(path)
    path.write_bytes(b'{"event":"open"}\n{"event":"torn and long"')
    assert len(tail.read()) == 1
    with Journal(path) as journal:
        journal.append({"event": "a"})
    assert tail.read() == [{"event": "a"}]


@pytest.mark.parametrize("damage", [b"\x00\xff\n", b"[1, 2]\n", b"{\n"])
def test_a_line_that_is_no_record_is_passed_over(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"a":1}\n' + damage + b'{"b":2}\n')
    assert JournalTail(path).read() == [{"a": 1}, {"b": 2}]


def test_another_journal_in_its_place_is_read_from_its_beginning(path: Path) -> None:
    tail = JournalTail(path)
    with Journal(path) as journal:
        journal.append({"event": "a long one, of another run"})
    assert len(tail.read()) == 1
    path.unlink()
    with Journal(path) as journal:
        journal.append({"event": "b"})
    assert tail.read() == [{"event": "b"}]


@pytest.mark.parametrize("curve", [[], [{"step": 1, "loss": float("inf")}, {"step": 2, "loss": 0.5}]])
def test_a_training_is_read_without_its_curve(path: Path, curve: list[dict[str, float]]) -> None:
    row = {"candidate": 3, "error": 'says ],"row":{ and "event":"final"', "val_bits_per_byte": 2.5}
    with Journal(path) as journal:
        journal.append({"event": "final", "key": "k", "answer": {"row": row, "curve": curve}})
    assert JournalTail(path).read() == [{"event": "final", "key": "k", "answer": {"row": row}}]


def test_an_answer_without_a_curve_is_read_whole(path: Path) -> None:
    answer = {"rows": [{"mode": "decode"}, {"mode": "prefill"}]}
    path.parent.mkdir()
    path.write_text(json.dumps({"event": "final", "answer": answer}) + "\n")
    assert JournalTail(path).read() == [{"event": "final", "answer": answer}]
