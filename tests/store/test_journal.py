import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harmony_core.errors import UserError
from harmony_core.store import Journal


def test_records_come_back_in_order(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"n": 1}, {"text": "ä\nb"}, {"deep": {"list": [1, None]}}]
    with Journal(tmp_path / "new" / "journal") as journal:
        for record in records:
            journal.append(record)
        assert journal.records() == records
    with Journal(tmp_path / "new" / "journal") as again:
        again.append({"n": 2})
        assert again.records() == [*records, {"n": 2}]


def test_an_absent_file_has_no_records_and_is_not_made(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal").records() == []
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_loss_can_be_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.append({"loss": math.nan, "norm": math.inf})
        (record,) = journal.records()
    assert math.isnan(record["loss"])
    assert record["norm"] == math.inf


@pytest.mark.parametrize("torn", [b'{"n": 3', b'{"n": 3}', b"\x00\x00\x00", b"\xff\n", b"3\n"])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"n":1}\n{"n":2}\n' + torn)
    journal = Journal(path)
    assert journal.records() == [{"n": 1}, {"n": 2}]
    assert path.read_bytes().endswith(torn)  # reading changes nothing
    journal.append({"n": 4})
    journal.close()
    assert path.read_bytes() == b'{"n":1}\n{"n":2}\n{"n":4}\n'


def test_damage_in_the_middle_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"n":1}\n{"n"\n{"n":3}\n')
    with pytest.raises(UserError, match="line 2"):
        Journal(path).records()
    with pytest.raises(UserError, match="line 2"):
        Journal(path).append({"n": 4})
    assert path.read_bytes() == b'{"n":1}\n{"n"\n{"n":3}\n'


def test_a_line_is_one_write_and_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    write, fsync = os.write, os.fsync
    with Journal(tmp_path / "journal") as journal:
        journal.append({"n": 1})

        def note_write(descriptor: int, data: bytes) -> int:
            events.append(data.decode())
            return write(descriptor, data)

        def note_sync(descriptor: int) -> None:
            events.append("sync")
            fsync(descriptor)

        monkeypatch.setattr(os, "write", note_write)
        monkeypatch.setattr(os, "fsync", note_sync)
        journal.append({"n": 2})
    assert events == ['{"n":2}\n', "sync"]


def test_a_disk_that_fills_up_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with Journal(tmp_path / "journal") as journal:
        journal.append({"n": 1})
        calls: list[int] = []

        def fills_up(descriptor: int, data: bytes) -> int:
            calls.append(len(data))
            if len(calls) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data[:3])

        monkeypatch.setattr(os, "write", fills_up)
        with pytest.raises(UserError, match="No space left on device"):
            journal.append({"n": 2})
        monkeypatch.setattr(os, "write", write)
        journal.append({"n": 3})
        assert journal.records() == [{"n": 1}, {"n": 3}]


def test_what_append_returned_from_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    code = (
        "import itertools, sys\n"
        "from harmony_core.store.journal import Journal\n"
        "journal = Journal(sys.argv[1])\n"
        "for n in itertools.count():\n"
        "    journal.append({'n': n})\n"
        "    print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    records = [record["n"] for record in Journal(path).records()]
    assert records[: len(said)] == said
    assert records == list(range(len(records)))
