"""A training with rungs: each is bit for bit a training that was asked to stop there, wherever it is interrupted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harmony_core.errors import UserError
from harmony_core.training.curve import CurvePoint
from harmony_core.training.recipe import Recipe
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import CheckpointPolicy
from harmony_core.training.schedule import learning_rate_factor
from harmony_core.training.status import Status
from harmony_core.training.trainer import TrainingInterrupted
from tests.training.test_trainer import HYBRID, RECIPE, run

STEP = 256
# The branches leave the trunk after 3, 5 and 9 steps, and end after 5, 9 and 15.
RUNGS = {"rungs": [5 * STEP, 9 * STEP], "tokens": 15 * STEP, "warmup_tokens": 2 * STEP, "decay_fraction": 0.4}
ALL_STEPS = [*range(5), *range(3, 9), *range(5, 15)]


def told(result: TrainingResult) -> dict[str, Any]:
    """All that a training decides, its clocks aside."""
    clocks = ("seconds", "eval_seconds", "first_step_at", "peak_memory_bytes", "earlier")
    values = {name: value for name, value in vars(result).items() if name not in clocks}
    return {**values, "curve": [dataclasses.astuple(point)[:-1] for point in result.curve]}


@pytest.fixture(scope="module")
def whole(data: Path) -> TrainingResult:
    return run(data, HYBRID, RUNGS)


def test_every_rung_is_a_training_that_was_asked_to_stop_there(data: Path, whole: TrainingResult) -> None:
    recipe = Recipe.parse({**RECIPE, **RUNGS})
    assert len(whole.rungs) == 3
    for number, rung in enumerate(whole.rungs):
        alone = run(data, HYBRID, recipe.at_rung(number).model_dump())
        assert told(rung) == told(alone)
        # How long is the machine's; that it is told at all is ours.
        assert rung.seconds > 0


class Killed(Exception):
    pass


def go_on_after(look: int, data: Path, folder: Path) -> tuple[TrainingResult, list[int]]:
    """The training that is told to leave at its look of this number and goes on, and the steps of both parts."""
    looks, did = iter(range(1000)), []
    checkpoints = CheckpointPolicy(folder, keep_last=1)
    options = {"checkpoints": checkpoints, "on_step": lambda point, _: did.append(point.step)}
    with pytest.raises(TrainingInterrupted):
        run(data, HYBRID, RUNGS, stop=lambda: next(looks) == look, **options)
    return run(data, HYBRID, RUNGS, **options), did


# A look is a step, or a batch of an evaluation, of which each rung has two: in the trunk, at its end, in a branch, at
# its end, in its evaluation, back in the trunk, in the last decay, in the last evaluation.
@pytest.mark.parametrize("look", [1, 3, 4, 6, 7, 15, 21, 24])
def test_told_to_leave_it_goes_on_bit_for_bit(look: int, data: Path, whole: TrainingResult, tmp_path: Path) -> None:
    got, did = go_on_after(look, data, tmp_path)
    assert [told(rung) for rung in got.rungs] == [told(rung) for rung in whole.rungs]
    assert did == ALL_STEPS
    assert not list(tmp_path.glob("rung=*"))


@pytest.mark.parametrize("after", [4, 6])
def test_killed_it_goes_on_bit_for_bit(after: int, data: Path, whole: TrainingResult, tmp_path: Path) -> None:
    did: list[int] = []

    def die(point: CurvePoint, _: object) -> None:
        did.append(point.step)
        if len(did) == after:
            raise Killed

    policy = CheckpointPolicy(tmp_path, keep_last=1, every_steps=2)
    with pytest.raises(Killed):
        run(data, HYBRID, RUNGS, checkpoints=policy, on_step=die)
    got = run(data, HYBRID, RUNGS, checkpoints=policy, on_step=lambda point, _: did.append(point.step))
    assert [told(rung) for rung in got.rungs] == [told(rung) for rung in whole.rungs]
    # At most the steps since the last checkpoint of the trunk and of the branch are done again.
    assert len(ALL_STEPS) < len(did) <= len(ALL_STEPS) + 4


def test_what_stays_is_the_last_rungs(data: Path, tmp_path: Path) -> None:
    run(data, HYBRID, RUNGS, checkpoints=CheckpointPolicy(tmp_path, keep_last=1, keep_trunk=True))
    assert sorted(path.name for path in tmp_path.glob("*=*")) == ["step=00000009", "step=00000015"]


def test_a_longer_training_branches_off_a_shorter_ones_trunk(data: Path, tmp_path: Path) -> None:
    short = {**RUNGS, "rungs": [4 * STEP], "tokens": 5 * STEP}
    run(data, HYBRID, short, checkpoints=CheckpointPolicy(tmp_path / "short", keep_trunk=True))
    longer, did = {**RUNGS, "rungs": [6 * STEP, 9 * STEP]}, []
    whole = run(data, HYBRID, longer)
    policy = CheckpointPolicy(tmp_path / "long", trunk_of=tmp_path / "short")
    got = run(data, HYBRID, longer, checkpoints=policy, on_step=lambda point, _: did.append(point.step))
    assert [told(rung) for rung in got.rungs] == [told(rung) for rung in whole.rungs]
    assert did == [*range(3, 6), *range(3, 9), *range(5, 15)]
    late = {**RUNGS, "rungs": [4 * STEP]}
    with pytest.raises(UserError, match="trunk has 3 steps, and this one branches off at 2; use longer rungs"):
        run(data, HYBRID, late, checkpoints=CheckpointPolicy(tmp_path / "late", trunk_of=tmp_path / "short"))


def test_a_trunk_that_diverges_fails_the_rungs_beyond(data: Path) -> None:
    wild = {"learning_rate": 1.0, "gradient_clip": 0.0, "warmup_tokens": 0, "rungs": [2 * STEP, 30 * STEP]}
    got = run(data, HYBRID, {**wild, "tokens": 64 * STEP})
    assert [rung.status for rung in got.rungs] == [Status.OK, Status.DIVERGED, Status.DIVERGED]
    assert [len(rung.curve) for rung in got.rungs] == [2, got.steps, got.steps]
    assert got.earlier[0].val_loss is not None


def test_out_of_time_every_rung_says_so(data: Path) -> None:
    got = run(data, HYBRID, RUNGS, time_limit_seconds=0.0)
    assert [rung.status for rung in got.rungs] == [Status.TIMED_OUT] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rungs": []}, r"rungs: \[\]: no budgets; list some below tokens, or leave the key out"),
        ({"rungs": [2048, 1280]}, r"rungs: \[2048, 1280\]: list each budget once, in rising order"),
        ({"rungs": [1280, 1280]}, "list each budget once"),
        ({"rungs": [1280, 3840]}, r"rungs: 3840: rungs end below tokens \(3840\), which is itself the last rung"),
        ({"rungs": [100]}, "rungs: 100: less than one step; use at least 256"),
        ({"rungs": [1280, 1290]}, "as many steps of 256 tokens as at 1290"),
        ({"rungs": [768]}, r"rungs: 768: ends before warm-up \(512 tokens\) and decay are over"),
        ({"rungs": [0]}, r"rungs.0: 0: "),
        ({"rungs": 1280}, "rungs: 1280: use a list"),
        ({"rungs": [1280], "schedule": "cosine"}, "cosine has no trunk to branch off"),
    ],
)
def test_rungs_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe.parse({**RECIPE, **RUNGS, **change})


def test_recipes_of_rungs() -> None:
    recipe = Recipe.parse({**RECIPE, **RUNGS})
    assert recipe.budgets == (5 * STEP, 9 * STEP, 15 * STEP)
    assert [recipe.at_rung(number).trunk_steps for number in range(3)] == [3, 5, 9]
    assert recipe.all_steps == len(ALL_STEPS)
    factors = [[learning_rate_factor(recipe.at_rung(number), step) for step in range(3)] for number in range(3)]
    assert factors[0] == factors[1] == factors[2]
    # Without a warm-up of its own, all have that of the first rung.
    own = Recipe.parse({**RECIPE, "rungs": [40 * STEP], "tokens": 4000 * STEP})
    assert {own.at_rung(0).warmup_steps, own.at_rung(1).warmup_steps, own.warmup_steps} == {2}
    assert own.at_rung(1).trunk_steps == own.trunk_steps == 3200
    assert "rungs" not in Recipe().model_dump()
    assert Recipe().at_rung(0) == Recipe()
    assert Recipe().all_steps == Recipe().num_steps
