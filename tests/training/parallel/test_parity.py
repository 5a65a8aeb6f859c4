"""A layout changes speed and nothing else: every layout against one process that takes the whole batch at once.

Losses, balancing losses and gradient norms of 20 steps with clipping, the loss on unseen rows, the experts' loads.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harmony_core.machines import Layout, Machine
from harmony_core.training.learner import stages_of
from tests.ranks import run_on_ranks
from tests.training.parallel.curves import BATCH, LENGTH, architecture, recipe, train

LOSS, NORM = 1e-5, 1e-4
DENSE = [
    Layout(dp=2),
    Layout(dp=2, zero_stage=1),
    Layout(dp=2, zero_stage=2, micro_batch_size=2),
    Layout(pp=2, micro_batch_size=2),
    Layout(pp=2, dp=2, micro_batch_size=2),
    Layout(pp=2, dp=2, zero_stage=1, micro_batch_size=1, activation_checkpointing=True),
]
SPREAD = [
    Layout(dp=2, ep=2),
    Layout(dp=2, ep=2, zero_stage=1),
    Layout(dp=2, ep=2, zero_stage=2, micro_batch_size=2),
    Layout(pp=2, dp=2, ep=2, micro_batch_size=2),
    Layout(pp=2, dp=2, ep=2, zero_stage=1, micro_batch_size=2, activation_checkpointing=True),
]
LARGE = [Layout(pp=2, dp=4, ep=2, zero_stage=0), Layout(pp=2, dp=4, ep=2, zero_stage=1, micro_batch_size=1)]
CONTEXT = [Layout(cp=2), Layout(cp=2, dp=2, ep=4, zero_stage=1), Layout(pp=2, cp=2, micro_batch_size=4)]
CASES = [
    *(("attention", layout) for layout in DENSE),
    *(("mamba2", layout) for layout in DENSE[-3:]),
    *(("hybrid", layout) for layout in [*DENSE[1:2], *DENSE[3:4], *SPREAD, *LARGE]),
    *(("bias", layout) for layout in [SPREAD[1], SPREAD[-1]]),
    *(("hyena", layout) for layout in CONTEXT),
    *(("short_conv", layout) for layout in [SPREAD[4], CONTEXT[1]]),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run of one process, by model and recipe, computed once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def get(name: str, precision: str = "fp32") -> dict[str, Any]:
        if (name, precision) not in found:
            task = partial(train, name, Layout(), precision=precision)
            (found[name, precision],) = run_on_ranks(task, 1, tmp_path_factory.mktemp("alone"))
        return found[name, precision]

    return get


@pytest.mark.parametrize(("name", "layout"), CASES, ids=lambda value: str(value).replace(" ", "-"))
def test_the_curve_is_that_of_one_process(name: str, layout: Layout, alone: Any, tmp_path: Path) -> None:
    layout.check(architecture(name), BATCH, LENGTH)
    expected = alone(name)
    for got in run_on_ranks(partial(train, name, layout), layout.num_processes, tmp_path):
        torch.testing.assert_close(got["steps"][:, :2], expected["steps"][:, :2], rtol=LOSS, atol=1e-9)
        torch.testing.assert_close(got["steps"][:, 2], expected["steps"][:, 2], rtol=NORM, atol=0)
        assert got["evaluated"] == pytest.approx(expected["evaluated"], rel=LOSS)
        for index, load in got["loads"].items():
            assert load == pytest.approx(expected["loads"][index], abs=1e-6)
    assert expected["steps"][-1, 0] < expected["steps"][0, 0] - 0.1, "nothing was learnt, so nothing was compared"
    assert (expected["steps"][:, 2] > recipe().gradient_clip).all(), "nothing was clipped"


# Sums are rounded in another order; and a token between two experts that are worth nearly the same may change to the
# other, after which losses part by as much as those of bf16 and fp32 do. Between stages the residual stream is rounded.
BF16 = {"attention": 2e-3, "mamba2": 2e-3, "hybrid": 1e-2}
BF16_CASES = [("attention", DENSE[-1]), ("mamba2", DENSE[-1]), ("hybrid", SPREAD[1]), ("hybrid", SPREAD[-1])]


@pytest.mark.parametrize(("name", "layout"), BF16_CASES, ids=lambda value: str(value).replace(" ", "-"))
def test_bf16_follows_within_its_rounding(name: str, layout: Layout, alone: Any, tmp_path: Path) -> None:
    expected = alone(name, "bf16")
    for got in run_on_ranks(partial(train, name, layout, precision="bf16"), layout.num_processes, tmp_path):
        torch.testing.assert_close(got["steps"][:, 0], expected["steps"][:, 0], rtol=BF16[name], atol=0)
    assert (expected["steps"][:, 0] - alone(name)["steps"][:, 0]).abs().max() > 1e-5, "it was not bf16"


def test_where_a_machine_says_to_cut_changes_nothing(alone: Any, tmp_path: Path) -> None:
    # A machine on which scans and scores are all that takes time.
    fields = Machine.from_yaml("frontier").model_dump(mode="json", exclude_none=True)
    fields["fp32"]["mixing_efficiency"] = {"value": 1e-9, "source": "assumed: this test"}
    path = tmp_path / "slow-to-mix.yaml"
    path.write_text(yaml.safe_dump(fields))
    layout = Layout(pp=2, dp=2, micro_batch_size=2)
    machine = Machine.from_yaml(path)
    assert stages_of(architecture("bias"), recipe(), layout, machine) != stages_of(
        architecture("bias"), recipe(), layout, None
    )
    expected = alone("bias")
    for got in run_on_ranks(partial(train, "bias", layout, str(path)), layout.num_processes, tmp_path):
        torch.testing.assert_close(got["steps"][:, :2], expected["steps"][:, :2], rtol=LOSS, atol=1e-9)
