"""What the workflow's rules of the evaluators read and write."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harmony_core.search.config import Config
from harmony_core.store.evaluators import DEFAULT, EvaluatorTable, tables_of

if TYPE_CHECKING:
    from harmony_core.evaluation.evaluator import Evaluator


@dataclasses.dataclass(frozen=True)
class EvaluatorRules:
    """The evaluators that a search runs, as the workflow sees them.

    Args:
        config: the search's.
        folder: of the search.
    """

    config: Config
    folder: str

    @property
    def _tables(self) -> list[EvaluatorTable]:
        return tables_of({"evaluators": self.config.evaluators})

    @property
    def promoted(self) -> list[str]:
        """The tables of the promoted."""
        return [f"{self.folder}/promoted/shard=000/{name}.parquet" for table in self._tables for name in table.schemas]

    def shards(self, takes: str, generation: str = "{generation}") -> list[str]:
        """A generation's shards of every evaluator that takes all of it, or its survivors."""
        names = [table.name for table in self._tables if table.takes == takes]
        place, shards = f"{self.folder}/generation={generation}", range(self.config.num_shards())
        return [f"{place}/{name}/shard={shard:03d}.parquet" for name in names for shard in shards]

    @property
    def of_survivors(self) -> list[str]:
        """What is evaluated of the survivors of every generation, beside the search."""
        generations = range(self.config.search.generations)
        return [path for number in generations for path in self.shards("survivors", f"{number:03d}")]

    @property
    def further(self) -> list[Evaluator]:
        """Those whose rule is made from the registry; what takes the promoted alone is promotion's."""
        names = [one.name for one in self._tables if one.name not in DEFAULT and one.takes != "promoted"]
        if not names:
            return []
        from harmony_core.evaluation.evaluator_registry import find_evaluator

        return [find_evaluator(name) for name in names]

    def files(self, evaluator: Evaluator) -> tuple[list[str], list[str]]:
        """What an evaluator's rule is made from, and what it makes."""
        place = f"{self.folder}/generation={{generation}}"
        selected = [f"{place}/selection.parquet"] if evaluator.table.takes == "survivors" else []
        made = [f"{place}/{name}/shard={{shard}}.parquet" for name in evaluator.table.schemas]
        return [f"{place}/population.parquet", *selected], made
