"""MAD: a row for each candidate, with the score of each task."""

from __future__ import annotations

from harmony_core.metrics.mad import MAD_SCORE, MAD_TASKS
from harmony_core.metrics.metric import metric
from harmony_core.store import schemas
from harmony_core.store.evaluators.registry import register
from harmony_core.store.evaluators.table import EvaluatorTable


class MadTable(EvaluatorTable):
    """Tasks that a search does not train have no score, and neither has a candidate that failed at one."""

    name = "mad"
    metrics = (MAD_SCORE, *MAD_TASKS.values())
    schema = schemas.table(
        "mad",
        [
            schemas.SEARCH,
            schemas.GENERATION,
            schemas.SHARD,
            schemas.CANDIDATE,
            schemas.ARCHITECTURE_ID,
            schemas.column("protocol_id", schemas.TEXT, "digest of tasks, settings and training"),
            schemas.column("seed", schemas.INT64, "of weights and examples"),
            schemas.column("precision", schemas.TEXT, "arithmetic of the matrix products", values=("fp32", "bf16")),
            schemas.STATUS,
            schemas.ERROR,
            schemas.column("trained", schemas.TEXT, "what of the candidate was trained, and what is left out"),
            *(schemas.metric_column(metric(name)) for name in (MAD_SCORE, *MAD_TASKS.values())),
            schemas.column("seconds", schemas.FLOAT, "training and evaluation of all tasks", unit="s"),
            schemas.DEVICE_SECONDS,
            schemas.DEVICE,
            schemas.KERNEL_PATHS,
            schemas.HOST,
            schemas.STARTED_AT,
        ],
    )


MAD_TABLE = register(MadTable())
