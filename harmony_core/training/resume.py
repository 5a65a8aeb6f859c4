"""When a training writes checkpoints, what it says of itself in them, and how it goes on from one."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.machines import Layout
from harmony_core.training.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    check_same,
    committed,
    newest,
    open_checkpoint,
)
from harmony_core.training.collectives import anybody, everybody
from harmony_core.training.curve import CurvePoint
from harmony_core.training.learner import Learner
from harmony_core.training.recipe import Recipe
from harmony_core.training.result import TrainingResult
from harmony_core.training.status import Status

# These fields of a recipe do not affect the steps before the decay.
_OF_THE_BRANCH = {
    "tokens", "rungs", "decay_fraction", "min_learning_rate_ratio", "validation_tokens", "warmup_tokens",
}  # fmt: skip
# Results of rungs that a training has passed, and of each the steps of its branch alone.
_EARLIER = "earlier"


@dataclasses.dataclass(frozen=True)
class CheckpointPolicy:
    """Where checkpoints lie and when they are written; one is always written when told to leave.

    Args:
        folder: of this training alone, seen by all its processes.
        every_steps: optimiser steps between two; 0 is never.
        every_seconds: wall time between two by rank 0's clock; infinite is never.
        at_end: whether one is written after the last step.
        keep_last: newest ones that stay. The one with the lowest training loss (mean since the one before) stays too.
        keep_trunk: whether one is written where the decay begins, and stays: a longer training can go on from it.
        trunk_of: folder of a shorter training's checkpoints, from whose trunk this one begins if it has none itself.
        scratch: this node's own folder, of this training alone, for what is written by the clock: an attempt of the
            same node goes on from there. Of one process, and without rungs.
        bytes_per_second: that one process writes; where training the same again takes less time than writing and
            reading it, none is written when told to leave.
    """

    folder: Path
    every_steps: int = 0
    every_seconds: float = math.inf
    at_end: bool = True
    keep_last: int = 2
    keep_trunk: bool = False
    trunk_of: Path | None = None
    scratch: Path | None = None
    bytes_per_second: float = math.inf

    def of_rung(self, number: int) -> CheckpointPolicy:
        """Where the branch of an earlier rung keeps its own until the training has ended, beside the trunk's."""
        folder, rate = self.folder / f"rung={number:03d}", self.bytes_per_second
        often = (self.every_steps, self.every_seconds)
        return CheckpointPolicy(folder, *often, at_end=False, keep_last=1, bytes_per_second=rate)


@dataclasses.dataclass(frozen=True)
class Identity:
    """What decides a training's result: a checkpoint of another one is refused.

    Args:
        architecture: what is trained.
        recipe: how.
        init_seed: seed of the weights.
        data_seed: seed of the data order.
        data_checksum: of the tokens.
    """

    architecture: Architecture
    recipe: Recipe
    init_seed: int
    data_seed: int
    data_checksum: str

    def trunk(self) -> dict[str, Any]:
        """What decides it up to the decay, as JSON: that of any longer training alike."""
        recipe = self.recipe.model_dump(mode="json", exclude=_OF_THE_BRANCH)
        return {**self.facts(), "recipe": {**recipe, "warmup_steps": self.recipe.warmup_steps}}

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "architecture_id": self.architecture.id,
            "recipe": self.recipe.model_dump(mode="json"),
            "init_seed": self.init_seed,
            "data_seed": self.data_seed,
            "data_checksum": self.data_checksum,
        }


