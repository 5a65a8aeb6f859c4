"""What the MAD campaign trains, and what it says of rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mad import campaign, findings, judgement, losses
from benchmarks.mad.architectures import HYBRIDS, PUBLISHED_MEMORISATION, drawn, ordered, pure
from benchmarks.mad.judgement import agreement, interval, partial_spearman, spreads, tau
from harmony_core.mad import task_names
from harmony_core.mad.config import QUICK_TASKS, STEPS
from harmony_core.mad.projection import project
from harmony_core.store import Journal


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "RESAMPLES", 200)


def test_the_parts_are_what_was_promised() -> None:
    parts = campaign.parts()
    trainings = {name: [one.task for one in some] for name, some in parts.items()}
    keys = [task.key for tasks in trainings.values() for task in tasks]
    assert len(keys) == len(set(keys))
    labels = {name: {one.labels["label"] for one in some} for name, some in parts.items()}
    assert {name: len(labels[name]) for name in ("spread", "retest", "longer", "loss")} == {
        "spread": 12,
        "retest": 12,
        "longer": 12,
        "loss": 24,
    }
    assert labels["retest"] == labels["longer"]
    ids = [{one.id for one in drawn(name).values()} for name in ("spread", "retest")]
    assert not ids[0] & ids[1]
    steps = {name: {one.labels.get("asked_steps") for one in some} for name, some in parts.items()}
    assert (steps["retest"], steps["longer"]) == ({STEPS}, {10 * STEPS})
    assert {one.labels["asked_seed"] for one in parts["orderings"]} == {0, 1, 2}
    tasks = {name: {task.payload["row"]["task"] for task in some} for name, some in trainings.items()}
    assert (tasks["spread"], tasks["left_out"]) == (set(QUICK_TASKS), set(task_names()) - set(QUICK_TASKS))
    assert len(trainings["memorisation"]) == 36 * len(PUBLISHED_MEMORISATION)


def test_the_papers_models_are_their_own_projections() -> None:
    for name in PUBLISHED_MEMORISATION:
        small = project(pure(name), 256).architecture
        assert small.blocks == pure(name).blocks
    assert ordered().keys() >= HYBRIDS.keys() | PUBLISHED_MEMORISATION.keys()
    # The paper's Mamba has 2,048 elements of state.
    assert pure("mamba").blocks[0].state_elements(128) == 2048


def test_longer_trainings_of_text_share_the_shorter_ones_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "TRUNKS", tmp_path)
    recipes = losses.recipes()
    assert len({recipe.warmup_steps for recipe in recipes.values()}) == 1
    assert recipes["demo"].trunk_steps < recipes["same price"].trunk_steps < recipes["target"].trunk_steps
    pieces = losses.pieces({"one": pure("mha"), "two": pure("mamba")}, 5)
    first, _ = next(pieces)
    assert first.trunk is not None
    # As the training leaves it; in a checkout that has the journal alone there is none.
    first.trunk.mkdir()
    one, two = next(pieces)
    assert (one.trunk_of, two.trunk_of) == (first.trunk, None)
    assert [training.key for training in next(pieces)] == ["target.one"]


def row(label: str, score: float | None, **more: Any) -> dict[str, Any]:
    return {"label": label, "task": "memorisation", "score": score, "cpu_seconds": 2.0, "asked_seed": 0, **more}


def test_scores_spread_and_what_failed_is_left_out() -> None:
    found = findings.spread([row("a", 0.1), row("b", 0.2), row("c", 0.3), row("d", None)])
    assert found["scores"].keys() == {"a", "b", "c"}
    assert found["standard_deviation_points"]["memorisation"] == pytest.approx(10.0)
    assert found["core_seconds"]["a"] == 2.0
    assert spreads({"a": {"x": 0.5}, "b": {"x": 0.5}}) == {"x": 0.0}


def test_orders_are_compared_with_intervals() -> None:
    first = {str(n): {"x": float(n)} for n in range(8)}
    second = {str(n): {"x": -float(n)} for n in range(8)}
    assert agreement(first, first)["x"]["value"] == 1.0
    assert agreement(first, second)["x"]["value"] == -1.0
    noisy = np.array([[0, 1], [1, 0], [2, 3], [3, 2], [4, 5], [5, 4]], float)
    found = interval(tau, noisy)
    assert found["low"] < found["value"] < found["high"]


def test_a_third_variable_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    cause = rng.normal(size=400)
    both = [cause + 0.3 * rng.normal(size=400) for _ in range(2)]
    assert abs(partial_spearman(np.column_stack([*both, cause]))) < 0.15
    assert partial_spearman(np.column_stack([*both, rng.normal(size=400)])) > 0.8
    assert math.isnan(partial_spearman(np.column_stack([cause, both[0], cause])))


def test_scores_are_set_beside_what_loss_predicts() -> None:
    architectures = drawn("spread")
    scores = {label: {"mad_score": 0.1 * n} for n, label in enumerate(architectures)}
    bits = {
        "demo": {label: 3.0 + 0.1 * n for n, label in enumerate(architectures)},
        "same price": {},
        "target": {label: 2.0 - 0.1 * n for n, label in enumerate(architectures)},
    }
    found = findings.predictions(scores, bits, architectures)["rank_correlation_with_loss"]
    assert found["mad_score"]["spearman"]["value"] == 1.0
    assert found["loss at demo"]["spearman"]["value"] == -1.0
    assert "loss at same price" not in found
    assert findings.predictions({}, bits, architectures) == {}


def test_the_journals_first_word_of_this_very_training_counts(tmp_path: Path) -> None:
    one, other, *_ = campaign.parts()["spread"]
    known = one.task.payload["row"]
    with Journal(tmp_path / "mad.jsonl") as journal:
        journal.append({"event": "begin", "key": one.task.key})
        # Of a task's earlier setting, as its run's digest tells.
        for run_id, score in (("0" * 16, 0.1), (known["run_id"], 0.5), (known["run_id"], 0.7)):
            row = {**known, "run_id": run_id, "score": score}
            journal.append({"event": "final", "key": one.task.key, "answer": {"rows": [row]}})
    (row,) = campaign.done([other, one], tmp_path / "mad.jsonl")
    assert (row["label"], row["score"]) == (one.labels["label"], 0.5)


def test_a_piece_of_the_text_has_the_shortest_trainings_first() -> None:
    sample = dict(list(drawn("loss").items())[:3])
    assert [len(some) for some in losses.pieces(sample, None)] == [3, 3, 3]
    first, second = losses.pieces(sample, 4)
    assert [one.key for one in (*first, *second)] == [
        *(f"demo.{label}" for label in sample),
        f"same price.{next(iter(sample))}",
    ]
