import errno
import os
from pathlib import Path

import pytest

from harmony_core.atomic import patiently, replacing
from harmony_core.errors import UserError
from harmony_core.store import atomic_write


def test_the_file_is_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "file", b"one")
    atomic_write(tmp_path / "new" / "file", b"two")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {"file": b"two"}


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write(target, b"old")

    def half() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"ne")
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        half()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_the_temporary_is_in_the_same_folder_and_no_pattern_finds_it(tmp_path: Path) -> None:
    with replacing(tmp_path / "shard=000.parquet") as temporary:
        temporary.write_bytes(b"part")
        assert temporary.parent == tmp_path
        assert list(tmp_path.glob("*.parquet")) == []


def test_it_is_synced_before_it_is_renamed_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    atomic_write(tmp_path / "file", b"x")
    assert events == ["file", "rename", "folder"]


def test_whoever_waited_for_the_file_may_rename_its_folder_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def replace_and_rename(source: Path, target: Path) -> None:
        replace(source, target)
        (tmp_path / "writing").rename(tmp_path / "committed")

    monkeypatch.setattr(os, "replace", replace_and_rename)
    atomic_write(tmp_path / "writing" / "receipt", b"x")
    assert (tmp_path / "committed" / "receipt").read_bytes() == b"x"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"file: .*: free some space") as caught:
        atomic_write(tmp_path / "file", b"x")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_disguised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="I/O error") as caught:
        atomic_write(tmp_path / "file", b"x")
    assert not isinstance(caught.value, UserError)


class TestPatience:
    @pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.EAGAIN, errno.ENOENT])
    def test_a_bad_moment_passes(self, code: int) -> None:
        moments = [code] * 3

        def action() -> str:
            if moments:
                raise OSError(moments.pop(), "a bad moment")
            return "done"

        assert patiently(action, made=True) == "done"

    def test_it_does_not_wait_for_ever(self) -> None:
        calls: list[int] = []

        def action() -> None:
            calls.append(1)
            raise OSError(errno.EIO, "a disk that is broken")

        with pytest.raises(OSError, match="broken"):
            patiently(action, seconds=0.2)
        assert 2 <= len(calls) <= 4

    @pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.ENOSPC])
    def test_what_will_not_pass_is_raised_at_once(self, code: int) -> None:
        calls: list[int] = []

        def action() -> None:
            calls.append(1)
            raise OSError(code, "for good")

        with pytest.raises(OSError, match="for good"):
            patiently(action)
        assert len(calls) == 1
