"""Candidates that are evaluated together, in one job."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from harmony_core.search.opened import OpenedSearch
from harmony_core.store import POPULATION, SELECTION, read_table

if TYPE_CHECKING:
    from harmony_core.evaluation.evaluator import Evaluator

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some candidates of a generation.

    Args:
        setting: the search, its manifest and configuration.
        population: their rows of the population file.
        generation: index, or None for the promoted.
        index: the shard's.
    """

    setting: OpenedSearch
    population: Sequence[Row]
    generation: int | None
    index: int

    @classmethod
    def open(cls, path: Path, generation: int, index: int, evaluator: Evaluator) -> Shard:
        """Those of a generation's consecutive candidates, `execution.candidates_per_job` a shard, whom one takes.

        Args:
            path: folder of the search.
            generation: index; what takes survivors needs its selection.
            index: the shard's.
            evaluator: who asks.

        Raises:
            UserError: the search was not prepared, or a file of it is missing or damaged.
        """
        setting = OpenedSearch.open(path)
        size, folder = setting.config.execution.candidates_per_job, setting.folder
        rows = read_table(folder.population(generation), POPULATION).sort("candidate").slice(index * size, size)
        if evaluator.table.takes == "survivors":
            selected = read_table(folder.selection(generation), SELECTION)
            # Candidates that were born in earlier generations were evaluated then.
            new = selected.filter(pl.col("survives"), pl.col("birth_generation") == generation)
            rows = rows.filter(pl.col("candidate").is_in(new["candidate"].to_list()))
        return cls(setting, rows.to_dicts(), generation, index)

    def work(self, evaluator: str) -> Path:
        """Folder of an evaluator's journal, lease and logs."""
        return self.setting.work(evaluator, self.generation, self.index)

    def known(self, candidate: Row) -> Row:
        """The columns of a candidate's rows that every table has, and that are known before it is evaluated."""
        names = ("generation", "candidate", "architecture_id")
        return {
            "search": self.setting.folder.name,
            "shard": self.index,
            **{name: candidate[name] for name in names},
        }
