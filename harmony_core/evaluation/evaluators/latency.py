"""Finds the latency of candidates: measured in turns with the reference, or predicted."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.evaluation.evaluator import Evaluator, died, register, with_device_seconds
from harmony_core.evaluation.latency_row import LATENCY_TARGET, NOT_MEASURED, over_turns
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.evaluation.task_journal import Record
from harmony_core.host import host_name
from harmony_core.machines import Machine, predict_seconds
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.store.evaluators import LATENCY_TABLE
from harmony_core.workers import Outcome, Task


@register
@dataclasses.dataclass(frozen=True)
class Latency(Evaluator):
    """One row a candidate and mode.

    Measured candidates run each in a process of its own with a device of its own (on a CPU, one after another). Of
    several turns each is a task: all candidates have their first one, then all their second, so that a load of the
    machine, which comes and goes, strikes all alike.

    Args:
        turns: how often each is measured.
    """

    turns: int = 1

    table = LATENCY_TABLE
    exclusive = True
    # The module imports all that a measurement needs, without DeepSpeed.
    preload = LATENCY_TARGET.split(":")[0]

    def of_promotion(self, setting: OpenedSearch) -> Latency:
        """In turns, beside one another."""
        return Latency(turns=setting.config.latency.promotion_turns)

    def takes_whole_front(self, config: Config) -> bool:
        """Times are compared that were taken together, where a measurement may move the front."""
        objectives = {objective.name for objective in config.search.objectives}
        return config.latency.source == "measured" and bool(objectives & set(self.table.metrics))

    def needs_workers(self, config: Config) -> bool:
        """Whether it is measured."""
        return config.latency.source == "measured"

    def tasks(self, shard: Shard) -> list[Task]:
        """One a candidate and turn."""
        return [
            _task(shard, candidate, turn if self.turns > 1 else None)
            for turn in range(self.turns)
            for candidate in shard.population
        ]

    def failed_row(self, shard: Shard, outcome: Outcome) -> Row:
        """The row of a measurement whose process died, in the objective's mode."""
        mode = shard.setting.config.latency.objective
        return {**NOT_MEASURED, **outcome.task.payload["row"], **died(outcome), "mode": mode}

    def answer(self, shard: Shard, outcome: Outcome) -> Record:
        """The child's rows, or rows that say how it died, with the objective."""
        if outcome.result is None:
            failed = self.failed_row(shard, outcome)
            rows = [{**failed, "mode": mode} for mode in shard.setting.config.latency.modes]
        else:
            rows = outcome.result["rows"]
        return {"rows": [_in_seconds(shard, row) for row in with_device_seconds(rows, outcome.device_seconds)]}

    def computed(self, shard: Shard, candidate: Row) -> Record:
        """The prediction for a machine, in every mode."""
        latency = shard.setting.config.latency
        assert latency.machine is not None
        machine = Machine.from_yaml(latency.machine)
        architecture = Architecture.from_json(candidate["architecture"])
        rows = []
        for mode in latency.modes:
            seconds = predict_seconds(
                architecture, machine, mode, latency.batch_size, latency.context, shard.setting.precision
            )
            figures = {
                "seconds_median": seconds,
                "seconds_p10": seconds,
                "seconds_p90": seconds,
                "relative": seconds / shard.setting.manifest.reference_latency[mode],
                # The prediction itself: the ratio times the reference would round it.
                "latency_seconds": seconds,
            }
            how = {"status": "ok", "error": None, "device": machine.name, "kernel_paths": "", "host": host_name()}
            took = {"seconds": 0.0, "device_seconds": 0.0, "started_at": datetime.now(UTC).isoformat()}
            rows.append({**_known(shard, candidate), "mode": mode, **NOT_MEASURED, **figures, **how, **took})
        return {"rows": rows}

    def rows(self, shard: Shard, records: list[Record]) -> dict[str, list[Row]]:
        """A row a candidate and mode, over its turns."""
        if not self.needs_workers(shard.setting.config):
            return super().rows(shard, records)
        # Each candidate has its turns, and each turn its modes.
        by_candidate = [records[index :: len(shard.population)] for index in range(len(shard.population))]
        rows = [over_turns(mode) for turns in by_candidate for mode in zip(*(t["rows"] for t in turns), strict=True)]
        return {self.name: rows}


def _known(shard: Shard, candidate: Row) -> Row:
    latency = shard.setting.config.latency
    return {
        **shard.known(candidate),
        "source": latency.source,
        "batch_size": latency.batch_size,
        "context": latency.context,
        "precision": shard.setting.precision,
    }


def _task(shard: Shard, candidate: Row, turn: int | None) -> Task:
    setting = shard.setting
    reference = with_vocab(load_preset(setting.config.latency.reference), setting.manifest.data["vocab_size"])
    payload = {
        "architecture": candidate["architecture"],
        "reference": reference.to_json(),
        "latency": setting.config.latency.model_dump(mode="json"),
        "precision": setting.precision,
        "row": _known(shard, candidate),
    }
    key = f"{candidate['candidate']:05d}-{candidate['architecture_id']}"
    if turn is not None:
        # Tasks begin in the order of their keys, so the turn leads.
        key = f"turn{turn:03d}-{key}"
    return Task(key, LATENCY_TARGET, payload, time_limit_seconds=setting.config.execution.time_limit_seconds)


def _in_seconds(shard: Shard, row: Row) -> Row:
    """With the objective: what the reference took when the search began, as often as the row's ratio says."""
    relative = row["relative"]
    if relative is None:
        return row
    return {**row, "latency_seconds": relative * shard.setting.manifest.reference_latency[row["mode"]]}
