import errno
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harmony_core import atomic
from harmony_core.errors import UserError
from harmony_core.store import Journal
from harmony_core.store import journal as journal_module
from tests.workers.rubbish import rubbish


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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b'{"n"\n', "line 2 holds no record"),
        (b"caf\xe9\n", "line 2 holds no record"),
        (b"3\n" * 4, "4 lines from 2 on hold no record"),
        (b"[" * 100_000 + b"\n", "line 2 holds no record"),
        (b"\0" * 4096 + b"\n", "line 2 holds no record"),
    ],
    ids=["torn", "Latin-1", "foreign", "too deep", "zeros"],
)
def test_damage_in_the_middle_is_passed_over_and_said_once(
    tmp_path: Path, damage: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"n":1}\n' + damage + b'{"n":3}\n{"n":4')
    with Journal(path) as journal:
        assert journal.records() == [{"n": 1}, {"n": 3}]
        journal.append({"n": 5})
        assert journal.records() == [{"n": 1}, {"n": 3}, {"n": 5}]
    # Only what a kill cut short is cut off.
    assert path.read_bytes() == b'{"n":1}\n' + damage + b'{"n":3}\n{"n":5}\n'
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert f"{path}: {said}, passed over" in told


def test_a_journal_that_is_deleted_meanwhile_is_begun_anew_and_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "work" / "journal"
    with Journal(path) as journal:
        journal.append({"n": 1})
        shutil.rmtree(path.parent)
        journal.append({"n": 2})
        journal.append({"n": 3})
    assert Journal(path).records() == [{"n": 2}, {"n": 3}]
    assert capfd.readouterr().err == f"warning: {path} was deleted; what it recorded before would be done again\n"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EAGAIN])
@pytest.mark.parametrize("name", ["write", "fsync", "open"])
def test_a_bad_moment_of_the_file_system_leaves_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    """Also where the line was written, and only its sync failed."""
    moments = [code] * 3
    real = getattr(os, name)

    def bad(*arguments: Any) -> Any:
        if moments and (name != "open" or str(arguments[0]).endswith("journal")):
            raise OSError(moments.pop(), "a bad moment")
        return real(*arguments)

    journal = Journal(tmp_path / "journal")
    journal.append({"n": 1})
    if name == "open":
        journal.close()
    monkeypatch.setattr(os, name, bad)
    journal.append({"n": 2})
    journal.append({"n": 3})
    journal.close()
    assert moments == []
    assert (tmp_path / "journal").read_bytes() == b'{"n":1}\n{"n":2}\n{"n":3}\n'


def test_a_line_that_could_be_neither_synced_nor_taken_back_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deaths of one record would be two deaths."""
    moments = ["fsync", "ftruncate"]
    journal = Journal(tmp_path / "journal")
    journal.append({"n": 1})

    def bad_once(name: str, real: Any, *arguments: Any) -> Any:
        if name in moments:
            moments.remove(name)
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(*arguments)

    for name in list(moments):
        monkeypatch.setattr(os, name, partial(bad_once, name, getattr(os, name)))
    journal.append({"n": 2})
    journal.close()
    assert moments == []
    assert (tmp_path / "journal").read_bytes() == b'{"n":1}\n{"n":2}\n'


def test_an_error_that_stays_is_raised_and_the_journal_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "patiently", partial(atomic.patiently, seconds=0.1))
    journal = Journal(tmp_path / "journal")
    journal.append({"n": 1})

    def sick(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", sick)
        with pytest.raises(OSError, match="Input/output error"):
            journal.append({"n": 2})
    journal.append({"n": 3})
    assert journal.records() == [{"n": 1}, {"n": 3}]


def test_whatever_bytes_a_file_holds_it_is_read_and_written_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """20,000 journals of one to four lines, some of them as files; no exception at all."""
    whole = [{"event": "final", "key": "a", "answer": {"row": {}}}, {"event": "death", "key": "b", "error": "x"}]
    lines = rubbish(50_000, 0, whole)
    sizes, ends = itertools.cycle([1, 2, 3, 4]), itertools.cycle([b"", b"\n", b"\n", b"\r\n", b"\0"])
    found = 0
    for number, size, end in zip(range(20_000), sizes, ends, strict=False):
        content = b"\n".join(itertools.islice(lines, size)) + end
        records, damaged, length = journal_module.parse(content)
        found += len(records)
        assert all(isinstance(record, dict) for record in records)
        assert 0 <= length <= len(content)
        assert len(records) + len(damaged) <= len(content.splitlines()) <= len(records) + len(damaged) + 1
        if number % 200 == 0:
            path = tmp_path / str(number)
            path.write_bytes(content)
            with Journal(path) as journal:
                journal.append({"last": 1})
                # Not `==`, which no NaN is.
                assert repr(journal.records()) == repr([*records, {"last": 1}])
    assert found > 5000
    capfd.readouterr()


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
