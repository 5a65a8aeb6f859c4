"""A search's configuration: one tree of frozen parts, each declared in the room that uses it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from harmony_core import bounds
from harmony_core.architecture.demands import Demands
from harmony_core.architecture.presets import load_preset
from harmony_core.base import FolderName, Frozen, canonical_json, digest, read_yaml
from harmony_core.data.config import DataConfig
from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig, LatencyConfig, LogConfig, PromoteConfig
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.evolution.algorithms.nsga2 import NSGA2Config
from harmony_core.evolution.registry import AnyAlgorithm
from harmony_core.machines import Machine
from harmony_core.mad.config import MadConfig
from harmony_core.metrics.mad import MAD_TASKS
from harmony_core.resources import FOLDERS
from harmony_core.search.frame import AUTO, KEY, Frame
from harmony_core.search.objective import Objective
from harmony_core.space import Space, mutations_of
from harmony_core.store.evaluators import DEFAULT, find_table, require_table, tables
from harmony_core.training.recipe import Recipe

MAD = "mad"
DEFAULT_OBJECTIVES = (
    Objective(name="val_bits_per_byte"),
    Objective(name="latency_seconds"),
    Objective(name="num_active_params"),
)


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
        hypervolume: the frame that it is measured in: a name in resources/frames, or a `.yaml` file, such as another
            search's `frame.yaml`, so that both compare. `auto` takes the frame that is made for a search's space, data
            and tokens, or else what generation 0 spans.
    """

    name: FolderName = "default"
    seed: int = Field(default=0, ge=0, le=bounds.SEED)
    generations: int = Field(default=8, ge=1, le=bounds.GENERATIONS)
    population: int = Field(default=16, ge=2, le=bounds.POPULATION)
    lag: int = Field(default=0, ge=0, le=1)
    initial: tuple[str, ...] = ()
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
    algorithm: AnyAlgorithm = NSGA2Config()
    hypervolume: str = AUTO

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise UserError("objectives", names, "name at least one metric, each once")
        self.algorithm.check(self.objectives, self.population)
        if len(self.initial) > self.population:
            raise UserError("initial", f"{len(self.initial)} entries", f"use at most population ({self.population})")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return tuple(objective.name for objective in self.objectives)

    def make_algorithm(self) -> Algorithm:
        """The algorithm, for these objectives and this population."""
        return self.algorithm.make(self.objectives, self.population)


class BudgetConfig(Frozen):
    """What a search may take; may be changed later in an existing search.

    Args:
        gpu_hours: hours of devices that its candidates hold, in training and in measuring, lost attempts and
            promotion included; None sets no limit. On a machine without GPUs a CPU slot, the place of one
            candidate, counts as the device. Of an allocation's devices that have no candidate only the time before
            they could begin counts, in which data and environment are copied; it is the first candidate's there.
    """

    gpu_hours: float | None = Field(default=None, gt=0, le=bounds.DEVICE_HOURS)


