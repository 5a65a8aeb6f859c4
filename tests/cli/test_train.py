"""`harmony train`: rows, curves and checkpoints, on one process and on several, and what happens when they die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harmony_core.host import free_port
from harmony_core.store import curves, population, training
from harmony_core.training.heartbeat import STOOD_STILL
from tests.cli.many_commands import answers
from tests.cli.test_commands import harmony
from tests.waiting import PATIENCE, SOON

DATA = ("--data", "source=synthetic,max_bytes=60000")
RECIPE = "tokens={},batch_size=4,sequence_length=32,validation_tokens=256,precision=fp32,learning_rate=1e-4"
SHORT, LONG = RECIPE.format(20 * 128), RECIPE.format(100_000 * 128)


def train(cwd: Path, *arguments: str, recipe: str = SHORT) -> subprocess.CompletedProcess[str]:
    return harmony("train", "mixtral-nano", *DATA, "--recipe", recipe, "--out", "results/mine", *arguments, cwd=cwd)


def losses(cwd: Path) -> list[float]:
    return curves(cwd / "results/mine").sort("step").collect()["train_loss"].to_list()


class Running:
    """A training under way, started with `arguments`, that has done its first step."""

    def __init__(self, cwd: Path, *arguments: str, recipe: str = LONG) -> None:
        call = [sys.executable, "-m", "harmony_core", "train", "mixtral-nano", *DATA, "--recipe", recipe]
        self.log = cwd / "errors"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*call, "--out", "results/mine", *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("step "):
                break
        else:
            raise AssertionError(self.log.read_text())
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def rank(self, number: int) -> psutil.Process:
        return next(one for one in self.family if one.environ().get("RANK") == str(number))

    def ended(self) -> tuple[int, str]:
        """Exit code and standard error, when the training and all its ranks have ended."""
        self.process.communicate(timeout=PATIENCE)
        _, alive = psutil.wait_procs(self.family, timeout=SOON)
        assert alive == []
        return self.process.returncode, self.log.read_text()


def test_several_processes_train_as_one_does_and_the_rows_say_how(tmp_path: Path) -> None:
    one = train(tmp_path)
    assert one.returncode == 0, one.stderr
    alone = losses(tmp_path)
    assert "trained already" in train(tmp_path).stdout
    two = train(tmp_path, "--fresh", "--layout", "pp=2", "--machine", "cpu")
    assert two.returncode == 0, two.stderr
    assert losses(tmp_path) == pytest.approx(alone, rel=1e-5)
    assert re.search(r"step 20/20  loss \S+  \S+ tokens/s  MFU \S+%  memory \S+ GB  .*busiest expert \S+x", two.stdout)
    (row,) = training(tmp_path / "results/mine").collect().to_dicts()
    assert (row["status"], row["steps"], row["attempt"]) == ("ok", 20, 1)
    assert '"pp": 2' in row["layout"]
    assert row["architecture_id"] == population(tmp_path / "results/mine").collect()["architecture_id"].item()
    assert harmony("top", "mine", cwd=tmp_path).returncode == 0


def test_told_to_leave_it_goes_on_later_with_another_layout(tmp_path: Path) -> None:
    recipe = RECIPE.format(200 * 128)
    running = Running(tmp_path, "--layout", "dp=2,ep=2,zero=1", recipe=recipe)
    running.process.send_signal(signal.SIGTERM)
    code, told = running.ended()
    assert code == os.EX_TEMPFAIL, told
    assert "not finished: told to stop at step" in told
    steps = int(re.findall(r"at step (\d+)", told)[0])
    assert 0 < steps < 200
    went_on = train(tmp_path, recipe=recipe)
    assert went_on.returncode == 0, went_on.stderr
    assert len(losses(tmp_path)) == 200
    interrupted = losses(tmp_path)
    assert train(tmp_path, "--fresh", recipe=recipe).returncode == 0
    undisturbed = losses(tmp_path)
    # What is not taken up is seen at once. Later rounding grows: one token that takes another expert is enough.
    near = slice(0, steps + 20)
    assert interrupted[near] == pytest.approx(undisturbed[near], rel=1e-3)
    assert interrupted == pytest.approx(undisturbed, rel=2e-2)


def test_a_rank_that_is_killed_is_named_and_all_end(tmp_path: Path) -> None:
    running = Running(tmp_path, "--gpus", "2", "--timeout-seconds", "20")
    running.rank(1).kill()
    code, told = running.ended()
    assert code == 128 + signal.SIGKILL
    assert "rank 1 failed with SIGKILL" in told


def test_a_rank_that_is_stopped_is_named_and_all_end(tmp_path: Path) -> None:
    running = Running(tmp_path, "--gpus", "2", "--timeout-seconds", "6")
    begin = time.monotonic()
    running.rank(0).send_signal(signal.SIGSTOP)
    code, told = running.ended()
    assert time.monotonic() - begin < 6 * 4 / 3 + 25
    assert code == STOOD_STILL
    assert "rank 0 stood still" in told


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("wait", STOOD_STILL, "rank 1 stood still in step 3"),
        ("memory", 1, "rank 1 failed: MemoryError: out of memory"),
    ],
)
def test_a_rank_that_errs_in_a_step_is_named(tmp_path: Path, how: str, code: int, told: str) -> None:
    """In the trainer itself: the other one waits for it in a pipeline."""
    script = str(Path(__file__).with_name("erring_rank.py"))
    command = [
        sys.executable,
        script,
        how,
        "train",
        "mixtral-nano",
        *DATA,
        "--recipe",
        LONG,
        "--layout",
        "pp=2,micro=2",
    ]
    launcher = f"import sys; from pathlib import Path; from harmony_core.training.launch import launch; sys.exit(launch({command!r} + ['--timeout-seconds', '6'], 2, Path('logs')))"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", launcher],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert told in done.stderr


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("gpt-9",), "gpt-9"),
    (("llama-nano", "--layout", "dp=2,ep=2"), "layout.ep: 2: the model has no experts to spread; the nearest"),
    (("llama-nano", "--layout", "dp=2,zeros=1"), "layout.zeros: 1: unknown key"),
    (("llama-nano", "--layout", "dp=2,tp=2"), "layout.tp: 2: the trainer splits no matrices"),
    (("llama-nano", "--layout", "dp"), "layout: dp: write name=value"),
    (
        ("llama-nano", "--layout", "dp=2", "--gpus", "4"),
        "processes: 4: the layout has 2 (dp2 ZeRO-0); use --layout",
    ),
    (("llama-nano", "--layout", "dp=1000003"), "use another number of processes, 128 for example"),
    (
        ("llama-nano", "--gpus", "10000", "--recipe", "batch_size=10000,tokens=10000000"),
        "10000 processes do not fit",
    ),
    (("hybrid-36b", "--layout", "dp=4"), "GB, and this machine has"),
    (("llama-nano", "--out", "/dev/null/x"), "out: /dev/null/x: Not a directory; name a folder"),
    (
        ("llama-nano", "--out", "/dev/null/x", "--layout", "dp=2"),
        "out: /dev/null/x: Not a directory; name a folder",
    ),
    (("llama-nano", "--recipe", "tokenz=5"), "did you mean 'tokens'?"),
    (("llama-nano", "--recipe", "nowhere.yaml"), "nowhere.yaml"),
    (("llama-nano", "--machine", "abacus"), "abacus"),
    (("llama-nano", "--out", "results/a b"), "search.name"),
    (("mixtral-8x7b", "--machine", "frontier"), "gpus: 1: the model fits under no layout"),
    (
        ("mixtral-8x7b", "--machine", "frontier", "--layout", "dp=32,zero=1", "--recipe", "batch_size=64"),
        "GB a device of frontier, which has",
    ),
]


def test_mistakes_are_one_line_before_anything_starts(tmp_path: Path) -> None:
    found = answers([("train", *arguments) for arguments, _ in MISTAKES], tmp_path)
    for (_, told), one in zip(MISTAKES, found, strict=True):
        assert (one["code"], one["told"].count("\n")) == (2, 1), one
        assert told in one["told"]
    assert not (tmp_path / "results").exists()


def test_a_notice_is_heard_before_torch_is_imported() -> None:
    code = (
        "import os, signal, sys; from harmony_core.cli.train import _told_to_leave; told = _told_to_leave(); "
        "os.kill(os.getpid(), signal.SIGTERM); sys.exit(not told.is_set() or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_rank_that_nobody_joins_ends_with_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in world.items():
        monkeypatch.setenv(name, str(value))
    done = train(tmp_path, "--layout", "dp=2", "--timeout-seconds", "1")
    assert done.returncode == STOOD_STILL
    assert "rank 0 of 2 ends: of 2 ranks, these did not come within 2 s: 1\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_that_diverged_says_so_again(tmp_path: Path) -> None:
    wild = f"{SHORT},learning_rate=1.0,gradient_clip=0,warmup_tokens=0"
    assert train(tmp_path, recipe=wild).returncode == 1
    again = train(tmp_path, recipe=wild)
    assert again.returncode == 1
    assert "trained already (diverged)" in again.stdout


def test_a_world_of_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    done = harmony("train", "llama-nano", "--layout", "dp=2", cwd=tmp_path)
    assert "started processes: 4: the layout has 2" in done.stderr


def test_another_training_or_a_search_is_not_overwritten(tmp_path: Path) -> None:
    assert train(tmp_path).returncode == 0
    other = harmony("train", "llama-nano", *DATA, "--recipe", SHORT, "--out", "results/mine", cwd=tmp_path)
    assert other.returncode == 2
    assert "use another --out, or --fresh" in other.stderr
    (tmp_path / "results/mine/work/train.json").unlink()
    for choice in ("--fresh", "--resume"):
        refused = train(tmp_path, choice)
        assert refused.returncode == 2
        assert "this is a search's folder" in refused.stderr
