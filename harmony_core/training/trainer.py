"""The trainer: one architecture, one recipe, one result. Everything that is trained goes through here."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.data import TokenDataset
from harmony_core.machines import Layout, Machine
from harmony_core.training.batches import Batches
from harmony_core.training.collectives import largest
from harmony_core.training.course import Course
from harmony_core.training.curve import CurvePoint
from harmony_core.training.device import device_for_training
from harmony_core.training.held_out import summarise
from harmony_core.training.learner import Learner, StepLosses
from harmony_core.training.process import device_name, is_out_of_memory, peak_memory_bytes
from harmony_core.training.recipe import Recipe
from harmony_core.training.rendezvous import World, start
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import Checkpointing, CheckpointPolicy, Identity
from harmony_core.training.schedule import learning_rate_factor
from harmony_core.training.state import StateCopy
from harmony_core.training.status import Status
from harmony_core.training.watchdog import Watchdog

Split = Literal["validation", "test"]
OnStep = Callable[[CurvePoint, StepLosses], None]


class OutOfTime(Exception):
    """The candidate's own time limit has passed."""


class TrainingInterrupted(Exception):
    """It was told to leave, and left, all its ranks together; where it writes checkpoints, one is written."""


@dataclasses.dataclass(frozen=True)
class Conduct:
    """How a training is carried out: nothing here changes its result.

    Args:
        layout: how it is spread over processes; this one is one of them.
        machine: what it runs on, by whose predicted times a pipeline is cut; None cuts it by FLOPs.
        checkpoints: where and when it writes them, and goes on from them; None writes none.
        stop: asked on every rank once a step; what one says makes all of them leave.
        watchdog: told how far this rank is.
        on_step: called after every optimiser step, on every rank.
        time_limit_seconds: wall time of this run after which it ends as `timed_out`.
        verify_data: whether the data's checksums are read first; False where the caller has done so.
    """

    layout: Layout = dataclasses.field(default_factory=Layout)
    machine: Machine | None = None
    checkpoints: CheckpointPolicy | None = None
    stop: Callable[[], bool] = bool
    watchdog: Watchdog | None = None
    on_step: OnStep | None = None
    time_limit_seconds: float = math.inf
    verify_data: bool = True


def train(
    architecture: Architecture,
    recipe: Recipe,
    data: Path,
    *,
    init_seed: int,
    data_seed: int,
    splits: Sequence[Split] = ("validation",),
    conduct: Conduct | None = None,
) -> TrainingResult:
    """Trains `architecture` from scratch, or from its newest checkpoint on, and reads its loss on `splits`.

    Every process of the layout calls it alike, and gets the same result.

    Args:
        architecture: what to train; its vocabulary must be the data's.
        recipe: how; `precision` must be resolved.
        data: folder of prepared data.
        init_seed: seed of the weights.
        data_seed: seed of the data order, which is a function of it and of the step alone.
        splits: what is evaluated after training.
        conduct: layout, checkpoints, limits.

    Returns:
        The result, whatever became of the run: divergence, memory and time are statuses here. Of several rungs it is
        the last one's, and has those of the others.
        Any other exception is a mistake in the code and is raised.

    Raises:
        UserError: the recipe's sequences are too short for a block, a block has not got what it asks for, the layout
            does not fit, or the checkpoint is another training's; nothing has been allocated.
        TrainingInterrupted: it was told to stop.
    """
    conduct = conduct or Conduct()
    architecture.check_length(recipe.sequence_length)
    architecture.check_demands(recipe.demands)
    conduct.layout.check(architecture, recipe.batch_size, recipe.sequence_length)
    start(World.from_environment())
    result = TrainingResult()
    try:
        run = _Run(architecture, recipe, data, (init_seed, data_seed), conduct, result)
        try:
            run.go(splits)
        except OutOfTime as error:
            result.status, result.error = Status.TIMED_OUT, str(error)
        run.end()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        result.status, result.error = Status.OUT_OF_MEMORY, (str(error).splitlines() or [type(error).__name__])[0]
        result.peak_memory_bytes = peak_memory_bytes()
    else:
        result.peak_memory_bytes = int(largest([float(peak_memory_bytes())])[0])
        # By now no rank waits for a branch's checkpoint any more.
        run.forget_branches()
    result.end_all(len(recipe.budgets))
    return result


