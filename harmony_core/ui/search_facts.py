"""What the page of a search shows beside its candidates, as JSON."""

from __future__ import annotations

from typing import Any

import polars as pl

from harmony_core.architecture import block_class
from harmony_core.metrics import metric
from harmony_core.progress import Failure, GenerationProgress, SearchProgress
from harmony_core.report.family import FAMILIES as REPORT_FAMILIES
from harmony_core.store.evaluators import TRAINING_TABLE
from harmony_core.store.schemas import ORIGINS, STATUSES
from harmony_core.terminal.progress_lines import duration
from harmony_core.ui.catalogue import Attempt, Snapshot, facts
from harmony_core.ui.families import FAMILIES, kinds
from harmony_core.ui.followed import Followed, View

MOST_PROBLEMS = 50


def overview(followed: Followed, view: View) -> dict[str, Any]:
    """A search in the list of all: what it is, and how far."""
    told: dict[str, Any] = {"name": followed.folder.name, "path": str(followed.folder.path), "error": view.error}
    told |= standing(followed, view)
    # The page says of itself that it is busy until then, and asks again.
    told["whole"] = view.is_whole and followed.runner.is_known
    if view.snapshot is not None:
        last = view.snapshot.generations[-1] if view.snapshot.generations else None
        told |= {
            "candidates": len(view.snapshot.rows),
            "failed": sum(one.failed for one in view.snapshot.generations),
            "best": _least(view.snapshot.rows["val_bits_per_byte"]),
            "front": len(view.snapshot.front),
            "hypervolume": None if last is None else last.hypervolume,
            "read": view.snapshot.read,
        }
    if view.manifest is not None:
        told |= {"created": view.manifest.created_at.isoformat(), "data": view.manifest.data.get("source")}
        told |= {"space": _name_of_space(view.manifest.config), "generations": _generations(view)}
    return told


def search_facts(followed: Followed) -> dict[str, Any]:
    """Everything about one search but its candidates; they have changed where `version` has."""
    beside = (followed.spent, followed.missing, followed.promoted)
    for one in beside:
        # It is found while the search is read, and taken below as far as it is known then.
        one.get()
    view = followed.look()
    are_known = all(one.is_known for one in beside)
    told = overview(followed, view)
    told["whole"] = told["whole"] and are_known
    if view.manifest is None:
        return told
    config = view.manifest.config
    told |= {
        "algorithm": config["search"]["algorithm"].get("kind"),
        "population": config["search"]["population"],
        "seed": view.manifest.seed,
        "precision": view.manifest.precision,
        "commit": view.manifest.git_commit,
        "machine": _machine(view.manifest.machine),
        "recipe": {name: config["recipe"].get(name) for name in ("tokens", "batch_size", "sequence_length")},
        "latency": {name: config["latency"].get(name) for name in ("objective", "batch_size", "context", "source")},
        "objectives": [{"name": one["name"], "target": one["target"]} for one in config["search"]["objectives"]],
        "spent": followed.spent.value,
        "waiting": view.waiting,
        "progress_error": view.progress_error,
    }
    if view.snapshot is not None and view.columns is not None:
        # What promotion came to is on the figure too.
        told["version"] = f"{view.snapshot.version}.{len(followed.promoted.value)}"
        told |= _tables(view.snapshot) | {"metrics": [_metric(name) for name in view.columns.metrics]}
        told["under_way"] = [_attempt(one) for one in view.under_way]
        told["families"] = [{"name": one.name, "shape": one.shape} for one in REPORT_FAMILIES]
        told["kinds"] = [{"name": kind, "role": block_class(kind).role} for kind in kinds()]
    lines = [] if view.snapshot is None else view.snapshot.problems
    found = [{"text": one.text, "rows": one.rows} for one in lines]
    found += [{"text": line, "rows": 0} for line in followed.missing.value or ()]
    told["problems"], told["more_problems"] = found[:MOST_PROBLEMS], max(0, len(found) - MOST_PROBLEMS)
    if view.progress is not None:
        told["stages"] = [_stage(one) for one in view.progress.stages]
        told["failures"] = [_failure(one) for one in reversed(view.failures)]
        told["pace"] = _pace(view, view.progress)
    return told