class Checkpointing:
    """Writes a training's checkpoints and finds the one to go on from. All ranks make one and call it alike.

    Args:
        policy: where and when.
        identity: of the training.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, policy: CheckpointPolicy, identity: Identity) -> None:
        self._policy, self._identity = policy, identity
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        alone = self._size == 1 and identity.recipe.rungs is None and not policy.keep_trunk
        self._scratch = policy.scratch if alone else None
        self._writers: dict[Path, CheckpointWriter] = {}
        self._trunk_steps = identity.recipe.trunk_steps
        # The newest step of any folder, and of the shared one.
        self._saved_step = self._shared_step = self._saved_rungs = 0
        self._saved_at = self._began_at = time.monotonic()
        self._began_step = 0
        # A short training touches no disk; here the leftovers of a killed one are put in order.
        if anybody(policy.folder.exists())[0]:
            self._open(policy.folder)

    def _open(self, folder: Path) -> CheckpointWriter:
        if folder not in self._writers:
            self._writers[folder] = CheckpointWriter(
                folder,
                self._rank,
                self._size,
                keep_last=self._policy.keep_last,
                kept={self._trunk_steps} if self._policy.keep_trunk else (),
            )
            if self._size > 1:
                dist.barrier()
        return self._writers[folder]

    def find(self) -> Checkpoint | None:
        """The newest whole checkpoint.

        Raises:
            UserError: it is another training's.
        """
        found = newest(self._policy.folder, rank=self._rank, world_size=self._size, agree=everybody)
        if found is not None:
            self._shared_step = found.step
        if self._scratch is not None:
            near = newest(self._scratch, rank=self._rank, world_size=self._size, agree=everybody)
            if near is not None and near.step > self._shared_step:
                if found is not None:
                    found.close()
                found = near
        if found is not None:
            check_same(found.facts, self._identity.facts())
            self._saved_step, self._saved_rungs = found.step, len(found.facts.get(_EARLIER, ()))
            self._began_step = found.step
        elif self._policy.trunk_of is not None:
            found = self._shorter_trunk(self._policy.trunk_of)
        return found

    def _shorter_trunk(self, folder: Path) -> Checkpoint:
        """The checkpoint where a shorter training's decay began."""
        paths = committed(folder).values()
        trunks = [path for path in paths if Checkpoint(path).facts.get("trunk_steps") == Checkpoint(path).step]
        if not trunks:
            fix = "no checkpoint of a trunk there; train the shorter one with schedule wsd and keep its trunk"
            raise UserError("trunk_of", folder, fix)
        found = open_checkpoint(trunks[0], rank=self._rank, world_size=self._size, agree=everybody)
        check_same(found.facts["trunk"], self._identity.trunk())
        first = self._identity.recipe.at_rung(0).trunk_steps
        if found.step > first:
            plain = f"this one {first}; use more tokens"
            own = (
                plain if self._identity.recipe.rungs is None else f"this one branches off at {first}; use longer rungs"
            )
            raise UserError("trunk_of", folder, f"its trunk has {found.step} steps, and {own}")
        return found

    def restore(self, result: TrainingResult, checkpoint: Checkpoint) -> None:
        """Fills in what had been reached when this training's checkpoint, or a shorter one's trunk, was written."""
        result.curve = [CurvePoint(*point) for point in checkpoint.facts["curve"]]
        last = result.curve[-1]
        result.steps, result.tokens, result.seconds = last.step + 1, last.tokens, last.seconds
        # Earlier versions wrote no such fact into checkpoints; the next step gives it.
        result.router_loss = checkpoint.facts.get("router_loss")
        # The rungs of a shorter training are none of this one's.
        if checkpoint.facts["recipe"] == self._identity.facts()["recipe"]:
            texts, recipe = checkpoint.facts.get(_EARLIER, ()), self._identity.recipe
            result.earlier = [_rung(text, result, recipe.at_rung(number)) for number, text in enumerate(texts)]

    def is_due(self, steps: int) -> bool:
        """Whether this rank's clock or the number of steps asks for a checkpoint."""
        by_steps = self._policy.every_steps > 0 and steps - self._saved_step >= self._policy.every_steps
        trunk = self._policy.keep_trunk and steps == self._trunk_steps and self._saved_step < steps
        by_clock = self._rank == 0 and time.monotonic() - self._saved_at >= self._policy.every_seconds
        return by_steps or trunk or (by_clock and self._seconds_left(steps) > self._policy.every_seconds / 2)

    def is_worth(self, num_bytes: float) -> bool:
        """Whether a checkpoint takes less time, to write and to read, than training again what it would hold.

        Args:
            num_bytes: of this process's part.
        """
        return time.monotonic() - self._saved_at > 2 * num_bytes / self._policy.bytes_per_second

    def _seconds_left(self, steps: int) -> float:
        """How long the rest takes at the pace of this run so far."""
        done, left = steps - self._began_step, self._identity.recipe.all_steps - steps
        return left * (time.monotonic() - self._began_at) / done if done > 0 else math.inf

    @property
    def at_end(self) -> bool:
        """Whether one is written after the last step."""
        return self._policy.at_end

    def wait(self) -> None:
        """Returns when all that was saved is on disk, and what need not stay is deleted."""
        for writer in self._writers.values():
            writer.wait()

    def save(
        self,
        learner: Learner,
        layout: Layout,
        result: TrainingResult,
        *,
        wait: bool = False,
        by_the_clock: bool = False,
    ) -> None:
        """Copies the state after the result's last step, and writes it beside training.

        Nothing is written twice for a step.

        Args:
            learner: gives the pieces of this rank.
            layout: how it is spread, recorded for people; a checkpoint is read under any.
            result: the curve so far, a point a step.
            wait: return only once it is committed.
            by_the_clock: whether the node's own folder will do, where there is one.
        """
        curve, steps = result.curve, len(result.curve)
        near = by_the_clock and self._scratch is not None
        if steps > (self._saved_step if near else self._shared_step) or (
            steps and len(result.earlier) > self._saved_rungs
        ):
            since = [point.train_loss for point in curve[min(self._saved_step, steps - 1) :]]
            facts = {
                **self._identity.facts(),
                "trunk": self._identity.trunk(),
                "trunk_steps": self._trunk_steps,
                "architecture": self._identity.architecture.to_json(),
                "layout": layout.model_dump(mode="json"),
                "curve": [list(dataclasses.astuple(point)) for point in curve],
                "router_loss": result.router_loss,
                **self._passed(result),
            }
            score = math.fsum(since) / len(since)
            folder = self._scratch if near and self._scratch is not None else self._policy.folder
            self._open(folder).save(steps, learner.state.pieces(), facts, score=score)
            self._saved_step, self._saved_rungs, self._saved_at = steps, len(result.earlier), time.monotonic()
            self._shared_step = self._shared_step if near else steps
        if wait:
            self.wait()

    def forget_branches(self) -> None:
        """Deletes what branches have kept, once the training has ended."""
        if self._rank == 0:
            for folder in self._policy.folder.glob("rung=*"):
                shutil.rmtree(folder)

    def _passed(self, result: TrainingResult) -> dict[str, Any]:
        if self._identity.recipe.rungs is None:
            return {}
        found = []
        for number, one in enumerate(result.earlier):
            branch = one.curve[self._identity.recipe.at_rung(number).trunk_steps :]
            # As text, for a branch that has diverged has numbers that a manifest's JSON does not take.
            found.append(json.dumps({**vars(one), "curve": [dataclasses.astuple(point) for point in branch]}))
        return {_EARLIER: found}


def _rung(text: str, trunk: TrainingResult, recipe: Recipe) -> TrainingResult:
    values = json.loads(text)
    curve = [*trunk.curve[: recipe.trunk_steps], *(CurvePoint(*point) for point in values["curve"])]
    return TrainingResult(**{**values, "curve": curve, "status": Status(values["status"])})
