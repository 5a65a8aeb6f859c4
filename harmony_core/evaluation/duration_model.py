"""How long a candidate's training will take: the cost model, corrected by what was measured.

The roofline prices each kind of block; trainings that are done say by how much each price is off. The
correction is a ridge regression of relative error on the kinds' shares, drawn towards the overall ratio, so
that a kind which was hardly ever trained keeps about the others' correction. It decides order, and an ETA;
never a result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.host import visible_gpus
from harmony_core.machines import Machine
from harmony_core.machines.roofline import predict_parts
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import POPULATION, TRAINING, read_table
from harmony_core.training.recipe import Recipe

# The prior of the overall ratio weighs as much as this many measured candidates.
_RIDGE = 1.0
_LEAST_FACTOR = 0.05
# Every shard reads the trainings again. There are a dozen kinds of block, so that more rows say nothing new, and a
# large search has hundreds of thousands.
_MOST_TRAININGS = 4000


class DurationModel:
    """Seconds that a training of each kind of block takes.

    Args:
        machine: whose roofline prices the parts.
        recipe: what is trained.
    """

    def __init__(self, machine: Machine, recipe: Recipe) -> None:
        self._machine, self._recipe = machine, recipe
        self._factors: dict[str, float] = {}
        self._overall = 1.0

    @classmethod
    def of(cls, setting: OpenedSearch, recipe: Recipe, before: int | None) -> DurationModel:
        """The model of this search's machine, corrected by its own trainings.

        Args:
            setting: the opened search.
            recipe: what is trained from now on.
            before: trainings of the generations before this one count; None is all.
        """
        named = setting.config.latency.machine or "frontier"
        named = setting.config.execution.machine or (named if visible_gpus() else "cpu")
        durations = cls(Machine.from_yaml(named), recipe)
        trained = _trained(setting, before)
        seconds = [seconds * recipe.all_steps / steps for _, steps, seconds in trained]
        durations.learn([Architecture.from_json(text) for text, *_ in trained], seconds)
        return durations

    def learn(self, architectures: Sequence[Architecture], seconds: Sequence[float]) -> None:
        """Fits a factor for each kind of part to measured training times [s]."""
        if not architectures:
            return
        prices = [self._prices(one) for one in architectures]
        measured = np.asarray(seconds)
        totals = np.asarray([sum(of_kind.values()) for of_kind in prices])
        self._overall = float(np.median(measured / totals))
        kinds = sorted({kind for of_kind in prices for kind in of_kind})
        shares_NK = np.asarray([[of_kind.get(kind, 0.0) for kind in kinds] for of_kind in prices])
        shares_NK = shares_NK * self._overall / measured[:, None]
        left_KK = shares_NK.T @ shares_NK + _RIDGE * np.eye(len(kinds))
        right_K = shares_NK.sum(axis=0) + _RIDGE
        factors_K = np.maximum(np.linalg.solve(left_KK, right_K), _LEAST_FACTOR)
        self._factors = dict(zip(kinds, (factors_K * self._overall).tolist(), strict=True))

    def seconds(self, architecture: Architecture) -> float:
        """Expected time of one training of `architecture`, in seconds."""
        return sum(price * self._factors.get(kind, self._overall) for kind, price in self._prices(architecture).items())

    def _prices(self, architecture: Architecture) -> dict[str, float]:
        """Predicted seconds of the whole training, for each kind of part."""
        recipe = self._recipe
        precision = recipe.resolved_precision
        parts = predict_parts(
            architecture, self._machine, "train", recipe.batch_size, recipe.sequence_length, precision
        )
        prices: dict[str, float] = {}
        for part in parts:
            kind = part.name.partition("(")[2].rstrip(")") or part.name
            prices[kind] = prices.get(kind, 0.0) + part.seconds * recipe.all_steps
        return prices


def _trained(setting: OpenedSearch, before: int | None) -> list[tuple[str, int, float]]:
    """Architecture JSON, steps and their seconds of the newest trainings that ran to their end, or to a rung's."""
    folder, found, left = setting.folder, [], _MOST_TRAININGS
    for generation in reversed(folder.generations()):
        files = folder.shards(generation, "training")
        if not left or not files or (before is not None and generation >= before):
            continue
        columns = ["candidate", "status", "steps", "seconds"]
        rows = pl.concat([read_table(path, TRAINING, columns) for path in files])
        rows = rows.filter((pl.col("status") == "ok") & (pl.col("seconds") > 0))
        born = read_table(folder.population(generation), POPULATION, ["candidate", "architecture"])
        found.append(
            rows.join(born, on="candidate").sort("candidate").select("architecture", "steps", "seconds").head(left)
        )
        left -= found[-1].height
    return list(pl.concat(found).iter_rows()) if found else []
