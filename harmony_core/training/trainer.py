"""The trainer: one architecture, one recipe, one result. Everything that is trained goes through here."""

from __future__ import annotations

import dataclasses
import math
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import torch

from harmony_core.architecture import Architecture
from harmony_core.data import TokenDataset
from harmony_core.training.engine import device_for_training
from harmony_core.training.learner import Learner
from harmony_core.training.recipe import Recipe
from harmony_core.training.schedule import learning_rate_factor, warmup_steps
from harmony_core.training.status import DivergenceRule, Status

Split = Literal["validation", "test"]


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One optimiser step: losses in nats per token, seconds since training began."""

    step: int
    tokens: int
    train_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


@dataclasses.dataclass
class TrainingResult:
    """What came of one training; a run that failed says how, with what it had reached.

    Losses are means in nats per token; `train_loss` is over the last tenth of the steps.
    """

    status: Status = Status.OK
    error: str | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    val_bits_per_byte: float | None = None
    test_loss: float | None = None
    test_bits_per_byte: float | None = None
    router_loss: float | None = None
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    eval_seconds: float = 0.0
    first_step_at: float | None = None
    peak_memory_bytes: int = 0
    device: str = ""
    kernel_paths: str = ""
    curve: list[CurvePoint] = dataclasses.field(default_factory=list)


class OutOfTime(Exception):
    """The candidate's own time limit has passed."""


def train(
    architecture: Architecture,
    recipe: Recipe,
    data: Path,
    *,
    init_seed: int,
    data_seed: int,
    splits: Iterable[Split] = ("validation",),
    time_limit_seconds: float = math.inf,
    verify_data: bool = True,
    on_step: Callable[[CurvePoint], None] | None = None,
) -> TrainingResult:
    """Trains `architecture` from scratch and reads its loss on `splits`.

    Args:
        architecture: what to train; its vocabulary must be the data's.
        recipe: how; `precision` must be resolved.
        data: folder of prepared data.
        init_seed: seed of the weights.
        data_seed: seed of the data order, which is a function of it and of the step alone.
        splits: what is evaluated after training.
        time_limit_seconds: wall time after which the run ends as `timed_out`.
        verify_data: whether the data's checksums are read first; False where the caller has done so.
        on_step: called after every optimiser step.

    Returns:
        The result, whatever became of the run: divergence, memory and time are statuses here.
        Any other exception is a mistake in the code and is raised.

    Raises:
        UserError: the recipe's sequences are too short for a block.
    """
    architecture.check_length(recipe.sequence_length)
    result = TrainingResult()
    try:
        run = _Run(architecture, recipe, _Data(data, verify_data), init_seed, data_seed, time_limit_seconds, result)
        run.go(splits, on_step)
    except OutOfTime as error:
        result.status, result.error = Status.TIMED_OUT, str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        result.status, result.error = Status.OUT_OF_MEMORY, (str(error).splitlines() or [type(error).__name__])[0]
    result.peak_memory_bytes = peak_memory_bytes()
    return result


@dataclasses.dataclass(frozen=True)
class _Data:
    """Where the tokens lie, and whether to check them."""

    folder: Path
    verify: bool

    def open(self, split: Literal["train"] | Split) -> TokenDataset:
        return TokenDataset(self.folder, split, verify=self.verify)


class _Run:
    """The state of one training."""

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: _Data,
        init_seed: int,
        data_seed: int,
        time_limit_seconds: float,
        result: TrainingResult,
    ) -> None:
        self.recipe, self.data, self.data_seed, self.result = recipe, data, data_seed, result
        self.limit, self.deadline = time_limit_seconds, time.monotonic() + time_limit_seconds
        self.train_data = data.open("train")
        if architecture.vocab_size != self.train_data.vocab_size:
            raise ValueError(
                f"vocab_size {architecture.vocab_size} of the architecture is not the data's "
                f"{self.train_data.vocab_size}"
            )
        device = device_for_training()
        self.learner = Learner(architecture, recipe, init_seed, device)
        self.rule = DivergenceRule(architecture.vocab_size, warmup_steps(recipe))
        result.device = device_name(device)
        result.kernel_paths = ", ".join(self.learner.model.kernel_paths())

    def go(self, splits: Iterable[Split], on_step: Callable[[CurvePoint], None] | None) -> None:
        """Trains to the end or to divergence, then evaluates."""
        result = self.result
        result.first_step_at = begin = time.monotonic()
        for step in range(self.recipe.num_steps):
            self._check_time(f"step {step}")
            point = self._step(step, begin)
            result.curve.append(point)
            result.steps, result.tokens, result.seconds = step + 1, point.tokens, point.seconds
            if on_step is not None:
                on_step(point)
            if (why := self.rule.verdict(step, point.train_loss, point.gradient_norm)) is not None:
                result.status, result.error = Status.DIVERGED, why
                return
        tail = result.curve[-max(1, len(result.curve) // 10) :]
        result.train_loss = math.fsum(point.train_loss for point in tail) / len(tail)
        begin = time.monotonic()
        for split in splits:
            self._evaluate(split)
        result.eval_seconds = time.monotonic() - begin

    def _step(self, step: int, begin: float) -> CurvePoint:
        recipe, factor = self.recipe, learning_rate_factor(self.recipe, step)
        rows = self.train_data.batch(step, recipe.batch_size, recipe.sequence_length, self.data_seed)
        losses = self.learner.step(rows, factor)
        self.result.router_loss = losses.auxiliary
        tokens = (step + 1) * recipe.batch_size * recipe.sequence_length
        rate = recipe.learning_rate * factor
        return CurvePoint(step, tokens, losses.cross_entropy, rate, losses.gradient_norm, time.monotonic() - begin)

    def _evaluate(self, split: Split) -> None:
        recipe, dataset = self.recipe, self.data.open(split)
        nats, tokens, num_bytes = 0.0, 0, 0
        for rows in dataset.windows(recipe.batch_size, recipe.sequence_length, recipe.validation_tokens):
            self._check_time(f"evaluation on {split}")
            targets = rows[:, 1:]
            nats += self.learner.evaluate(rows) * targets.size
            tokens += targets.size
            num_bytes += int(dataset.token_bytes[targets].sum())
        loss, bits = nats / tokens, nats / math.log(2) / num_bytes
        if not math.isfinite(loss):
            self.result.status, self.result.error = Status.DIVERGED, f"{split} loss is {loss}"
            return
        if split == "validation":
            self.result.val_loss, self.result.val_bits_per_byte = loss, bits
        else:
            self.result.test_loss, self.result.test_bits_per_byte = loss, bits

    def _check_time(self, where: str) -> None:
        if time.monotonic() > self.deadline:
            raise OutOfTime(f"time limit of {self.limit:g} s passed at {where}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is the allocator's, on a CPU or a GPU."""
    text = str(error)
    # The allocator of torch, C++'s own, and oneDNN, which does not say why it could not make a primitive.
    said = ("can't allocate memory", "bad_alloc", "could not create a primitive", "out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in said)


def peak_memory_bytes() -> int:
    """Peak memory of this process: resident on a CPU, allocated on a GPU."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: torch.device) -> str:
    """The processor's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from harmony_core.host import cpu_name

    return cpu_name()
