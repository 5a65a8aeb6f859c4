"""The tables of a search, declared once: name, type, unit, meaning, whether a value may be missing.

A field's metadata holds `description`, `unit` where there is one, and `values` (joined by `|`) where
only those are allowed. A nullable field says in its description what a null means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa

from harmony_core.metrics import LATENCY as LATENCY_METRIC
from harmony_core.metrics import LOSS, Metric, metric
from harmony_core.store.versions import check_added

# The version of a search as a whole: its folders, manifest, journals. Each table has a version of its own beside it.
FORMAT_VERSION = 3

INT32, INT64, FLOAT, TEXT, BOOL = pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
IDS = pa.list_(pa.field("item", pa.string(), nullable=False))
WORKS = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("work", TEXT, nullable=False),
                pa.field("bytes", INT64, nullable=False),
                pa.field("bits_per_byte", FLOAT, nullable=False),
            ]
        ),
        nullable=False,
    )
)

STATUSES = ("ok", "diverged", "out_of_memory", "timed_out", "crashed", "invalid")
# Every search has a column of each of these metrics; its other objectives follow them (`with_metrics`).
POPULATION_METRICS = (
    "num_params",
    "num_active_params",
    "num_non_embedding_params",
    "num_active_non_embedding_params",
    "flops_per_token",
    "kv_bytes_per_token",
    "state_bytes",
)
SELECTION_METRICS = (
    LOSS,
    LATENCY_METRIC,
    "num_params",
    "num_active_params",
    "flops_per_token",
    "kv_bytes_per_token",
    "state_bytes",
)
MARK = "metric"
ORIGINS = ("sample", "mutation", "crossover", "proposal", "preset")


def column(
    name: str,
    kind: pa.DataType,
    description: str,
    *,
    unit: str = "",
    nullable: bool = False,
    values: Iterable[str] = (),
    since: str = "",
    before: int | float | str | bool | None = None,
) -> pa.Field:
    """One column, with what a reader must know about it in its metadata.

    Args:
        name: the column's.
        kind: its type.
        description: its meaning; where it is nullable, also what a null means.
        unit: of its values.
        nullable: whether a value may be missing.
        values: the only ones that are allowed, where not all are.
        since: the minor version of its table that added it, such as `3.1`.
        before: what it is in files from before that; None is null.
    """
    metadata = {"description": description, "unit": unit, "values": "|".join(values), "since": since}
    if before is not None:
        metadata["before"] = json.dumps(before)
    return pa.field(name, kind, nullable, {key: text for key, text in metadata.items() if text})


def table(name: str, columns: list[pa.Field], version: str = "1.0") -> pa.Schema:
    """A schema under its name.

    Args:
        name: the table's.
        columns: in order; an added one says since when it is there.
        version: major.minor; the minor one rises with an added column, the major one with any other change.

    Raises:
        ValueError: an added column has no value for files from before it.
    """
    check_added(columns, version)
    return pa.schema(columns, {"table": name, "version": version})


def held_out(prefix: str, split: str, missing: str) -> list[pa.Field]:
    """What is known of a split's bits per byte beside their mean.

    Args:
        prefix: how the columns' names begin, such as `val`.
        split: the split's name in their descriptions.
        missing: what a null means, for the descriptions.

    Returns:
        Two columns: the standard error in bits/byte, and the value of each work.
    """
    return [
        column(
            f"{prefix}_standard_error",
            FLOAT,
            f"of the {split} bits per byte, from the spread of windows; {missing}",
            unit="bits/byte",
            nullable=True,
        ),
        column(
            f"{prefix}_works",
            WORKS,
            f"bits per byte of each work of the {split} split; {missing}, or the split has more than 64 documents",
            nullable=True,
        ),
    ]


SEARCH = column("search", TEXT, "name of the search")
GENERATION = column("generation", INT32, "generation; null for what promotion trained", nullable=True)
SHARD = column("shard", INT32, "shard of the generation: the candidates of one job")
CANDIDATE = column("candidate", INT32, "number of the candidate in its generation")
ARCHITECTURE_ID = column("architecture_id", TEXT, "first 16 hex digits of the canonical architecture's SHA-256")
REPLICATE = column("replicate", INT32, "number of the repetition on fresh seeds, from 0")
RATE = column("rate", INT32, "number of the learning rate in the recipe's list, from 0")
RUNG = column(
    "rung", INT32, "number of the token budget, from 0; 0 where a training has one alone", since="3.1", before=0
)
STATUS = column("status", TEXT, "how it ended", values=STATUSES)
ERROR = column("error", TEXT, "text of the failure; null when ok", nullable=True)
HOST = column("host", TEXT, "name of the machine it ran on")
DEVICE = column("device", TEXT, "device it ran on, or that was predicted; empty if it never ran")
KERNEL_PATHS = column("kernel_paths", TEXT, "which implementation each kind of block took; empty if none ran")
STARTED_AT = column("started_at", TIME, "when it began", unit="UTC")
DEVICE_SECONDS = column(
    "device_seconds",
    FLOAT,
    "wall time times devices (or CPU slots) that the candidate held, lost attempts included",
    unit="s",
)


def metric_column(declared: Metric, **marks: str) -> pa.Field:
    """A metric's column; what is measured may be missing."""
    kind = INT64 if declared.whole else FLOAT
    field = column(declared.name, kind, declared.description, unit=declared.unit, nullable=not declared.is_static)
    return field.with_metadata({**field.metadata, **marks})


