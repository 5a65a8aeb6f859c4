"""An evaluator as somebody outside writes it, in a module of its own: the share of a candidate's blocks that mix."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.evaluation.evaluator import Evaluator, died, register
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.host import host_name
from harmony_core.metrics import Metric
from harmony_core.metrics import register as register_metric
from harmony_core.store import schemas
from harmony_core.store.evaluators import EvaluatorTable
from harmony_core.store.evaluators import register as register_table
from harmony_core.workers import Outcome, Task


class ToyTable(EvaluatorTable):
    """A row a candidate."""

    name = "toy"
    metrics = ("mixing_share",)
    schema = schemas.table(
        "toy",
        [
            schemas.SEARCH,
            schemas.GENERATION,
            schemas.SHARD,
            schemas.CANDIDATE,
            schemas.ARCHITECTURE_ID,
            schemas.STATUS,
            schemas.ERROR,
            schemas.column(
                "mixing_share",
                schemas.FLOAT,
                "share of the blocks that are token mixers; null if it failed",
                unit="1",
                nullable=True,
            ),
            schemas.column("seconds", schemas.FLOAT, "what counting took", unit="s"),
            schemas.DEVICE_SECONDS,
            schemas.DEVICE,
            schemas.KERNEL_PATHS,
            schemas.HOST,
            schemas.STARTED_AT,
        ],
    )


TOY_TABLE = register_table(ToyTable())
register_metric(
    Metric(
        "mixing_share",
        unit="1",
        label="share of mixers",
        short="mixing",
        description="share of the blocks that are token mixers; null if it failed",
        source="toy",
        direction="maximise",
        format="decimal",
    )
)


@register
class Toy(Evaluator):
    """Counts blocks, in a process of its own."""

    table = TOY_TABLE
    preload = "harmony_core.architecture"

    def tasks(self, shard: Shard) -> list[Task]:
        """One a candidate."""
        limit = shard.setting.config.execution.time_limit_seconds
        return [
            Task(
                f"{candidate['candidate']:05d}-{candidate['architecture_id']}",
                f"{__name__}:run",
                {"architecture": candidate["architecture"], "row": shard.known(candidate)},
                time_limit_seconds=limit,
            )
            for candidate in shard.population
        ]

    def failed_row(self, shard: Shard, outcome: Outcome) -> Row:
        """Nothing was counted."""
        return {**outcome.task.payload["row"], **died(outcome), "mixing_share": None}


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """What a worker does."""
    began, started = time.monotonic(), datetime.now(UTC)
    if payload["row"]["candidate"] == int(os.environ.get("HARMONY_TOY_DIES", "-1")):
        os.kill(os.getpid(), signal.SIGKILL)
    blocks = Architecture.from_json(payload["architecture"]).blocks
    share = sum(block.role == "mixer" for block in blocks) / len(blocks)
    row = {
        **payload["row"],
        "status": "ok",
        "error": None,
        "mixing_share": share,
        "seconds": time.monotonic() - began,
        "device": "cpu",
        "kernel_paths": "",
        "host": host_name(),
        "started_at": started.isoformat(),
    }
    return {"rows": [row]}
