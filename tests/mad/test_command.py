"""`harmony mad`: what it trains, keeps and prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from harmony_core.architecture import Architecture
from harmony_core.cli.main import app
from harmony_core.errors import UserError
from harmony_core.evaluation.mad_runs import full_scores, full_trainings, run_trainings
from harmony_core.evaluation.mad_trained import what_is_trained
from harmony_core.mad.config import MadConfig
from harmony_core.store import read_table
from harmony_core.store.schemas import MAD_RUNS
from harmony_core.workers import Outcome, Task, WorkInterrupted

SMALL = Architecture.parse(
    {
        "d_model": 16,
        "vocab_size": 16,
        "blocks": [{"kind": "mha", "num_heads": 2, "head_dim": 8}, {"kind": "mlp", "d_ff": 32}],
    }
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    SMALL.to_yaml(tmp_path / "small.yaml")
    return str(tmp_path / "small.yaml")


def harmony(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["mad", *arguments])


def test_a_quick_run_keeps_its_rows_and_is_not_done_again(file: str, tmp_path: Path) -> None:
    command = [file, "--tasks", "memorisation,compression", "--steps", "16", "--out", str(tmp_path / "out")]
    done = harmony(*command, "--workers", "1")
    assert done.exit_code == 0, done.output
    rows = read_table(tmp_path / "out" / "mad.parquet", MAD_RUNS)
    assert rows["task"].to_list() == ["compression", "memorisation"]
    assert set(rows["status"]) == {"ok"}
    assert set(rows["architecture_id"]) == {SMALL.id}
    assert rows["score"].is_between(0, 1).all()
    printed = dict(line.split()[:2] for line in done.output.splitlines() if line.startswith(("comp", "mem", "mad_")))
    assert float(printed["mad_score"]) == pytest.approx(100 * rows["score"].mean(), abs=0.06)
    journal = tmp_path / "out" / "work" / "mad" / "journal.jsonl"
    before = journal.read_text()
    assert harmony(*command).exit_code == 0
    assert journal.read_text() == before
    assert read_table(tmp_path / "out" / "mad.parquet", MAD_RUNS).equals(rows)


class Pool:
    """Answers without training, until it is stopped; one task dies."""

    def __init__(self, most: int) -> None:
        self.left, self.begun = most, list[str]()

    def run(self, tasks: list[Task], on_outcome: Any, on_begin: Any) -> None:
        for task in tasks:
            if not self.left:
                raise WorkInterrupted("the machine is taken away")
            self.left -= 1
            on_begin(task, 1)
            self.begun.append(task.key)
            row = task.payload["row"]
            # Accuracy on the test grows with the rate and validation with the decay.
            told = {"test_accuracy": row["learning_rate"] * 100 * (1 + row["weight_decay"])}
            told["validation_accuracy"] = row["weight_decay"] - row["learning_rate"]
            answer = {
                **row,
                **told,
                **dict.fromkeys(("score", "error")),
                "status": "ok",
                "epochs": 200,
                "steps": 400,
                "loss": 1.0,
                "seconds": 1.0,
                "cpu_seconds": 1.0,
                "device": "cpu",
                "kernel_paths": "",
                "host": "here",
                "started_at": "2026-01-01T00:00:00+00:00",
            }
            dead = "setting" in row and row["setting"] == 1 and row["weight_decay"] == 0
            result = None if dead else {"rows": [answer]}
            on_outcome(Outcome(task, 1, result, error="gone" if dead else None, device_seconds=2.0))


def test_a_full_run_goes_on_and_is_selected_both_ways(tmp_path: Path) -> None:
    listed = full_trainings(SMALL, ["memorisation"], "bf16")
    assert len(listed) == 36
    assert json.loads(json.dumps([task.payload for task in listed])) == [task.payload for task in listed]
    first, second = Pool(10), Pool(100)
    with pytest.raises(WorkInterrupted):
        run_trainings(tmp_path, listed, first, lambda *told: None)
    rows = run_trainings(tmp_path, listed, second, lambda *told: None)
    assert first.begun + second.begun == [task.key for task in listed]
    assert rows.filter(pl.col("status") == "crashed").select("setting", "weight_decay").rows() == [(1, 0.0)] * 3
    assert rows["device_seconds"].sum() == 72.0
    # The best by the test has the highest rate and decay; by validation the lowest rate.
    assert full_scores(rows, "test_accuracy") == {"memorisation": pytest.approx(0.11)}
    assert full_scores(rows, "validation_accuracy") == {"memorisation": pytest.approx(0.011)}
    without = rows.with_columns(test_accuracy=pl.when(pl.col("setting") != 1).then("test_accuracy"))
    assert full_scores(without, "test_accuracy") == {"memorisation": None}


def test_what_is_trained_is_told() -> None:
    (task,) = MadConfig(tasks=("memorisation",)).settings
    stack, told = what_is_trained(SMALL, MadConfig(), task)
    assert (stack.vocab_size, stack.d_model, told) == (task.vocab_size, 16, "the stack: mha-mlp")
    small, told = what_is_trained(SMALL, MadConfig(trained="projection", iso_state=True), task)
    assert (small.vocab_size, small.d_model) == (task.vocab_size, 128)
    assert told == "2x(mha-mlp) for mha-mlp; state elements of the mixers: mha 0, mha 0"


def test_a_plan_trains_nothing(file: str, tmp_path: Path) -> None:
    told = harmony(file, "--protocol", "full", "--plan", "--out", str(tmp_path / "out"))
    assert told.exit_code == 0
    assert "in all 396 trainings of 2x(mha-mlp) for mha-mlp" in told.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tasks", "recall"], r"^tasks: recall: no such task; use in_context_recall, "),
        (["--tasks", "compression,compression"], r"^tasks: compression, compression: list each once"),
        (["--steps", "3"], r"^mad.steps: 3: input should be greater than or equal to 16"),
        (["--iso-state"], r"^mad.iso_state: True: a stack is trained as it is; use trained: projection"),
        (["--protocol", "full", "--steps", "100"], r"^protocol: full: it has its own steps, seed, model"),
    ],
)
def test_refusals_come_before_anything_is_trained(file: str, tmp_path: Path, arguments: list[str], told: str) -> None:
    refused = harmony(file, *arguments, "--out", str(tmp_path / "out"))
    assert isinstance(refused.exception, UserError)
    with pytest.raises(UserError, match=told):
        raise refused.exception
    assert not (tmp_path / "out").exists()
