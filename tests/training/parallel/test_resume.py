"""A training that left goes on: bit for bit under its layout, within rounding under another."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_core.errors import UserError
from harmony_core.machines import Layout
from harmony_core.models.parameter import declared_buffers
from harmony_core.training.checkpoint import newest
from harmony_core.training.trained import load_trained
from tests.ranks import run_on_ranks
from tests.training.parallel.runs import STEPS, architecture, part_of, rungs_of

ONE = Layout()
DATA = Layout(dp=2, zero_stage=1)
EXPERTS = Layout(dp=2, ep=2, zero_stage=2)
PIPE = Layout(pp=2, micro_batch_size=2)
ALL = Layout(pp=2, dp=2, ep=2, zero_stage=1, micro_batch_size=1)
MOVES = [(ONE, ALL), (ALL, ONE), (EXPERTS, PIPE), (PIPE, DATA), (DATA, EXPERTS), (ALL, EXPERTS)]


def named(value: object) -> str:
    return str(value).replace(" ", "-")


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole run of each layout, made once."""
    found: dict[Layout, dict[str, Any]] = {}

    def get(layout: Layout) -> dict[str, Any]:
        if layout not in found:
            task = partial(part_of, data, None, layout)
            found[layout] = run_on_ranks(task, layout.num_processes, tmp_path_factory.mktemp("whole"))[0]
        return found[layout]

    return get


def leave_and_go_on(data: Path, tmp_path: Path, first: Layout, second: Layout) -> dict[str, Any]:
    folder = tmp_path / "checkpoints"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    left = run_on_ranks(partial(part_of, data, folder, first, 5), first.num_processes, tmp_path / "a")
    assert all(part["left"] and part["did"] == list(range(5)) for part in left)
    ended = run_on_ranks(partial(part_of, data, folder, second), second.num_processes, tmp_path / "b")
    assert all(not part["left"] and part["did"] == list(range(5, STEPS)) for part in ended)
    return ended[0]


@pytest.mark.parametrize("layout", [ONE, EXPERTS, PIPE, ALL], ids=named)
def test_the_same_layout_goes_on_bit_for_bit(layout: Layout, data: Path, undisturbed: Any, tmp_path: Path) -> None:
    expected, got = undisturbed(layout), leave_and_go_on(data, tmp_path, layout, layout)
    assert torch.equal(got["curve"], expected["curve"])
    assert [got[name] for name in ("val_loss", "train_loss", "router_loss")] == [
        expected[name] for name in ("val_loss", "train_loss", "router_loss")
    ]


@pytest.mark.parametrize(("first", "second"), MOVES, ids=named)
def test_another_layout_goes_on_within_rounding(
    first: Layout, second: Layout, data: Path, undisturbed: Any, tmp_path: Path
) -> None:
    expected, got = undisturbed(ONE), leave_and_go_on(data, tmp_path, first, second)
    torch.testing.assert_close(got["curve"], expected["curve"], rtol=1e-5, atol=1e-9)
    assert got["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)


def test_rungs_branch_off_and_go_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """On every rank: the whole training, one that stops at its first rung, and one that leaves in a branch."""
    for found in run_on_ranks(partial(rungs_of, data, tmp_path / "kept", ALL), ALL.num_processes, tmp_path):
        assert found["did"] == [*range(6), *range(4, STEPS)]
        assert torch.equal(found["rungs"][0], found["alone"])
        assert all(torch.equal(*pair) for pair in zip(found["rungs"], found["again"], strict=True))


def test_a_checkpoint_knows_no_layout(data: Path, tmp_path: Path) -> None:
    def state(layout: Layout, name: str) -> dict[str, torch.Tensor]:
        folder, work = tmp_path / name, tmp_path / f"{name}-ranks"
        work.mkdir()
        run_on_ranks(partial(part_of, data, folder, layout, 3), layout.num_processes, work)
        found = newest(folder)
        assert found is not None
        with found:
            sizes = {entry: found.size(entry) for entry in found.names()}
            whole = {entry: torch.empty(size) for entry, size in sizes.items()}
            for entry, out in whole.items():
                found.fill(entry, 0, out)
        return whole

    one, spread = state(ONE, "one"), state(ALL, "all")
    # As people load it, who know of no layout either.
    loaded = load_trained(tmp_path / "all")
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter.detach().view(-1), spread[f"weights/{name}"]), name
    (bias_E,) = (values for entry, values in spread.items() if entry.startswith("bias/") and values.any())
    assert any(torch.equal(buffer, bias_E) for name, buffer, _ in declared_buffers(loaded))
    assert one.keys() == spread.keys()
    model = architecture().num_params()
    assert sum(len(values) for entry, values in one.items() if entry.startswith("weights/")) == model
    for entry, values in one.items():
        # Over the whole vector: where a gradient is nothing but rounding, Adam's step is of its full size
        # and may point either way. A single element in another's place would be seen.
        apart, size = (torch.linalg.vector_norm(v) for v in (spread[entry] - values, values))
        assert apart <= 1e-3 * size, f"{entry}: {apart:.1e} of {size:.1e}"


def test_they_are_written_on_the_way_and_of_those_the_last_stay(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    run_on_ranks(partial(part_of, data, folder, DATA, every_steps=3, keep_last=2), 2, tmp_path)
    # The best by training loss is among them, and the last one is of the end.
    assert [path.name for path in sorted(folder.glob("step=*"))] == ["step=00000009", "step=00000012"]


def test_another_trainings_checkpoint_is_refused_before_a_model_is_made(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    run_on_ranks(partial(part_of, data, folder, ONE, 2), 1, tmp_path)
    monkeypatch.setattr("tests.training.parallel.runs.architecture", lambda: architecture(tied=False))
    monkeypatch.setattr("harmony_core.training.trainer.Learner", None)
    with pytest.raises(UserError, match=r"checkpoint.architecture_id"):
        part_of(data, folder, ONE)
