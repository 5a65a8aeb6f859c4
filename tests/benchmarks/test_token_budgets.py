"""What is told of short and long trainings, on losses made up for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks import token_budgets
from benchmarks.token_budgets import draw, first_mixer, judge, long_trainings
from harmony_core.architecture import Architecture


@cache
def drawn() -> list[Architecture]:
    return draw(vocab_size=257)


def rows(losses: Sequence[float | None], seeds: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"number": number, "seed": seed, "rate": 0, "val_bits_per_byte": bits}
        for number, bits in enumerate(losses)
        for seed in seeds
    ]


def test_two_seeds_and_more_tokens_are_compared_by_rank() -> None:
    losses = [2.5 + 0.01 * number for number in range(len(drawn()))]
    found = judge(drawn(), rows(losses, (0, 1)), rows([5.0 - bits for bits in losses], (0,)))
    longer = found["longer"]
    assert (found["seed_with_seed"]["spearman"], longer["short_with_long"]["spearman"]) == (1.0, -1.0)
    assert longer["best_quarter_in_both"] == [0, len(drawn()) // 4]
    assert found["first_mixer_explains"] == pytest.approx(longer["first_mixer_explains"], abs=1e-3)
    json.dumps(found)


def test_losses_that_the_first_mixers_class_decides_are_explained_by_it() -> None:
    classes = sorted({first_mixer(one) for one in drawn()})
    losses = [2.5 + 0.1 * classes.index(first_mixer(one)) for one in drawn()]
    assert judge(drawn(), rows(losses, (0, 1)), [])["first_mixer_explains"] == 1.0


def test_without_longer_trainings_nothing_is_told_of_them_and_who_failed_is_left_out() -> None:
    losses: list[float | None] = [2.5 + 0.01 * number for number in range(len(drawn()))]
    losses[3] = None
    found = judge(drawn(), rows(losses, (0, 1)), [])
    assert (found["architectures"], found["failed"]) == (len(drawn()) - 1, 1)
    assert sum(found["by_class"].values()) == len(drawn()) - 1
    assert "longer" not in found


def test_of_more_tokens_those_speak_that_have_had_them() -> None:
    losses = [2.5 + 0.01 * number for number in range(len(drawn()))]
    late: list[float | None] = [bits - 0.3 for bits in losses[:9]]
    late[4] = None
    found = judge(drawn(), rows(losses, (0, 1)), rows(late, (0,)))
    assert found["architectures"] == len(drawn())
    longer = found["longer"]
    assert (longer["architectures"], longer["failed"], longer["best_quarter_in_both"]) == (8, 1, [2, 2])


def test_a_longer_training_goes_on_from_a_trunk_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budgets, "TRUNKS", tmp_path)
    (tmp_path / "short.0.0.0").mkdir()
    first, second = long_trainings(drawn()[:2], [0, 0])
    assert (first.trunk_of, second.trunk_of) == (tmp_path / "short.0.0.0", None)
