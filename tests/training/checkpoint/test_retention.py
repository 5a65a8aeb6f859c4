"""Which checkpoints stay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.training.checkpoint import CheckpointWriter, newest, open_checkpoint
from tests.training.checkpoint.ranks import assert_state, save_alone


def steps(folder: Path) -> list[int]:
    """Steps there; nothing else lies beside them but the attempt's name."""
    names = {path.name for path in folder.iterdir()} - {"attempt"}
    return sorted(int(name.removeprefix("step=")) for name in names)


def test_the_newest_stay(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1, keep_last=3)
    for step in range(1, 8):
        save_alone(writer, step)
        assert steps(tmp_path) == list(range(max(1, step - 2), step + 1))
    assert_state(newest(tmp_path), 7)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3.0, 1.0, 2.0, 4.0, 5.0], [2, 4, 5]),
        ([3.0, 2.0, 4.0, 1.0, 5.0], [4, 5]),
        ([1.0, 1.0, 2.0, 2.0, 2.0], [2, 4, 5]),
        ([None, 9.0, None, None, None], [2, 4, 5]),
        ([math.nan, -math.inf, None, None, None], [4, 5]),
    ],
)
def test_the_best_stays_too(tmp_path: Path, scores: list[float | None], expected: list[int]) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1, keep_last=2)
    for step, score in enumerate(scores, start=1):
        save_alone(writer, step, score=score)
    assert steps(tmp_path) == expected


def test_the_best_goes_where_it_was_not_asked_for(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1, keep_last=1, keep_best=False)
    for step in (1, 2):
        save_alone(writer, step, score=float(step))
    assert steps(tmp_path) == [2]


def test_the_best_of_an_earlier_run_stays(tmp_path: Path) -> None:
    save_alone(CheckpointWriter(tmp_path, 0, 1), 1, score=1.0)
    writer = CheckpointWriter(tmp_path, 0, 1, keep_last=1)
    for step in (2, 3):
        save_alone(writer, step, score=2.0)
    assert steps(tmp_path) == [1, 3]


def test_one_that_cannot_be_read_does_not_take_the_place_of_one_that_can(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1)
    for step in (1, 2):
        save_alone(writer, step)
    (tmp_path / "step=00000002" / "checkpoint.json").write_text("{}")
    save_alone(writer, 3)
    assert steps(tmp_path) == [1, 2, 3]
    save_alone(writer, 4)
    assert steps(tmp_path) == [3, 4]


def test_what_a_late_rank_left_goes_with_the_next_commit(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1)
    late = tmp_path / "step=00000001.0123456789abcdef-1.writing"
    late.mkdir()
    (late / "rank=00003.json").touch()
    save_alone(writer, 2)
    assert steps(tmp_path) == [2]


def test_a_step_can_be_saved_again(tmp_path: Path) -> None:
    save_alone(CheckpointWriter(tmp_path, 0, 1), 5, seed=1)
    save_alone(CheckpointWriter(tmp_path, 0, 1), 5, seed=2)
    assert steps(tmp_path) == [5]
    assert_state(newest(tmp_path), 2)


def test_a_damaged_later_step_goes_and_a_whole_one_is_refused(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 0, 1, keep_last=1)
    save_alone(writer, 9)
    with pytest.raises(
        UserError, match=r"^checkpoint: .*step=00000009: resume from it, or use another folder .* step 4"
    ):
        save_alone(writer, 4)
    assert steps(tmp_path) == [9]
    (tmp_path / "step=00000009" / "rank=00000.safetensors").unlink()
    save_alone(writer, 4)
    assert steps(tmp_path) == [4]
    assert_state(open_checkpoint(tmp_path / "step=00000004"), 4)


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="keep_last: 0: keep at least 1"):
        CheckpointWriter(tmp_path, 0, 1, keep_last=0)
