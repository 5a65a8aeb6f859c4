"""A search's configuration: one tree of frozen parts, each declared in the room that uses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, field_validator, model_validator

from harmony_core.architecture.presets import load_preset
from harmony_core.base import Frozen, digest, read_yaml
from harmony_core.data.config import DataConfig
from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig, LatencyConfig, PromoteConfig
from harmony_core.evolution.config import AlgorithmConfig, Objective
from harmony_core.machines import Machine
from harmony_core.resources import FOLDERS
from harmony_core.space import Space
from harmony_core.training.recipe import Recipe

DEFAULT_OBJECTIVES = (
    Objective(name="val_bits_per_byte"),
    Objective(name="latency_seconds"),
    Objective(name="num_active_params"),
)


Found = TypeVar("Found")


class SearchConfig(Frozen):
    """What is searched, how long, and for what.

    Args:
        name: the search's folder under `results/`.
        seed: the root of every random number in the search.
        generations: how many; may be raised later in an existing search.
        population: candidates a generation.
        lag: 0 breeds a generation from the one before it; 1 from the one before that, so the
            next generation can run while the last candidates of this one finish.
        initial: preset names (resources/architectures) or YAML files that generation 0 starts with.
        objectives: what is minimised.
        algorithm: who breeds and who survives.
    """

    name: str = "default"
    seed: int = Field(default=0, ge=0)
    generations: int = Field(default=8, ge=1, le=10_000)
    population: int = Field(default=16, ge=2, le=1_000_000)
    lag: int = Field(default=0, ge=0, le=1)
    initial: tuple[str, ...] = ()
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
    algorithm: AlgorithmConfig = AlgorithmConfig()

    @field_validator("name")
    @classmethod
    def _folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError("use letters, digits, '.', '_' and '-', starting with a letter or digit")
        return name

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise UserError("objectives", names, "name at least one metric, each once")
        if len(self.initial) > self.population:
            raise UserError("initial", f"{len(self.initial)} entries", f"use at most population ({self.population})")
        return self


class BudgetConfig(Frozen):
    """What a search may take; may be changed later in an existing search.

    Args:
        gpu_hours: hours of devices that its candidates hold, in training and in measuring, lost attempts and
            promotion included; None sets no limit. On a machine without GPUs a CPU slot, the place of one
            candidate, counts as the device. An allocation's idle devices do not count.
    """

    gpu_hours: float | None = Field(default=None, gt=0)


class Config(Frozen):
    """Everything a search is a function of, its code and data aside.

    Args:
        space: a search-space YAML file, the name of one in resources/spaces, or a space in full.
    """

    search: SearchConfig = SearchConfig()
    space: str | dict[str, Any] = "nano"
    data: DataConfig = DataConfig()
    recipe: Recipe = Recipe()
    latency: LatencyConfig = LatencyConfig()
    execution: ExecutionConfig = ExecutionConfig()
    promote: PromoteConfig = PromoteConfig()
    budget: BudgetConfig = BudgetConfig()

    @classmethod
    def from_yaml(cls, path: Path | str) -> Config:
        """Reads and validates a file; the first mistake is a one-line `UserError`."""
        return cls.parse(read_yaml(path) or {}, Path(path).name)

    @model_validator(mode="after")
    def _check(self) -> Config:
        try:
            self.promotion_recipe()
        except UserError as error:
            raise UserError("promote.tokens", self.promote.tokens, error.fix) from None
        return self

    def promotion_recipe(self) -> Recipe:
        """The recipe of what is promoted: the search's, with `promote.tokens` where it is given."""
        if self.promote.tokens is None:
            return self.recipe
        return Recipe.parse({**self.recipe.model_dump(), "tokens": self.promote.tokens})

    def check_names(self) -> None:
        """Refuses a space, preset or machine that does not exist, or that needs longer sequences."""
        _known("space", lambda: Space.read(self.space)).check_length(self.recipe.sequence_length)
        _known("latency.reference", lambda: load_preset(self.latency.reference))
        for field, names in (("search.initial", self.search.initial), ("promote.baselines", self.promote.baselines)):
            for name in names:
                _known(field, partial(load_preset, name)).check_length(self.recipe.sequence_length)
        if self.latency.source != "measured":
            _known("latency.source", lambda: Machine.from_yaml(self.latency.source.removeprefix("predicted:")))

    def resolved(self) -> Config:
        """The same configuration with its space in full, so that a search does not hang on a file that may change."""
        space = Space.read(self.space).model_dump(mode="json", exclude_defaults=True)
        return self.model_copy(update={"space": space})

    def identity(self) -> dict[str, Any]:
        """What must not change within a search: all but how many generations, their budget, and where they run."""
        data = self.model_dump(mode="json")
        del data["search"]["generations"], data["budget"]
        # Which candidates share a shard is part of the files' meaning; the rest is not.
        data["execution"] = {"candidates_per_job": self.execution.candidates_per_job}
        return data

    def renewed(self, newest: Config) -> Config:
        """The same search with what may change within it as in `newest`."""
        search = self.search.model_copy(update={"generations": newest.search.generations})
        return self.model_copy(update={"search": search, "execution": newest.execution, "budget": newest.budget})

    @property
    def hash(self) -> str:
        """Digest of `identity`."""
        return digest(self.identity())

    def num_shards(self) -> int:
        """Shards a generation: candidates that share one job, `execution.candidates_per_job` at most."""
        return -(-self.search.population // self.execution.candidates_per_job)


def _known(field: str, read: Callable[[], Found]) -> Found:
    """What `read` finds under a name; an unknown name is an error of the key that holds it."""
    try:
        return read()
    except UserError as error:
        if error.field in FOLDERS:
            raise UserError(field, error.value, error.fix) from None
        raise
