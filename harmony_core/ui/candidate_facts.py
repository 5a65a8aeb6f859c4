"""One candidate, whole: blocks, results, curves, latencies, where it comes from, and the commands that use it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import polars as pl

from harmony_core.architecture import Architecture, is_block_kind
from harmony_core.errors import UserError
from harmony_core.report.diagram import folded
from harmony_core.report.family import family_of_pattern
from harmony_core.store import CURVES, LATENCY, POPULATION, TRAINING, SearchFolder, read_table
from harmony_core.store.queries import scan
from harmony_core.ui.catalogue import Snapshot
from harmony_core.ui.generation_rows import Columns
from harmony_core.ui.journal_answers import answers_of
from harmony_core.ui.lineage import lineage

MOST_POINTS = 240


def candidate_facts(folder: SearchFolder, snapshot: Snapshot, columns: Columns, architecture_id: str) -> dict[str, Any]:
    """Everything about a candidate, its first birth where there are several, as JSON.

    Args:
        folder: the search's.
        snapshot: its candidates.
        columns: what each of them has.
        architecture_id: in full.

    Raises:
        UserError: the search has no such candidate, or a file of it is damaged.
    """
    found = snapshot.rows.filter(pl.col("architecture_id") == architecture_id).head(1)
    if found.is_empty():
        return _promoted_alone(folder, architecture_id)
    known = found.row(0, named=True)
    generation, candidate = known["generation"], known["candidate"]
    row = _population_row(folder, generation, candidate)
    key = (pl.col("candidate") == candidate) & (pl.col("architecture_id") == architecture_id)
    shard = candidate // columns.per_shard
    trained, curves, timed = _results(folder, generation, shard, architecture_id, key)
    again_trained, again_curves, again_timed = _promoted(folder, architecture_id)
    on_front = not snapshot.front.filter(pl.col("architecture_id") == architecture_id).is_empty()
    return {
        "id": architecture_id,
        "generation": generation,
        "candidate": candidate,
        "values": {name: known[name] for name in ("status", "violation", "d_model", "num_blocks", *columns.metrics)},
        "on_front": on_front,
        **_made(row),
        "trainings": trained + again_trained,
        "curves": curves + again_curves,
        "latencies": timed + again_timed,
        "lineage": lineage(folder, snapshot, columns, row),
        "commands": commands(folder, architecture_id, is_promoted=bool(again_trained)),
    }


def commands(folder: SearchFolder, architecture_id: str, is_promoted: bool) -> list[dict[str, str]]:
    """What a person types to use a candidate: shown, and never run.

    Args:
        folder: the search's.
        architecture_id: the candidate's.
        is_promoted: whether promotion trained it, and may have its weights.
    """
    search = shlex.quote(str(folder.path))
    file = f"{architecture_id[:8]}.yaml"
    of = f"{architecture_id} --search {search}"
    told = [
        {"what": "train it again and compare every step", "command": f"harmony reproduce {of}"},
        {
            "what": "train it with a budget of its own",
            "command": f"harmony show {of} --yaml > {file}\nharmony train {file} --recipe tokens=100000000",
        },
        {"what": "what it costs", "command": f"harmony show {of} --yaml > {file}\nharmony cost {file}"},
    ]
    if is_promoted:
        export = f"harmony export {architecture_id} --search {search} --out {architecture_id[:8]}"
        told.append({"what": "its weights, for transformers", "command": export})
    else:
        told.append({"what": "its weights, for transformers", "command": ""})
    return told


def _population_row(folder: SearchFolder, generation: int | None, candidate: int) -> dict[str, Any]:
    rows = read_table(folder.population(generation), POPULATION).filter(pl.col("candidate") == candidate)
    if rows.is_empty():
        raise UserError("id", candidate, f"not in {folder.population(generation)} any more")
    return rows.row(0, named=True)


def _promoted_alone(folder: SearchFolder, architecture_id: str) -> dict[str, Any]:
    """A preset that promotion alone trained."""
    rows = scan([folder.population(None)], POPULATION).filter(pl.col("architecture_id") == architecture_id).collect()
    if rows.is_empty():
        raise UserError("id", architecture_id, "no such candidate in this search")
    row = rows.row(0, named=True)
    trained, curves, timed = _promoted(folder, architecture_id)
    return {
        "id": architecture_id,
        "generation": None,
        "candidate": row["candidate"],
        "values": {name: value for name, value in row.items() if isinstance(value, int | float)},
        "on_front": False,
        **_made(row),
        "trainings": trained,
        "curves": curves,
        "latencies": timed,
        "lineage": {"ancestors": [], "more": False},
        "commands": commands(folder, architecture_id, is_promoted=True),
    }


def _made(row: dict[str, Any]) -> dict[str, Any]:
    """Where a candidate comes from, and its blocks."""
    told = {name: row[name] for name in ("origin", "operator", "parents", "name", "pattern")}
    return {**told, "family": family_of_pattern(row["pattern"]).name, "architecture": diagram(row["architecture"])}


def diagram(text: str) -> dict[str, Any]:
    """An architecture from embedding to head, equal units folded; of kinds that are not installed what was recorded."""
    data = json.loads(text)
    if not all(is_block_kind(block["kind"]) for block in data["blocks"]):
        plain = [{"times": 1, "blocks": [_plain(block)]} for block in data["blocks"]]
        return {"d_model": data["d_model"], "vocab_size": data["vocab_size"], "units": plain}
    architecture = Architecture.from_json(text)
    d_model = architecture.d_model
    units = []
    for times, blocks in folded(architecture.blocks):
        told = [
            {**_plain(block.to_dict()), "role": block.role, "params": block.num_params(d_model)}
            | {"active": block.num_active_params(d_model)}
            for block in blocks
        ]
        units.append({"times": times, "blocks": told})
    return {
        "d_model": d_model,
        "vocab_size": architecture.vocab_size,
        "tied": architecture.tie_embeddings,
        "params": architecture.num_params(),
        "active": architecture.num_active_params(),
        "units": units,
    }


def _plain(block: dict[str, Any]) -> dict[str, Any]:
    fields = [
        [key, json.dumps(value) if isinstance(value, dict | list) else str(value)] for key, value in block.items()
    ]
    return {"kind": block["kind"], "role": None, "fields": [field for field in fields if field[0] != "kind"]}


Found = tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]


def _results(folder: SearchFolder, generation: int, shard: int, architecture_id: str, key: pl.Expr) -> Found:
    """Trainings, their curves and latencies, from tables where they are there and else from journals."""
    paths = {name: folder.shard(generation, name, shard) for name in ("training", "curves", "latency")}
    work = [
        folder.work(name, folder.generation(generation).name, f"shard={shard:03d}") for name in ("training", "latency")
    ]
    if paths["training"].is_file():
        trained = _dicts(scan([paths["training"]], TRAINING, keep=key))
        steps = scan([paths["curves"]], CURVES, keep=key).collect()
    else:
        trained, steps = answers_of(work[0], architecture_id)
    timed = _dicts(scan([paths["latency"]], LATENCY, keep=key))
    if not paths["latency"].is_file():
        timed, _ = answers_of(work[1], architecture_id)
    return [_training(row, "") for row in trained], _curves(steps, ""), [_latency(row, "") for row in timed]


def _promoted(folder: SearchFolder, architecture_id: str) -> Found:
    key = pl.col("architecture_id") == architecture_id
    trained = _dicts(scan(folder.shards(None, "training"), TRAINING, keep=key))
    if not trained:
        return [], [], []
    steps = scan(folder.shards(None, "curves"), CURVES, keep=key).collect()
    timed = _dicts(scan(folder.shards(None, "latency"), LATENCY, keep=key))
    stage = "promotion"
    return [_training(row, stage) for row in trained], _curves(steps, stage), [_latency(row, stage) for row in timed]


def _dicts(rows: pl.LazyFrame) -> list[dict[str, Any]]:
    return rows.collect().to_dicts()


def _training(row: dict[str, Any], stage: str) -> dict[str, Any]:
    names = ("status", "error", "replicate", "rate", "rung", "attempt", "learning_rate", "tokens", "steps", "seconds")
    more = ("val_bits_per_byte", "val_standard_error", "test_bits_per_byte", "tokens_per_second", "peak_memory_bytes")
    return {
        "stage": stage,
        **{name: row.get(name) for name in (*names, *more, "device", "host", "precision", "kernel_paths")},
    }


def _latency(row: dict[str, Any], stage: str) -> dict[str, Any]:
    names = (
        "mode",
        "batch_size",
        "context",
        "latency_seconds",
        "relative",
        "seconds_median",
        "seconds_p10",
        "seconds_p90",
    )
    return {
        "stage": stage,
        **{name: row.get(name) for name in (*names, "marked", "status", "error", "source", "device")},
    }


def _curves(steps: pl.DataFrame, stage: str) -> list[dict[str, Any]]:
    """Each run's loss over tokens, mean over equal windows of steps."""
    told = []
    for (replicate, rate, rung), run in steps.group_by("replicate", "rate", "rung", maintain_order=True):
        ordered = run.sort("step")
        window = pl.int_range(pl.len()) * MOST_POINTS // max(len(ordered), MOST_POINTS)
        means = ordered.group_by(window.alias("w"), maintain_order=True).agg(
            pl.col("step", "tokens").max(), pl.col("train_loss").mean()
        )
        points = [list(point) for point in means.select("step", "tokens", "train_loss").iter_rows()]
        told.append({"stage": stage, "replicate": replicate, "rate": rate, "rung": rung, "points": points})
    return told
