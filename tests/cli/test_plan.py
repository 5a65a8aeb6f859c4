"""`harmony plan`: tables, a drawing, and refusals in one line."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.cli.plan_figure import _COLORS
from harmony_core.machines.block_cost import CAUSES
from harmony_core.machines.stage_memory import StageMemory


def plan(*arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "harmony_core", "plan", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})


def test_a_plan_tells_layouts_losers_and_scaling(tmp_path: Path) -> None:
    drawing = tmp_path / "plan.html"
    done = plan("hybrid-36b", "--machine", "frontier", "--gpus", "1024", "--top", "3", "--plot", str(drawing))
    assert done.returncode == 0, done.stderr
    for told in ("35.9B parameters", "fastest layouts on 1024 devices", "MFU", "why others lose", "weak scaling"):
        assert told in done.stdout
    table = done.stdout.split("fastest layouts")[1].split("the first one's time")[0]
    assert table.count(" GB ") == 3
    assert "16384" in done.stdout
    text = drawing.read_text()
    assert "vega" in text
    assert "predicted weak-scaling efficiency" in text
    # The title says what is drawn, the memory's line is what a device has, and a thing has one colour in both bars.
    assert '"text": "hybrid-36b on 1024 x AMD Instinct MI250X, one GCD (frontier)"' in text
    assert "35.9B parameters, " in text
    assert '"told": "limit 60 GB"' in text
    assert len(set(re.findall(r'"scale": (\{"domain": \[[^]]*\], "range": \[[^]]*\]\})', text))) == 1


def test_every_thing_that_is_drawn_has_a_colour_of_its_own() -> None:
    memory = {field.name for field in dataclasses.fields(StageMemory)}
    assert {*CAUSES, "point-to-point", "uneven stages", "bubble", "gradients", "optimizer"} | memory == _COLORS.keys()
    assert len(set(_COLORS.values())) == len(_COLORS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("hybrid-36b", "--gpus", "8"), "gpus: 8: the model fits under no layout: .* use 16 devices"),
        (("llama-nano", "--gpus", "0"), "gpus: 0: use 1 to"),
        (("llama-nano", "--machine", "cray-1"), "machines: cray-1: no such name"),
        (("gpt-9",), "architectures: gpt-9: no such name"),
        (("llama-nano", "--plot", "plan.pdf"), r"plot: plan\.pdf: name a file that ends in \.html"),
        (("llama-nano", "--plot", "/proc/plan.html"), "plot: /proc/plan.html: .*name a file that can be written"),
        (("llama-nano", "--gpus", "13", "--batch-size", "9"), "gpus: 13: no layout is possible"),
        (("samba-1.3b", "--sequence-length", "64"), "sequences of 64"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: tuple[str, ...], told: str) -> None:
    done = plan(*arguments)
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1
    assert re.search(told, done.stderr), done.stderr
