"""The trainer: one architecture, one recipe, one result. Everything that is trained goes through here."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.data import TokenDataset
from harmony_core.machines import Layout, Machine
from harmony_core.training.checkpoint import Checkpoint
from harmony_core.training.collectives import largest
from harmony_core.training.curve import CurvePoint
from harmony_core.training.device import device_for_training
from harmony_core.training.held_out import summarise
from harmony_core.training.learner import Learner, StepLosses
from harmony_core.training.process import device_name, is_out_of_memory, peak_memory_bytes
from harmony_core.training.recipe import Recipe
from harmony_core.training.rendezvous import World, start
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import Checkpointing, CheckpointPolicy, Identity, restore
from harmony_core.training.schedule import learning_rate_factor
from harmony_core.training.status import DivergenceRule, Status
from harmony_core.training.watchdog import Watchdog

_LOG = logging.getLogger(__name__)
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
    splits: Iterable[Split] = ("validation",),
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
        The result, whatever became of the run: divergence, memory and time are statuses here.
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
        if run.checkpoints is not None:
            run.checkpoints.wait()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        result.status, result.error = Status.OUT_OF_MEMORY, (str(error).splitlines() or [type(error).__name__])[0]
        result.peak_memory_bytes = peak_memory_bytes()
        return result
    result.peak_memory_bytes = int(largest([float(peak_memory_bytes())])[0])
    return result


class _Run:
    """The state of one training."""

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: Path,
        seeds: tuple[int, int],
        conduct: Conduct,
        result: TrainingResult,
    ) -> None:
        self.recipe, self.data, self.data_seed, self.conduct, self.result = recipe, data, seeds[1], conduct, result
        self.deadline = time.monotonic() + conduct.time_limit_seconds
        self.train_data = self._open("train")
        if architecture.vocab_size != self.train_data.vocab_size:
            raise ValueError(
                f"vocab_size {architecture.vocab_size} of the architecture is not the data's "
                f"{self.train_data.vocab_size}"
            )
        self.checkpoints: Checkpointing | None = None
        found: Checkpoint | None = None
        if conduct.checkpoints is not None:
            identity = Identity(architecture, recipe, *seeds, self.train_data.manifest.checksum)
            self.checkpoints = Checkpointing(conduct.checkpoints, identity)
            found = self.checkpoints.find()
        device = device_for_training()
        separator = self.train_data.manifest.separator
        self.learner = Learner(architecture, recipe, seeds[0], device, conduct.layout, conduct.machine, separator)
        self.rule = DivergenceRule(architecture.vocab_size, recipe.warmup_steps)
        if found is not None:
            self._restore(found)
        result.device = device_name(device)
        result.kernel_paths = ", ".join(self.learner.stage.kernel_paths())

    def _open(self, split: Literal["train"] | Split) -> TokenDataset:
        return TokenDataset(self.data, split, verify=self.conduct.verify_data)

    def _restore(self, found: Checkpoint) -> None:
        """Goes on where the checkpoint was written; the rule has seen all that came before."""
        _LOG.info("goes on from the checkpoint of step %d", found.step)
        with found:
            self.learner.state.load(found, found.step)
            restore(self.result, found)
        for point in self.result.curve:
            self.rule.verdict(point.step, point.train_loss, point.gradient_norm)

    def _record(self, point: CurvePoint, losses: StepLosses) -> None:
        result = self.result
        result.curve.append(point)
        result.steps, result.tokens, result.seconds = point.step + 1, point.tokens, point.seconds
        result.router_loss = losses.auxiliary

    def go(self, splits: Iterable[Split]) -> None:
        """Trains to the end or to divergence, then evaluates."""
        result = self.result
        result.first_step_at = time.monotonic()
        begin = result.first_step_at - result.seconds
        for step in range(result.steps, self.recipe.num_steps):
            self._look_up(step, f"step {step}")
            point, losses = self._step(step, begin)
            self._record(point, losses)
            if self.conduct.on_step is not None:
                self.conduct.on_step(point, losses)
            if (why := self.rule.verdict(step, point.train_loss, point.gradient_norm)) is not None:
                result.status, result.error = Status.DIVERGED, why
                return
        if self.checkpoints is not None and self.checkpoints.at_end:
            self.checkpoints.save(self.learner, self.conduct.layout, result)
        tail = result.curve[-max(1, len(result.curve) // 10) :]
        result.train_loss = math.fsum(point.train_loss for point in tail) / len(tail)
        begin = time.monotonic()
        for split in splits:
            self._evaluate(split)
        result.eval_seconds = time.monotonic() - begin

    def _step(self, step: int, begin: float) -> tuple[CurvePoint, StepLosses]:
        recipe, factor, layout = self.recipe, learning_rate_factor(self.recipe, step), self.conduct.layout
        # A replica takes its share of the step's rows as if the batch were that small.
        number, share = step * layout.dp + self.learner.mesh.replica, recipe.batch_size // layout.dp
        losses = self.learner.step(self.train_data.batch(number, share, recipe.sequence_length, self.data_seed), factor)
        tokens = (step + 1) * recipe.batch_size * recipe.sequence_length
        rate, seconds = recipe.peak_learning_rate * factor, time.monotonic() - begin
        return CurvePoint(step, tokens, losses.cross_entropy, rate, losses.gradient_norm, seconds), losses

    def _evaluate(self, split: Split) -> None:
        recipe, dataset = self.recipe, self._open(split)
        length, most = recipe.sequence_length, recipe.validation_tokens
        nats, num_bytes = [], []
        for rows in dataset.windows(recipe.batch_size, length, most):
            self._look_up(self.result.steps, f"evaluation on {split}")
            nats.append(self.learner.evaluate(rows))
            num_bytes.append(dataset.token_bytes[rows[:, 1:]].sum(axis=1))
        documents_N = dataset.documents_of(dataset.evaluation_windows(length, most), length)
        found = summarise(np.concatenate(nats), np.concatenate(num_bytes), length, documents_N, dataset.documents)
        if not math.isfinite(found.loss):
            self.result.status, self.result.error = Status.DIVERGED, f"{split} loss is {found.loss}"
            return
        works = None if found.works is None else [dataclasses.asdict(work) for work in found.works]
        if split == "validation":
            self.result.val_loss, self.result.val_bits_per_byte = found.loss, found.bits_per_byte
            self.result.val_standard_error, self.result.val_works = found.standard_error, works
        else:
            self.result.test_loss, self.result.test_bits_per_byte = found.loss, found.bits_per_byte
            self.result.test_standard_error, self.result.test_works = found.standard_error, works

    def _look_up(self, step: int, where: str) -> None:
        """Between two steps, or two batches that are evaluated: is it time for something else?"""
        if self.conduct.watchdog is not None:
            self.conduct.watchdog.mark(step, where)
        trains = self.result.steps < self.recipe.num_steps
        due = trains and self.checkpoints is not None and self.checkpoints.is_due(self.result.steps)
        late = time.monotonic() > self.deadline
        stop, late, due = (flag > 0 for flag in largest([self.conduct.stop(), late, due]))
        if self.checkpoints is not None and (stop or due):
            self.checkpoints.save(self.learner, self.conduct.layout, self.result, wait=stop)
        if stop:
            raise TrainingInterrupted(f"told to stop at {where}")
        if late:
            raise OutOfTime(f"time limit of {self.conduct.time_limit_seconds:g} s passed at {where}")
