"""What a journal holds of a campaign's trainings, and what under their names is of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.trainings import Training, held
from harmony_core.architecture.presets import load_preset
from harmony_core.evaluation.seeds import init_seed
from harmony_core.store import Journal
from harmony_core.training.recipe import Recipe

LLAMA, MAMBA = load_preset("llama-nano"), load_preset("mamba-2-nano")
RECIPE = Recipe.parse({"tokens": 65536, "learning_rate": 1e-3})


def training(key: str, seed: int = 0) -> Training:
    return Training(key, LLAMA, RECIPE, seed, {})


def write(journal: Path, key: str, number: int, **changes: Any) -> None:
    row = {"architecture_id": LLAMA.id, "init_seed": init_seed(0, "search", 0), "learning_rate": 1e-3, "number": number}
    with Journal(journal) as opened:
        opened.append({"event": "begin", "key": key, "attempt": 1})
        opened.append({"event": "final", "key": key, "answer": {"row": row | changes}})


def test_rows_are_the_newest_of_each_training(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    write(journal, "b", 1)
    write(journal, "a", 2, architecture_id=MAMBA.id)
    write(journal, "gone", 3)
    write(journal, "a", 4)
    write(journal, "b", 5)
    asked = [training("a"), training("b"), training("not yet")]
    assert [row["number"] for row in held(asked, journal)] == [4, 5]


def test_another_architecture_seed_or_rate_under_the_same_name_is_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    write(journal, "a", 1)
    write(journal, "a", 2, architecture_id=MAMBA.id)
    write(journal, "a", 3, init_seed=init_seed(1, "search", 0))
    write(journal, "a", 4, learning_rate=3e-3)
    assert [row["number"] for row in held([training("a")], journal)] == [1]
    assert [row["number"] for row in held([training("a", seed=1)], journal)] == [3]