def standing(followed: Followed, view: View) -> dict[str, Any]:
    """Whether a search runs, is finished, or was left, and by whom it is run."""
    runner = followed.runner.get(0.2)
    if view.error:
        state = "unreadable"
    elif runner is not None:
        state = "running"
    elif view.progress is not None and view.progress.finished:
        state = "finished"
    elif not followed.runner.is_known:
        state = "looking"
    elif view.manifest is not None and view.manifest.migrated_from is not None:
        state = "migrated"
    else:
        state = "stopped"
    return {"state": state, "runner": runner}


def _tables(snapshot: Snapshot) -> dict[str, Any]:
    counts, families = snapshot.counts("status"), snapshot.counts("family")
    return {
        "statuses": {status or "pending": counts[status] for status in [*STATUSES, None] if status in counts},
        "family_counts": {family: families[family] for family in FAMILIES if family in families},
        "origins": list(ORIGINS),
        "progress": [facts(one) for one in _thinned(snapshot.generations)],
    }


def _thinned(generations: tuple[Any, ...], most: int = 300) -> list[Any]:
    """The generations, or so many of them evenly, the last one for certain."""
    if len(generations) <= most:
        return list(generations)
    return [generations[round(place * (len(generations) - 1) / (most - 1))] for place in range(most)]


def _pace(view: View, progress: SearchProgress) -> dict[str, Any]:
    left = view.seconds_left
    return {
        "done": progress.work_done,
        "left": progress.work_left,
        "running": progress.running,
        "mean_seconds": progress.mean_seconds,
        "per_hour": view.per_hour,
        "eta": None if left is None else duration(left),
    }


def _stage(one: GenerationProgress) -> dict[str, Any]:
    names = ("generation", "total", "done", "running", "queued", "failed", "measured", "finished", "left_out", "closed")
    return {name: getattr(one, name) for name in names}


def _attempt(found: Attempt) -> dict[str, Any]:
    task, curve = found.task, found.task.curve
    return {
        "generation": found.generation,
        "stage": found.stage,
        "candidate": task.candidate,
        "id": task.architecture_id,
        "attempt": task.attempt,
        "curve": [] if curve is None else curve.points,
        "steps": None if curve is None else curve.num_steps,
        "steps_done": task.steps_done,
        "tokens_per_second": None if curve is None else curve.tokens_per_second,
    }


def _failure(failed: Failure) -> dict[str, Any]:
    result = failed.result
    return {
        "generation": failed.generation,
        "stage": "" if failed.stage == TRAINING_TABLE.name else failed.stage,
        "candidate": result.candidate,
        "id": result.architecture_id,
        "status": result.status,
        "error": " ".join((result.error or "").split())[:2000],
    }


def _metric(name: str) -> dict[str, Any]:
    found = metric(name)
    label = found.label if found.format != "seconds" else found.label.partition(" [")[0]
    return {
        "name": name,
        "label": label,
        "heading": found.heading,
        "unit": found.unit,
        "format": found.format,
        "sign": found.sign,
        "description": found.description,
    }


def _generations(view: View) -> int:
    assert view.manifest is not None
    if view.progress is not None and view.progress.generations:
        return int(view.progress.generations[-1].standing.config.search.generations)
    return int(view.manifest.config["search"]["generations"])


def _name_of_space(config: dict[str, Any]) -> str | None:
    space = config.get("space")
    # The manifest holds it in full, and so without a name.
    return None if isinstance(space, dict) else str(space)


def _machine(machine: dict[str, Any]) -> str:
    gpus = machine.get("gpus")
    return f"{len(gpus)} x {gpus[0]}" if gpus else str(machine.get("cpu") or machine.get("host") or "")


def _least(values: pl.Series) -> float | None:
    found = values.min()
    return float(found) if isinstance(found, float) else None
