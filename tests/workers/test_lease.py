"""One holder at a time, on one host and across hosts, whatever the other one dies of."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harmony_core.workers import Held, Lease, LeaseLost
from tests.waiting import PATIENCE, wait_until

HOLD = (
    "import sys, signal; from pathlib import Path; from harmony_core.workers import Lease\n"
    "lease = Lease(Path(sys.argv[1]), beat_seconds=0.05); lease.acquire(); print('held', flush=True); signal.pause()"
)


def start(folder: Path, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process that holds the lease."""
    process = subprocess.Popen([*prefix, sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def make(prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        started.append(start(tmp_path / "lease", prefix))
        return started[-1]

    yield make
    for process in started:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.communicate()


def lease(tmp_path: Path, **options: float) -> Lease:
    return Lease(tmp_path / "lease", **{"beat_seconds": 0.05, "silence_seconds": 0.6, **options})


def test_a_second_one_is_refused_and_told_who(tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]) -> None:
    process = holder()
    with pytest.raises(Held, match=f"pid {process.pid} on "):
        lease(tmp_path).acquire()


def test_the_dead_hold_nothing(tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]) -> None:
    process = holder()
    process.kill()
    # Not yet waited for, it is a zombie, and that is dead as well.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with lease(tmp_path, silence_seconds=60) as mine:
        mine.check()


def test_a_released_lease_is_free_at_once(tmp_path: Path) -> None:
    first, second = lease(tmp_path), lease(tmp_path)
    first.acquire()
    first.release()
    second.acquire()
    assert isinstance(lease(tmp_path).holder(), Held)
    second.release()
    assert lease(tmp_path).holder() is None


def elsewhere() -> tuple[str, ...]:
    """Runs what follows as if on another host: with another name and other process numbers."""
    prefix = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", 'hostname other && exec "$@"', "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody make another one (unshare)")
    return prefix


def test_another_hosts_holder_is_known_by_its_sign_of_life(
    tmp_path: Path, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    process = holder(elsewhere())
    with pytest.raises(Held, match="on other"):
        lease(tmp_path).acquire()
    # It hangs: its file stays as it is, and is taken over after the silence, measured by our own clock.
    (inner,) = psutil.Process(process.pid).children()
    inner.suspend()
    began = time.monotonic()
    with lease(tmp_path) as mine:
        assert 0.5 < time.monotonic() - began < 10
        mine.check()


def test_a_damaged_file_is_held_for_as_long_as_it_is_touched(tmp_path: Path) -> None:
    """As a crash of the whole host may leave it: there, and empty."""
    first = lease(tmp_path)
    first.acquire()
    (file,) = (tmp_path / "lease").iterdir()
    file.write_text("")
    with pytest.raises(Held, match="unknown process"):
        lease(tmp_path).acquire()
    first._stop.set()
    with lease(tmp_path) as second:
        second.check()
    with pytest.raises(LeaseLost):
        first.check()


def test_a_bad_moment_of_the_file_system_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [OSError(errno.EIO, "Input/output error")] * 2

    def utime(path: Path) -> None:
        if moments:
            raise moments.pop()
        real(path)

    real = os.utime
    monkeypatch.setattr(os, "utime", utime)
    with lease(tmp_path, beat_seconds=0.01) as mine:
        (file,) = (tmp_path / "lease").iterdir()
        before = file.stat().st_mtime_ns
        wait_until(lambda: file.stat().st_mtime_ns != before, "a sign of life")
        mine.check()


class TestDeleted:
    """Its files are gone, as after `rm -r` of a state folder."""

    @pytest.mark.parametrize("what", ["file", "folder", "parent"])
    def test_it_is_made_again_where_nobody_else_was(
        self, tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        lost: list[LeaseLost] = []
        folder = tmp_path / "work" / "lease"
        first = Lease(folder, beat_seconds=0.02, on_lost=lost.append)
        first.acquire()
        (file,) = folder.iterdir()
        # Gone at once: while files are removed one by one, the next beat may write one more.
        {"file": file, "folder": folder, "parent": folder.parent}[what].rename(tmp_path / "removed")
        # By its beat, or by whoever is about to write: whoever finds it first.
        first.check()
        wait_until(file.exists)
        with pytest.raises(Held, match=f"pid {os.getpid()} on "):
            Lease(folder).acquire()
        first.check()
        first.release()
        assert lost == []
        told = capfd.readouterr().err
        assert told == f"warning: {file} was deleted under this process, which has the lease and made it again\n"
        Lease(folder).acquire()

    @pytest.mark.parametrize("released", [False, True])
    def test_where_somebody_was_there_since_it_is_lost_and_says_what_vanished(
        self, tmp_path: Path, released: bool
    ) -> None:
        lost: list[LeaseLost] = []
        first = Lease(tmp_path / "lease", beat_seconds=60, on_lost=lost.append)
        first.acquire()
        first.release()
        first.acquire()
        shutil.rmtree(tmp_path / "lease")
        second = lease(tmp_path)
        second.acquire()
        if released:
            second.release()
        with pytest.raises(LeaseLost, match=r"000002.json was deleted, and another process has been there since"):
            first.check()
        first.release()

    def test_where_it_cannot_be_made_again_it_says_so(self, tmp_path: Path) -> None:
        first = Lease(tmp_path / "work" / "lease", beat_seconds=60)
        first.acquire()
        shutil.rmtree(tmp_path / "work")
        (tmp_path / "work").write_text("a file")
        with pytest.raises(LeaseLost, match="cannot be made again"):
            first.check()

    def test_who_took_it_over_is_named(self, tmp_path: Path) -> None:
        first = lease(tmp_path, beat_seconds=60)
        first.acquire()
        (file,) = (tmp_path / "lease").iterdir()
        (file.parent / "000002.json").write_text(file.read_text())
        with pytest.raises(LeaseLost, match=f"was taken over by pid {os.getpid()} on .*; this process had seemed dead"):
            first.check()
        first.release()


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.EAGAIN])
def test_a_bad_moment_of_the_folder_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    moments: list[int] = []
    real = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if moments:
            raise OSError(moments.pop(), "a bad moment")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    moments += [code] * 2
    with lease(tmp_path, beat_seconds=60) as mine:
        moments += [code] * 2
        mine.check()
        assert moments == []


def test_who_was_given_up_is_told(tmp_path: Path) -> None:
    lost = threading.Event()
    first = Lease(tmp_path / "lease", beat_seconds=0.02, on_lost=lambda reason: lost.set())
    first.acquire()
    (file,) = (tmp_path / "lease").iterdir()
    # As if it had been taken on another host that then fell silent.
    file.write_text(json.dumps({**json.loads(file.read_text()), "host": "other", "pid": 1}))
    second = lease(tmp_path, silence_seconds=0.0)
    second.acquire()
    assert lost.wait(PATIENCE)
    with pytest.raises(LeaseLost):
        first.check()
    second.check()
    first.release()
    second.check()
    second.release()


def test_many_at_once_hold_it_one_after_another(tmp_path: Path) -> None:
    inside, most, turns = 0, 0, []
    counting = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside, most
        with lease(tmp_path, beat_seconds=0.01):
            with counting:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            turns.append(number)
            with counting:
                inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == list(range(12))
    assert most == 1
    assert len(list((tmp_path / "lease").iterdir())) <= 2
