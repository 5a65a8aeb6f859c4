"""Machine files: what ships is whole, and mistakes are told in one line."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
import yaml

from harmony_core.errors import UserError
from harmony_core.machines import Machine
from harmony_core.resources import resource, resource_names

NAMES = ["a100", "cpu", "frontier", "h100", "h200"]


def test_shipped_machines() -> None:
    assert resource_names("machines") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_file_and_name_agree_and_every_figure_has_a_source(name: str) -> None:
    machine = Machine.from_yaml(name)
    assert machine.name == name
    assert machine == Machine.from_yaml(resource(f"machines/{name}.yaml"))
    assert machine.bf16.peak_flops.value > machine.fp32.peak_flops.value
    assert machine.bytes_per_second < machine.memory_bandwidth.value


def test_frontier_is_one_gcd() -> None:
    frontier = Machine.from_yaml("frontier")
    assert frontier.compute("bf16").peak_flops.value == 191.5e12
    assert frontier.memory_bandwidth.value == 1.6e12
    assert frontier.memory_bytes.value == 64e9


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UserError, match=r"machines: zx81: .*a100, cpu, frontier, h100, h200"):
        Machine.from_yaml("zx81")


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("nodes", 3, r"mine\.yaml\.nodes: 3: unknown key"),
        ("bf16.matrix_efficiency.value", 1.68, "bf16.matrix_efficiency.value: 1.68"),
        ("kernel_seconds.value", -1, "kernel_seconds.value: -1"),
        ("reserved_memory_bytes", {"value": 1e15, "source": "assumed"}, "nothing of memory_bytes is left"),
        ("memory_bytes.source", None, "memory_bytes.source: missing"),
    ],
)
def test_mistakes_name_field_and_value(tmp_path, field: str, value: object, match: str) -> None:
    fields = yaml.safe_load(resource("machines/cpu.yaml").read_text())
    *parents, last = field.split(".")
    place = functools.reduce(dict.__getitem__, parents, fields)
    if value is None:
        del place[last]
    else:
        place[last] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match=match):
        Machine.from_yaml(path)


def test_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml"):
        Machine.from_yaml(tmp_path / "none.yaml")


def test_room_imports_no_torch() -> None:
    code = "import sys, harmony_core.machines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
