"""What came of one training."""

from __future__ import annotations

import dataclasses
from typing import Any

from harmony_core.training.curve import CurvePoint
from harmony_core.training.status import Status


@dataclasses.dataclass
class TrainingResult:
    """What came of one training; a run that failed says how, with what it had reached.

    Losses are means in nats per token; `train_loss` is over the last tenth of the steps.
    Standard errors are in bits per byte; works are `WorkLoss` (`harmony_core.training.held_out`) as mappings.
    A training with rungs has the last one's result, and those of the `earlier` ones in order, each as if it had been
    asked to stop there; a rung that was not reached has what ended the training before it.
    """

    status: Status = Status.OK
    error: str | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    val_bits_per_byte: float | None = None
    val_standard_error: float | None = None
    val_works: list[dict[str, Any]] | None = None
    test_loss: float | None = None
    test_bits_per_byte: float | None = None
    test_standard_error: float | None = None
    test_works: list[dict[str, Any]] | None = None
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
    earlier: list[TrainingResult] = dataclasses.field(default_factory=list)

    @property
    def rungs(self) -> list[TrainingResult]:
        """The result of every rung, the last one's being this."""
        return [*self.earlier, self]

    def end_all(self, rungs: int) -> None:
        """Gives what the process alone knows to every rung, and to those that were not reached how it ended.

        Args:
            rungs: how many the recipe has.
        """
        for one in self.earlier:
            one.first_step_at, one.peak_memory_bytes = self.first_step_at, self.peak_memory_bytes
        while len(self.earlier) < rungs - 1:
            self.earlier.append(dataclasses.replace(self, curve=list(self.curve), earlier=[]))