def with_metrics(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """The schema of a search's own populations or selections: with the objectives that it has no column for.

    Such columns are marked, so that whoever reads the file knows that they belong.

    Args:
        schema: `POPULATION`, which has static metrics alone, or `SELECTION`.
        names: of the search's objectives.
    """
    added = [metric(name) for name in names if name not in schema.names]
    if schema is POPULATION:
        added = [one for one in added if one.is_static]
    for one in added:
        schema = schema.append(metric_column(one, **{MARK: "of this search"}))
    return schema


def is_own_metric(field: pa.Field) -> bool:
    """Whether a column is one that `with_metrics` adds."""
    return MARK.encode() in (field.metadata or {})


POPULATION = table(
    "population",
    [
        SEARCH,
        GENERATION,
        CANDIDATE,
        ARCHITECTURE_ID,
        column("architecture", TEXT, "canonical JSON of the architecture, its spelling kept"),
        column("pattern", TEXT, "kinds of the blocks in order, runs counted"),
        column("origin", TEXT, "where the candidate comes from", values=ORIGINS),
        column("operator", TEXT, "the variation that made it"),
        column("parents", IDS, "architecture ids of the parents; empty for samples and presets"),
        column("d_model", INT32, "width of the residual stream"),
        column("num_blocks", INT32, "token mixers and channel mixers", unit="blocks"),
        *(metric_column(metric(name)) for name in POPULATION_METRICS),
        column(
            "role",
            TEXT,
            "why promotion trains it; null in the search",
            nullable=True,
            values=("front", "baseline"),
        ),
        column("name", TEXT, "name of the preset; null for what was bred or sampled", nullable=True),
    ],
    version="3.0",
)

LEDGER = table(
    "ledger",
    [
        SEARCH,
        GENERATION,
        column(
            "stage",
            TEXT,
            "what was being done",
            values=("preset", "sample", "mutation", "crossover", "take", "propose", "training", "latency"),
        ),
        column("reason", TEXT, "why a draw was thrown away, or a candidate failed"),
        column("count", INT64, "how often"),
    ],
    version="3.0",
)

TRAINING = table(
    "training",
    [
        SEARCH,
        GENERATION,
        SHARD,
        CANDIDATE,
        ARCHITECTURE_ID,
        column("recipe_id", TEXT, "digest of the recipe and of the data it reads"),
        column("layout", TEXT, "JSON: how the training was spread over processes"),
        column("precision", TEXT, "arithmetic of the matrix products", values=("fp32", "bf16")),
        column("init_seed", INT64, "seed of the weights"),
        column("data_seed", INT64, "seed of the data order"),
        REPLICATE,
        RATE,
        RUNG,
        column("attempt", INT32, "number of the attempt that ended so, from 1"),
        STATUS,
        ERROR,
        column(
            "train_loss",
            FLOAT,
            "loss at the last step; null if there was none",
            unit="nats/token",
            nullable=True,
        ),
        column("val_loss", FLOAT, "validation loss; null if not evaluated", unit="nats/token", nullable=True),
        column("val_bits_per_byte", FLOAT, "validation; null if not evaluated", unit="bits/byte", nullable=True),
        *held_out("val", "validation", "null if not evaluated"),
        column("test_loss", FLOAT, "test loss; null in the search", unit="nats/token", nullable=True),
        column("test_bits_per_byte", FLOAT, "test; null in the search", unit="bits/byte", nullable=True),
        *held_out("test", "test", "null in the search"),
        column("router_loss", FLOAT, "balancing loss at the last step; null without experts", nullable=True),
        column("steps", INT64, "optimiser steps done", unit="steps"),
        column("tokens", INT64, "training tokens seen", unit="tokens"),
        column("learning_rate", FLOAT, "peak learning rate"),
        column("lr_scaling", TEXT, "how the learning rate follows width", values=("none", "mup")),
        column("flops", FLOAT, "training FLOPs by formula", unit="FLOP"),
        column("start_seconds", FLOAT, "fork to first step; null if there was none", unit="s", nullable=True),
        column("seconds", FLOAT, "training, first step to last; null if it died", unit="s", nullable=True),
        column("eval_seconds", FLOAT, "evaluation; null if there was none", unit="s", nullable=True),
        column("tokens_per_second", FLOAT, "training speed; null if no step", unit="tokens/s", nullable=True),
        DEVICE_SECONDS,
        column("peak_memory_bytes", INT64, "most memory held; null if unknown", unit="bytes", nullable=True),
        DEVICE,
        HOST,
        KERNEL_PATHS,
        column("data_checksum", TEXT, "checksum of the token shards"),
        column("tokenizer_checksum", TEXT, "checksum of the tokenizer"),
        STARTED_AT,
    ],
    version="3.1",
)

CURVES = table(
    "curves",
    [
        SEARCH,
        GENERATION,
        SHARD,
        CANDIDATE,
        ARCHITECTURE_ID,
        REPLICATE,
        RATE,
        RUNG,
        column("step", INT64, "optimiser steps done", unit="steps"),
        column("tokens", INT64, "training tokens seen", unit="tokens"),
        column("train_loss", FLOAT, "loss of the step's batch", unit="nats/token"),
        column("learning_rate", FLOAT, "learning rate of the step"),
        column("gradient_norm", FLOAT, "global norm before clipping; null if unknown", nullable=True),
        column("seconds", FLOAT, "since the first step began", unit="s"),
    ],
    version="3.1",
)

LATENCY = table(
    "latency",
    [
        SEARCH,
        GENERATION,
        SHARD,
        CANDIDATE,
        ARCHITECTURE_ID,
        STATUS,
        ERROR,
        column("source", TEXT, "`measured`, or `predicted:` and the machine"),
        DEVICE,
        column("mode", TEXT, "what was run", values=("train", "prefill", "decode")),
        column("batch_size", INT32, "sequences", unit="sequences"),
        column("context", INT32, "tokens a sequence, or in the cache when decoding", unit="tokens"),
        column("precision", TEXT, "arithmetic of the matrix products", values=("fp32", "bf16")),
        column("seconds_median", FLOAT, "one call, median; null if it failed", unit="s", nullable=True),
        column("seconds_p10", FLOAT, "one call, 10th percentile; null if it failed", unit="s", nullable=True),
        column("seconds_p90", FLOAT, "one call, 90th percentile; null if it failed", unit="s", nullable=True),
        column(
            "relative",
            FLOAT,
            "time of a call over that of the reference, calls in turns; null if it failed",
            nullable=True,
        ),
        column(
            "latency_seconds",
            FLOAT,
            "the objective: `relative` times what the reference took when the search began; null if it failed",
            unit="s",
            nullable=True,
        ),
        column("repeats", INT32, "calls that were measured; 0 when predicted"),
        column("warmups", INT32, "calls before them; 0 when predicted"),
        column("measurements", INT32, "how often it was measured until the reference was steady; 0 when predicted"),
        column(
            "reference_seconds_median",
            FLOAT,
            "one call of the reference, median, in turns with it; null if it failed or was predicted",
            unit="s",
            nullable=True,
        ),
        column(
            "reference_movement",
            FLOAT,
            "by how much one half of the reference's calls was slower; null if it failed or was predicted",
            nullable=True,
        ),
        column(
            "marked",
            BOOL,
            "whether the reference moved by more than 10% in every measurement; null if it failed or was predicted",
            nullable=True,
        ),
        column(
            "seconds", FLOAT, "what the measurement took, warm-up and reference included; 0 when predicted", unit="s"
        ),
        DEVICE_SECONDS,
        KERNEL_PATHS,
        HOST,
        STARTED_AT,
    ],
    version="3.0",
)

SELECTION = table(
    "selection",
    [
        SEARCH,
        column("generation", INT32, "generation of the selection"),
        column("birth_generation", INT32, "generation that the candidate was made in"),
        CANDIDATE,
        ARCHITECTURE_ID,
        column("status", TEXT, "of training, then of the latency that is an objective", values=STATUSES),
        *(metric_column(metric(name)) for name in SELECTION_METRICS),
        column("violation", FLOAT, "sum of the relative excesses over the targets; null if failed", nullable=True),
        column("rank", INT32, "0 is best; equal ranks are equally good"),
        column("crowding", FLOAT, "crowding distance; null where the algorithm has none", nullable=True),
        column("fitness", FLOAT, "score, higher is better; null where the algorithm has none", nullable=True),
        column("survives", BOOL, "whether it may breed, and is merged into the next selection"),
    ],
    version="3.0",
)

SCALING = table(
    "scaling",
    [
        column("name", TEXT, "name of the measurement"),
        column("run", TEXT, "name of the training's own folder, beside the measurement's"),
        column("processes", INT32, "processes, one device each", unit="devices"),
        ARCHITECTURE_ID,
        column("recipe_id", TEXT, "digest of the recipe and of the data it reads"),
        column("layout", TEXT, "JSON: how the training was spread over processes"),
        column("precision", TEXT, "arithmetic of the matrix products", values=("fp32", "bf16")),
        column("batch_size", INT32, "sequences a step; as many a device at every size", unit="sequences"),
        column("sequence_length", INT32, "tokens a sequence", unit="tokens"),
        column("steps", INT64, "optimiser steps that were measured; the first ones are left out", unit="steps"),
        column("step_seconds_median", FLOAT, "one optimiser step, median", unit="s"),
        column("step_seconds_p10", FLOAT, "one optimiser step, 10th percentile", unit="s"),
        column("step_seconds_p90", FLOAT, "one optimiser step, 90th percentile", unit="s"),
        column("tokens_per_second", FLOAT, "tokens of a step over its median time", unit="tokens/s"),
        column("tokens_per_second_per_device", FLOAT, "the same for each device", unit="tokens/s"),
        column("efficiency", FLOAT, "speed of a device over that at the smallest size, 1 there"),
        column(
            "peak_memory_bytes", INT64, "most memory held by any process; null if unknown", unit="bytes", nullable=True
        ),
        DEVICE,
        HOST,
        STARTED_AT,
    ],
    version="3.0",
)

MAD_RUNS = table(
    "mad_runs",
    [
        ARCHITECTURE_ID,
        column("pattern", TEXT, "kinds of the architecture's blocks in order, runs counted"),
        column("trained", TEXT, "what of the architecture was trained, and what is left out"),
        column("protocol", TEXT, "the paper's 396 trainings, or one short training a task", values=("full", "quick")),
        column("run_id", TEXT, "digest of all that the training is a function of beside architecture and seed"),
        column("task", TEXT, "name of the synthetic task"),
        column("setting", INT32, "number of the setting among the task's; 0 is the baseline"),
        column("task_setting", TEXT, "JSON: the task's fields, its generators' mode included"),
        column("learning_rate", FLOAT, "at the beginning, or after the warm-up"),
        column("weight_decay", FLOAT, "of all parameters in the full protocol, of matrices in the quick one"),
        column("seed", INT64, "of weights and examples"),
        column("precision", TEXT, "arithmetic of the matrix products", values=("fp32", "bf16")),
        STATUS,
        ERROR,
        column(
            "test_accuracy",
            FLOAT,
            "macro-averaged, of the last weights; null in the quick protocol, or if it failed",
            unit="1",
            nullable=True,
        ),
        column(
            "validation_accuracy",
            FLOAT,
            "of the last weights, macro-averaged in the full protocol; null if it failed",
            unit="1",
            nullable=True,
        ),
        column(
            "score",
            FLOAT,
            "area under validation accuracy over log steps; null in the full protocol, or if it failed",
            unit="1",
            nullable=True,
        ),
        column("epochs", INT32, "of the full protocol; null in the quick one, or if it failed", nullable=True),
        column("steps", INT64, "optimiser steps; null if it failed", unit="steps", nullable=True),
        column("loss", FLOAT, "of the last step; null if it failed", unit="nats/token", nullable=True),
        column("seconds", FLOAT, "training and evaluation", unit="s"),
        column("cpu_seconds", FLOAT, "of its process for that; null if it died", unit="s", nullable=True),
        DEVICE_SECONDS,
        DEVICE,
        KERNEL_PATHS,
        HOST,
        STARTED_AT,
    ],
)