class _Run:
    """The state of one training: its trunk, and the course on which it is now, which may be a rung's branch."""

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: Path,
        seeds: tuple[int, int],
        conduct: Conduct,
        result: TrainingResult,
    ) -> None:
        self.recipe, self.data, self.data_seed, self.conduct = recipe, data, seeds[1], conduct
        self.deadline = time.monotonic() + conduct.time_limit_seconds
        self.train_data = self._open("train")
        if architecture.vocab_size != self.train_data.vocab_size:
            raise ValueError(
                f"vocab_size {architecture.vocab_size} of the architecture is not the data's "
                f"{self.train_data.vocab_size}"
            )
        self.identity = Identity(architecture, recipe, *seeds, self.train_data.manifest.checksum)
        checkpoints = None if conduct.checkpoints is None else Checkpointing(conduct.checkpoints, self.identity)
        found = None if checkpoints is None else checkpoints.find()
        device = device_for_training()
        separator = self.train_data.manifest.separator
        self.learner = Learner(architecture, recipe, seeds[0], device, conduct.layout, conduct.machine, separator)
        self.batches = Batches(self._rows, device)
        last = recipe.at_rung(len(recipe.budgets) - 1)
        self.trunk = self.now = Course(last, result, checkpoints, architecture.vocab_size)
        self.trunk.go_on(found, self.learner)
        # The state in which a branch has left the trunk.
        self.left: StateCopy | None = None
        result.device = device_name(device)
        result.kernel_paths = ", ".join(self.learner.stage.kernel_paths())

    def _open(self, split: Literal["train"] | Split) -> TokenDataset:
        return TokenDataset(self.data, split, verify=self.conduct.verify_data)

    def go(self, splits: Sequence[Split]) -> None:
        """Trains to the end or to divergence; evaluates at every rung."""
        result = self.trunk.result
        result.first_step_at = time.monotonic()
        for number in range(len(result.earlier), len(self.recipe.budgets) - 1):
            if not self._train_to(self.recipe.at_rung(number).trunk_steps):
                return
            self._branch(number, splits)
        if self._train_to(self.trunk.recipe.num_steps):
            if self.trunk.checkpoints is not None and self.trunk.checkpoints.at_end:
                self.trunk.checkpoints.save(self.learner, self.conduct.layout, result)
            self._conclude(splits)

    def end(self) -> None:
        """Returns when all that was saved is on disk."""
        for course in (self.now, self.trunk):
            if course.checkpoints is not None:
                course.checkpoints.wait()

    def forget_branches(self) -> None:
        """Deletes the branches' checkpoints."""
        if self.trunk.checkpoints is not None:
            self.trunk.checkpoints.forget_branches()

    def _branch(self, number: int, splits: Sequence[Split]) -> None:
        """Decays for a rung, reads its loss, and goes back to where it left the trunk."""
        checkpoints = None
        if self.conduct.checkpoints is not None:
            identity = dataclasses.replace(self.identity, recipe=self.recipe.at_rung(number))
            checkpoints = Checkpointing(self.conduct.checkpoints.of_rung(number), identity)
        self.left = self.learner.state.copy()
        self.now = self.trunk.branch(self.recipe.at_rung(number), checkpoints)
        self.now.go_on(None if checkpoints is None else checkpoints.find(), self.learner)
        if self._train_to(self.now.recipe.num_steps):
            self._conclude(splits)
        if checkpoints is not None:
            checkpoints.wait()
        self.trunk.result.earlier.append(self.now.result)
        self._back_to_trunk()

    def _back_to_trunk(self) -> None:
        if self.left is not None:
            self.learner.state.load(self.left, self.trunk.result.steps)
        self.now, self.left = self.trunk, None

    def _train_to(self, end: int) -> bool:
        """Goes on to step `end`; whether it got there without diverging."""
        result = self.now.result
        begin = time.monotonic() - result.seconds
        for step in range(result.steps, end):
            self._look_up(f"step {step}")
            point, losses = self._step(step, begin)
            self.now.record(point, losses)
            if self.conduct.on_step is not None:
                self.conduct.on_step(point, losses)
            if result.status is not Status.OK:
                return False
        return True

    def _step(self, step: int, begin: float) -> tuple[CurvePoint, StepLosses]:
        recipe, factor = self.recipe, learning_rate_factor(self.now.recipe, step)
        more = step + 1 < self.now.recipe.num_steps
        ahead = partial(self.batches.fetch, step + 1) if more else None
        losses = self.learner.step(self.batches.take(step), factor, ahead)
        tokens = (step + 1) * recipe.batch_size * recipe.sequence_length
        rate, seconds = recipe.peak_learning_rate * factor, time.monotonic() - begin
        return CurvePoint(step, tokens, losses.cross_entropy, rate, losses.gradient_norm, seconds), losses

    def _rows(self, step: int) -> np.ndarray:
        """A replica takes its share of the step's rows as if the batch were that small."""
        layout, recipe = self.conduct.layout, self.recipe
        number, share = step * layout.dp + self.learner.mesh.replica, recipe.batch_size // layout.dp
        return self.train_data.batch(number, share, recipe.sequence_length, self.data_seed)

    def _conclude(self, splits: Sequence[Split]) -> None:
        self.now.conclude()
        begin = time.monotonic()
        for split in splits:
            self._evaluate(split)
        self.now.result.eval_seconds = time.monotonic() - begin

    def _evaluate(self, split: Split) -> None:
        recipe, dataset, result = self.recipe, self._open(split), self.now.result
        length, most = recipe.sequence_length, recipe.validation_tokens
        nats, num_bytes = [], []
        for rows in dataset.windows(recipe.batch_size, length, most):
            self._look_up(f"evaluation on {split}")
            nats.append(self.learner.evaluate(rows))
            num_bytes.append(dataset.token_bytes[rows[:, 1:]].sum(axis=1))
        documents_N = dataset.documents_of(dataset.evaluation_windows(length, most), length)
        found = summarise(np.concatenate(nats), np.concatenate(num_bytes), length, documents_N, dataset.documents)
        if not math.isfinite(found.loss):
            result.status, result.error = Status.DIVERGED, f"{split} loss is {found.loss}"
            return
        works = None if found.works is None else [dataclasses.asdict(work) for work in found.works]
        if split == "validation":
            result.val_loss, result.val_bits_per_byte = found.loss, found.bits_per_byte
            result.val_standard_error, result.val_works = found.standard_error, works
        else:
            result.test_loss, result.test_bits_per_byte = found.loss, found.bits_per_byte
            result.test_standard_error, result.test_works = found.standard_error, works

    def _look_up(self, where: str) -> None:
        """Between two steps, or two batches that are evaluated: is it time for something else?"""
        now = self.now
        if self.conduct.watchdog is not None:
            self.conduct.watchdog.mark(self._steps_done(), where)
        trains = now.result.steps < now.recipe.num_steps
        due = trains and now.checkpoints is not None and now.checkpoints.is_due(now.result.steps)
        late = time.monotonic() > self.deadline
        worth = now.checkpoints is not None and now.checkpoints.is_worth(self._state_bytes())
        stop, late, due, worth = (flag > 0 for flag in largest([self.conduct.stop(), late, due, worth]))
        if due and not stop:
            self._save(wait=False)
        if stop:
            if worth:
                self._save(wait=True)
                if self.left is not None:
                    self._back_to_trunk()
                    self._save(wait=True)
            raise TrainingInterrupted(f"told to stop at {where}")
        if late:
            raise OutOfTime(f"time limit of {self.conduct.time_limit_seconds:g} s passed at {where}")

    def _save(self, wait: bool) -> None:
        """Told to leave it waits; else the clock asks for it."""
        if self.now.checkpoints is not None:
            learner, layout, result = self.learner, self.conduct.layout, self.now.result
            self.now.checkpoints.save(learner, layout, result, wait=wait, by_the_clock=not wait)

    def _state_bytes(self) -> float:
        """Bytes of a checkpoint that this process writes, about: weights and two moments, over those that hold them."""
        held = sum(parameter.numel() for parameter in self.learner.stage.parameters())
        return 3.0 * 4 * held / self.conduct.layout.data_ranks

    def _steps_done(self) -> int:
        """Steps of the trunk and of all branches so far: a number that never falls, by which ranks are compared."""
        passed = [self.recipe.at_rung(number) for number in range(len(self.trunk.result.earlier))]
        return self.now.result.steps + sum(one.num_steps - one.trunk_steps for one in passed)