class Config(Frozen):
    """Everything a search is a function of, its code and data aside.

    Args:
        space: a search-space YAML file, the name of one in resources/spaces, or a space in full.
        evaluators: what is measured of candidates; `training` always is.
        mad: what the evaluator of this name trains.
        log: where trainings are told of beside the tables.
    """

    search: SearchConfig = SearchConfig()
    space: str | dict[str, Any] = "nano"
    data: DataConfig = DataConfig()
    recipe: Recipe = Recipe()
    latency: LatencyConfig = LatencyConfig()
    execution: ExecutionConfig = ExecutionConfig()
    promote: PromoteConfig = PromoteConfig()
    budget: BudgetConfig = BudgetConfig()
    evaluators: tuple[str, ...] = DEFAULT
    mad: MadConfig = MadConfig()
    log: LogConfig = LogConfig()

    @classmethod
    def from_yaml(cls, path: Path | str) -> Config:
        """Reads and validates a file; the first mistake is a one-line `UserError`."""
        data = read_yaml(path)
        return cls.parse({} if data is None else data, Path(path).name)

    @model_validator(mode="before")
    @classmethod
    def _load_evaluators(cls, data: Any) -> Any:
        """Evaluators bring metrics along, which objectives may be."""
        names = data.get("evaluators") if isinstance(data, Mapping) else None
        for name in names if isinstance(names, list | tuple) else ():
            if isinstance(name, str):
                # The check of names reports what is not installed, or broken.
                with contextlib.suppress(UserError):
                    find_table(name)
        return data

    @field_validator("space")
    @classmethod
    def _plain(cls, space: str | dict[str, Any]) -> str | dict[str, Any]:
        # The space is kept as it is until it is read, and goes into the configuration's hash.
        try:
            canonical_json(space)
        except (TypeError, ValueError, RecursionError):
            raise ValueError("use finite numbers, text, lists, and mappings whose keys are text") from None
        return space

    @field_validator("evaluators")
    @classmethod
    def _evaluators(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or DEFAULT[0] not in names:
            raise ValueError(f"name {DEFAULT[0]} and what else is measured, each once")
        return names

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
        for mistake in self.wrong_names(set(type(self).model_fields)):
            raise mistake

    def wrong_names(self, sections: set[str]) -> Iterator[UserError]:
        """What `check_names` refuses, as far as it is a matter of these sections."""
        for needed, field, check in self._names():
            if needed <= sections:
                try:
                    check()
                except UserError as error:
                    # The key that holds an unknown name gets the error.
                    yield UserError(field, error.value, error.fix) if error.field in FOLDERS else error

    def _check_frame(self) -> None:
        frame = Frame.read(self.search.hypervolume)
        frame.require([one.name for one in self.search.objectives], self.search.hypervolume)

    def _check_measured(self, metric: str) -> None:
        """Refuses an objective that an evaluator measures which this search does not run."""
        by = [table.name for table in tables() if metric in table.metrics]
        if by and not set(by) & set(self.evaluators):
            raise UserError("search.objectives", metric, f"{by[0]} measures it; add that to evaluators")

    def _check_mad_task(self, metric: str) -> None:
        """Refuses the score of a task that MAD does not train in this search."""
        task = {name: one for one, name in MAD_TASKS.items()}.get(metric)
        if task is not None and task not in self.mad.tasks:
            raise UserError("search.objectives", metric, f"its task is not trained; add {task} to mad.tasks")

    @property
    def demands(self) -> Demands:
        """What the search asks of every block that it trains and measures."""
        measured = self.latency.source == "measured"
        return replace(self.recipe.demands, decoding=measured and "decode" in self.latency.modes)

    def _names(self) -> Iterator[tuple[set[str], str, Callable[[], object]]]:
        """Which sections a check needs, the key that it is about, and the check."""
        length = self.recipe.sequence_length
        space = functools.cache(lambda: Space.read(self.space))
        yield {"space", "recipe"}, "space", lambda: space().check_length(length)
        yield {"space"}, "space", lambda: mutations_of(space())
        algorithm, population = self.search.algorithm, self.search.population
        yield {"space", "search"}, "search.algorithm", lambda: algorithm.check_space(space(), population)
        yield {"space", "recipe", "latency"}, "space", lambda: space().check_demands(self.demands)
        if self.recipe.document_boundaries:
            yield {"recipe", "execution"}, "recipe.document_boundaries", self.execution.training_layout.check_documents
        if self.search.hypervolume != AUTO:
            yield {"search"}, KEY, self._check_frame
        yield {"latency"}, "latency.reference", lambda: load_preset(self.latency.reference)
        # The reference is measured, and not trained.
        measured = replace(self.demands, documents=False)
        yield {"latency", "recipe"}, "latency.reference", partial(_check_preset, self.latency.reference, None, measured)
        for field, names in (("search.initial", self.search.initial), ("promote.baselines", self.promote.baselines)):
            for name in names:
                yield {field.split(".")[0]}, field, partial(load_preset, name)
                yield {field.split(".")[0], "recipe"}, field, partial(_check_preset, name, length, self.demands)
        for name in self.evaluators:
            yield {"evaluators"}, "evaluators", partial(require_table, name)
        yield {"log"}, "log.to", self.log.check_installed
        for one in self.search.objectives:
            yield {"search", "evaluators"}, "search.objectives", partial(self._check_measured, one.name)
            yield {"search", "mad"}, "search.objectives", partial(self._check_mad_task, one.name)
        for section, field, machine in (
            ("latency", "latency.source", self.latency.machine),
            ("execution", "execution.machine", self.execution.machine),
        ):
            if machine is not None:
                yield {section}, field, partial(Machine.from_yaml, machine)

    def resolved(self) -> Config:
        """The same configuration with its space in full, so that a search does not hang on a file that may change."""
        space = Space.read(self.space).model_dump(mode="json", exclude_defaults=True)
        return self.model_copy(update={"space": space})

    def recorded(self) -> dict[str, Any]:
        """What a manifest holds: everything, but for `evaluators` where they are those that always were run.

        Nor has it a section of an evaluator that is not run, or where trainings are told of beside the tables.
        """
        data = self.model_dump(mode="json")
        del data["log"]
        # Without these keys the identity is that of searches from before there was a choice.
        if set(self.evaluators) == set(DEFAULT):
            del data["evaluators"]
        if MAD not in self.evaluators:
            del data[MAD]
        return data

    def identity(self) -> dict[str, Any]:
        """What must not change within a search: all but how many generations, their budget, and where they run.

        Promotion may grow; `without_more` takes that away before two are compared.
        """
        data = self.recorded()
        del data["search"]["generations"], data["budget"]
        # Which candidates share a shard changes what the files mean; the rest of the section does not.
        data["execution"] = {"candidates_per_job": self.execution.candidates_per_job}
        return data

    def renewed(self, newest: Config) -> Config:
        """The same search with what may change within it as in `newest`."""
        search = self.search.model_copy(update={"generations": newest.search.generations})
        parts = {"execution": newest.execution, "budget": newest.budget, "promote": newest.promote, "log": newest.log}
        return self.model_copy(update={"search": search, **parts})

    def without_more(self, before: Config) -> Config:
        """The same, but promoting as `before` where it only promotes more, which is no other search."""
        return self.model_copy(update={"promote": self.promote.without_more(before.promote)})

    def promotes_more(self, before: Config) -> str | None:
        """A digest of what is promoted now, where the search began with less; None where it is as it was."""
        return None if self.promote == before.promote else digest(self.promote.model_dump(mode="json"))

    @property
    def hash(self) -> str:
        """Digest of `identity`."""
        return digest(self.identity())

    def num_shards(self) -> int:
        """Shards a generation: candidates that share one job, `execution.candidates_per_job` at most."""
        return -(-self.search.population // self.execution.candidates_per_job)


def _check_preset(name: str, sequence_length: int | None, demands: Demands) -> None:
    preset = load_preset(name)
    if sequence_length is not None:
        preset.check_length(sequence_length)
    preset.check_demands(demands)
