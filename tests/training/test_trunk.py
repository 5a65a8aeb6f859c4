"""A longer training goes on from the trunk of a shorter one, and ends as if it had been long from the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.training.resume import CheckpointPolicy
from tests.training.test_trainer import HYBRID, run

SHORT = {"tokens": 10 * 256, "warmup_tokens": 2 * 256, "schedule": "wsd", "decay_fraction": 0.4}
LONG = {**SHORT, "tokens": 16 * 256, "decay_fraction": 0.25, "min_learning_rate_ratio": 0.0}


@pytest.fixture(scope="module")
def trunk(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    run(data, HYBRID, SHORT, checkpoints=CheckpointPolicy(folder, keep_last=1, every_steps=1, keep_trunk=True))
    return folder


def test_the_trunk_stays(trunk: Path) -> None:
    assert "step=00000006" in {path.name for path in trunk.glob("step=*")}


def test_longer_is_bit_for_bit_what_it_would_be_from_the_start(data: Path, trunk: Path, tmp_path: Path) -> None:
    whole, did = run(data, HYBRID, LONG), []
    policy = CheckpointPolicy(tmp_path / "long", trunk_of=trunk)
    got = run(data, HYBRID, LONG, checkpoints=policy, on_step=lambda point, _: did.append(point.step))
    assert did == list(range(6, 16))
    assert [point.train_loss for point in got.curve] == [point.train_loss for point in whole.curve]
    assert (got.val_loss, got.val_standard_error) == (whole.val_loss, whole.val_standard_error)


def test_its_own_checkpoint_comes_first(data: Path, trunk: Path, tmp_path: Path) -> None:
    policy = CheckpointPolicy(tmp_path / "long", trunk_of=trunk)
    run(data, HYBRID, LONG, checkpoints=policy)
    did: list[int] = []
    run(data, HYBRID, LONG, checkpoints=policy, on_step=lambda point, _: did.append(point.step))
    assert did == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"warmup_tokens": 3 * 256}, "warmup_steps"),
        ({"tokens": 8 * 256, "decay_fraction": 0.5}, "trunk has 6 steps, and this one 4"),
    ],
)
def test_another_trunk_is_refused(
    change: dict[str, object], told: str, data: Path, trunk: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        run(data, HYBRID, {**LONG, **change}, checkpoints=CheckpointPolicy(tmp_path / "long", trunk_of=trunk))


def test_no_trunk_there_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint of a trunk"):
        run(data, HYBRID, LONG, checkpoints=CheckpointPolicy(tmp_path / "long", trunk_of=tmp_path))
