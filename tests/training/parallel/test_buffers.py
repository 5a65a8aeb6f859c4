"""A buffer that a block declares outlives the process: in resumption, under another layout, in export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf import export
from harmony_core.interop.hf.exported import modeling_harmony
from harmony_core.machines import Layout
from harmony_core.models import build
from harmony_core.models.parameter import declared_buffers
from harmony_core.training.trained import load_trained
from tests.models.centred import ExportedCentred, known
from tests.ranks import run_on_ranks
from tests.training.parallel import runs
from tests.training.parallel.curves import ATTENTION, BIAS

ONE = Layout()
SPREAD = Layout(pp=2, dp=2, zero_stage=1, micro_batch_size=1)


def architecture() -> Architecture:
    """A buffer on each side of a pipeline's cut, and a router's between them."""
    blocks = [{"kind": "centred"}, ATTENTION, BIAS, {"kind": "centred"}]
    return Architecture.parse({"d_model": 32, "vocab_size": 257, "blocks": blocks})


def part(data: Path, folder: Path, layout: Layout, leave_at: int | None) -> dict[str, Any]:
    """`runs.part_of` with that architecture; to be called on a rank, which ends then."""
    runs.architecture = architecture  # type: ignore[assignment]
    with known():
        return dict(runs.part_of(data, folder, layout, leave_at))


def buffers(data: Path, folder: Path, *parts: tuple[Layout, int | None]) -> dict[str, Tensor]:
    """Of the trained model, after the parts of a training one after the other."""
    for number, (layout, leave_at) in enumerate(parts):
        (folder / str(number)).mkdir(parents=True)
        task = partial(part, data, folder / "checkpoints", layout, leave_at)
        run_on_ranks(task, layout.num_processes, folder / str(number))
    with known():
        return {name: buffer.clone() for name, buffer, _ in declared_buffers(load_trained(folder / "checkpoints"))}


def test_buffers_survive_resumption_and_another_layout(data: Path, tmp_path: Path) -> None:
    whole = buffers(data, tmp_path / "whole", (ONE, None))
    resumed = buffers(data, tmp_path / "resumed", (ONE, 5), (ONE, None))
    spread = buffers(data, tmp_path / "spread", (ONE, 4), (SPREAD, 8), (ONE, None))
    assert set(whole) == {
        *(f"blocks.{index}.inner.{name}" for index in (0, 3) for name in ("mean_HK", "steps")),
        "blocks.2.inner.router.bias_E",
    }
    for name, expected in whole.items():
        assert expected.any(), name
        assert torch.equal(resumed[name], expected), name
        torch.testing.assert_close(spread[name], expected, rtol=1e-4, atol=1e-6)
    assert whole["blocks.3.inner.steps"] == runs.STEPS


def test_buffers_survive_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with known():
        model = build(architecture())
        tokens_BT = torch.randint(257, (2, 33), generator=torch.Generator().manual_seed(0))
        model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
        model.after_step()
        with pytest.raises(UserError, match="blocks: centred: the exported code has no such block; add a family to"):
            export(model, tmp_path / "refused")
        monkeypatch.setitem(modeling_harmony.MODULES, "centred", ExportedCentred)
        assert export(model, tmp_path / "taken") == "harmony"
        written = load_file(tmp_path / "taken" / "model.safetensors")
        for name, buffer, _ in declared_buffers(model):
            assert buffer.any(), name
            assert torch.equal(written[f"model.{name}"], buffer), name
            assert written[f"model.{name}"].dtype == buffer.dtype, name


def test_a_buffer_that_nobody_declared_is_told_by_name() -> None:
    with known():
        model = build(architecture())
    model.blocks[1].inner.register_buffer("forgotten", torch.zeros(1))
    with pytest.raises(AssertionError, match=r"blocks\.1\.inner\.forgotten was never declared"):
        declared_buffers(model)
