"""What the cost model predicts of the trainings that were measured, on the machine that has this device."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_check.clock import OURS
from benchmarks.gpu_check.row import attempted
from benchmarks.gpu_check.settings import Before, Row, Setting
from benchmarks.gpu_check.training import Model, models, precision
from benchmarks.step_memory import predict_memory_bytes
from harmony_core.machines import Machine, predict_seconds
from harmony_core.resources import resource_names

# Descriptions of resources/machines, by what is in torch's name of their device.
MACHINES = {"H200": "h200", "H100": "h100", "A100": "a100", "MI250X": "frontier"}


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a training that was measured: predicted and measured seconds a step and bytes, and their ratios."""
    measured = {row["model"]: row for row in before.get("training", ()) if "error" not in row}
    name = described(str(next(iter(before.get("device", ())), {}).get("name")), setting)
    for model in models(setting):
        identity = {"model": model.name, "machine": name}
        if name is None:
            yield {**identity, "note": "resources/machines describes no such device"}
        elif model.name not in measured:
            yield {**identity, "note": "its training was not measured"}
        else:
            yield attempted(identity, _compared, model, name, measured[model.name], setting)


def described(device: str, setting: Setting) -> str | None:
    """The description of a device; None where there is none."""
    if setting.small:
        return "cpu"
    found = (name for part, name in MACHINES.items() if part.lower() in device.lower())
    return next((name for name in found if name in resource_names("machines")), None)


def _compared(model: Model, name: str, measured: Row, setting: Setting) -> Row:
    machine, architecture = Machine.from_yaml(name), model.architecture()
    load = (model.batch_size, model.length, precision(setting))
    predicted = predict_seconds(architecture, machine, "train", *load)
    memory = predict_memory_bytes(architecture, "train", *load, fused=not setting.small)
    seconds = measured["milliseconds"][OURS]["median"] / 1e3
    found: Row = {"predicted_seconds": predicted, "measured_seconds": seconds, "ratio": predicted / seconds}
    found |= {"predicted_bytes": memory, "measured_bytes": measured["peak_memory_bytes"]}
    if measured["peak_memory_bytes"]:
        found["bytes_ratio"] = memory / measured["peak_memory_bytes"]
    return found
