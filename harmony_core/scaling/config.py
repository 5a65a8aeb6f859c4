"""The configuration of an IsoFLOP sweep: which architectures, at which sizes, on which compute budgets. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from harmony_core import bounds
from harmony_core.base import FolderName, Frozen, read_yaml
from harmony_core.data.config import DataConfig
from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig
from harmony_core.training.recipe import Recipe

# The largest published training has 5e25.
_MOST_FLOPS = 1e30
# Of `execution`, what makes or measures no training of a sweep.
_NOT_OF_A_SWEEP = (
    "candidates_per_job", "time_limit_seconds", "machine", "gpus_per_candidate", "layout", "checkpoint_seconds",
    "checkpoint_scratch", "checkpoint_gb_per_second",
)  # fmt: skip
_Budget = Annotated[float, Field(ge=1, le=_MOST_FLOPS)]


class IsoflopConfig(Frozen):
    """Everything a sweep is a function of, its code and data aside.

    Args:
        name: of its folder under `results/`.
        seed: root of its random numbers.
        replicates: fresh seeds of every training.
        architectures: presets or YAML files; each is grown and shrunk by width.
        budgets: training FLOPs of the curves, rising.
        sizes: sizes on each curve to begin with.
        spacing: ratio of neighbouring sizes, in active non-embedding parameters.
        tokens_per_param: where the minimum is looked for first (Hoffmann et al. 2022, arXiv:2203.15556: about 20).
        rounds: how often a curve whose best size is its least or its largest gets another one beyond.
        epochs: times that a training may read its text, at most.
        recipe: of all trainings; `tokens` and `rungs` follow from size and budget. Without `warmup_tokens` the warm-up
            is 5% of a size's tokens on the least budget.
        data: which text.
        execution: trainings at once (`workers`), and what a search's `execution` says beside of its workers.
    """

    name: FolderName = "isoflop"
    seed: int = Field(default=0, ge=0, le=bounds.SEED)
    replicates: int = Field(default=1, ge=1, le=bounds.PROMOTED)
    architectures: tuple[str, ...]
    budgets: tuple[_Budget, ...]
    # A parabola has three coefficients.
    sizes: int = Field(default=5, ge=3, le=100)
    spacing: float = Field(default=1.5, gt=1.05, le=100)
    tokens_per_param: float = Field(default=20.0, gt=0, le=1e9)
    rounds: int = Field(default=3, ge=0, le=100)
    epochs: float = Field(default=4.0, gt=0, le=1000)
    recipe: Recipe = Recipe()
    data: DataConfig = DataConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="after")
    def _check(self) -> IsoflopConfig:
        for field in ("architectures", "budgets"):
            if len(set(getattr(self, field))) < max(1, len(getattr(self, field))):
                raise UserError(field, list(getattr(self, field)), "list at least one, each once")
        names = [Path(name).stem for name in self.architectures]
        if len(set(names)) < len(names):
            raise UserError("architectures", list(self.architectures), "two have the same name; rename a file")
        if list(self.budgets) != sorted(self.budgets):
            raise UserError("budgets", list(self.budgets), "list them in rising order")
        if self.recipe.rungs is not None:
            raise UserError("recipe.rungs", list(self.recipe.rungs), "they follow from the budgets; leave them out")
        if self.recipe.schedule != "wsd":
            fix = "budgets share a trunk, which only schedule wsd has; use that"
            raise UserError("recipe.schedule", self.recipe.schedule, fix)
        for field in _NOT_OF_A_SWEEP:
            if (given := getattr(self.execution, field)) != getattr(ExecutionConfig(), field):
                raise UserError(f"execution.{field}", given, "a sweep's trainings have no such thing; leave it out")
        return self

    @classmethod
    def from_yaml(cls, path: Path | str) -> IsoflopConfig:
        """Reads and validates a file; the first mistake is a one-line `UserError`."""
        return cls.parse(read_yaml(path) or {}, Path(path).name)

    def identity(self) -> dict[str, Any]:
        """What must not change within a sweep: all but how many rounds it has, and where it runs."""
        return self.model_dump(mode="json", exclude={"rounds", "execution"})
