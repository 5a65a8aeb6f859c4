"""Finds how soon candidates learn MAD's synthetic tasks."""

from __future__ import annotations

import dataclasses

from harmony_core.evaluation.evaluator import Evaluator, died, register
from harmony_core.evaluation.seeds import init_seed
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.metrics.mad import MAD_SCORE, MAD_TASKS
from harmony_core.search.opened import OpenedSearch
from harmony_core.store.evaluators.mad import MAD_TABLE
from harmony_core.workers import Outcome, Task

TARGET = "harmony_core.evaluation.mad_task:run"
NO_SCORES = dict.fromkeys((MAD_SCORE, *MAD_TASKS.values()))


@register
@dataclasses.dataclass(frozen=True)
class Mad(Evaluator):
    """One row and task a candidate, which trains all of MAD's tasks of the search's configuration.

    All candidates share the seed, so that they differ by architecture alone.

    Args:
        seeds: whose seed, the search's or promotion's fresh one.
    """

    seeds: str = "search"

    table = MAD_TABLE
    preload = TARGET.split(":")[0]

    def of_promotion(self, setting: OpenedSearch) -> Mad:
        """On a fresh seed."""
        return Mad(seeds="promotion")

    def tasks(self, shard: Shard) -> list[Task]:
        """One a candidate."""
        return [self._task(shard, candidate) for candidate in shard.population]

    def _task(self, shard: Shard, candidate: Row) -> Task:
        setting = shard.setting
        known = {
            **shard.known(candidate),
            "protocol_id": setting.config.mad.id,
            "seed": init_seed(setting.config.search.seed, self.seeds, 0),
            "precision": setting.precision,
        }
        payload = {
            "architecture": candidate["architecture"],
            "mad": setting.config.mad.model_dump(mode="json"),
            "row": known,
        }
        key = f"{candidate['candidate']:05d}-{candidate['architecture_id']}"
        return Task(key, TARGET, payload, time_limit_seconds=setting.config.execution.time_limit_seconds)

    def failed_row(self, shard: Shard, outcome: Outcome) -> Row:
        """Nothing was learnt."""
        return {**outcome.task.payload["row"], **died(outcome), **NO_SCORES, "trained": ""}
