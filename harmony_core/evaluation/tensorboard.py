"""Curves as TensorBoard reads them: an event file a training, made of its rows alone.

Needs the extra `tensorboard`. The files lie beside the tables and are nobody's input: whatever becomes of them, the
search is the same.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from harmony_core.atomic import atomic_write
from harmony_core.errors import UserError
from harmony_core.evaluation.config import TENSORBOARD
from harmony_core.store import Run, SearchFolder

Row = Mapping[str, Any]

_LOG = logging.getLogger(__name__)
# TensorBoard reads what has `tfevents` in its name; its own names have a host, a time and a process.
_FILE = "events.out.tfevents.harmony"
# By column of the curve, what TensorBoard calls it.
_OF_POINTS = {"train_loss": "loss/train", "learning_rate": "learning_rate", "gradient_norm": "gradient_norm"}
_OF_ROWS = {
    "val_loss": "loss/validation",
    "val_bits_per_byte": "bits_per_byte/validation",
    "test_bits_per_byte": "bits_per_byte/test",
}
_KEY = ("candidate", "replicate", "rate", "rung")


def log_curves(folder: SearchFolder, generation: int | None, rows: Iterable[Row], points: Iterable[Row]) -> None:
    """Writes an event file for each training; one that cannot be written is said in the log, and is all that is lost.

    The same rows give the same bytes: an event's time is the training's start and the point's own seconds.

    Args:
        folder: the search's; the files go to `tensorboard/` in it.
        generation: None is promotion.
        rows: of training.
        points: of their curves.
    """
    curves: dict[tuple[Any, ...], list[Row]] = {}
    for point in points:
        curves.setdefault(_key(point), []).append(point)
    try:
        for row in rows:
            path = _folder(folder, generation, row) / _FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, _event_file(row, curves.get(_key(row), [])))
    except (OSError, UserError, ImportError) as error:
        _LOG.warning("TensorBoard's files of this shard are not all there: %s", error)


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _folder(folder: SearchFolder, generation: int | None, row: Row) -> Path:
    """What TensorBoard shows as the run's name."""
    name = Run(row["replicate"], row["rate"]).name(row["architecture_id"], row["candidate"])
    rung = f"-b{row['rung']}" if row["rung"] else ""
    return folder.path / TENSORBOARD / folder.generation(generation).name / f"{name}{rung}"


def _event_file(row: Row, points: list[Row]) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    began = row["started_at"]
    began = (datetime.fromisoformat(began) if isinstance(began, str) else began).timestamp()
    content = io.BytesIO()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString(deterministic=True))
    for step, seconds, values in _scalars(row, points):
        event = Event(wall_time=began + seconds, step=step)
        for tag, value in values.items():
            event.summary.value.add(tag=tag, simple_value=value)
        writer.write(event.SerializeToString(deterministic=True))
    return content.getvalue()


def _scalars(row: Row, points: list[Row]) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Step, seconds since the start, and values by tag; what is null is left out."""
    for point in points:
        yield point["step"], point["seconds"], _known(point, _OF_POINTS)
    last = points[-1]["seconds"] if points else 0.0
    if values := _known(row, _OF_ROWS):
        yield row["steps"], last, values


def _known(row: Row, tags: Mapping[str, str]) -> dict[str, float]:
    return {tag: row[name] for name, tag in tags.items() if row[name] is not None}
