"""What every machine must hold: each figure has its source, and a step takes some time."""

from __future__ import annotations

from harmony_core.architecture.presets import load_preset
from harmony_core.machines import Machine, predict_seconds


def check_machine(name: str) -> None:
    """Predicts a training step and a forward pass of two presets on a machine of this name.

    Raises:
        AssertionError: it does not survive being written and read again, or predicts no time.
    """
    machine = Machine.from_yaml(name)
    assert machine.name == name
    assert Machine.parse(machine.model_dump(mode="json")) == machine
    for preset in ("llama-nano", "jamba-nano"):
        architecture = load_preset(preset)
        train, prefill = (predict_seconds(architecture, machine, mode, 4, 64, "bf16") for mode in ("train", "prefill"))
        assert 0 < prefill < train
