"""Layouts: what fits a training, what is refused and with which way out."""

from __future__ import annotations

import pytest

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.machines import Layout, fitting, layouts, nearest

GQA = {"kind": "gqa", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
MLP = {"kind": "mlp", "d_ff": 64}
MOE = {"kind": "moe", "n_routed": 12, "top_k": 2, "d_expert": 16, "balancing": "bias"}


def architecture(*blocks: dict[str, object]) -> Architecture:
    return Architecture.parse({"d_model": 30, "vocab_size": 64, "blocks": list(blocks)})


MODEL = architecture(GQA, MOE, GQA, MLP)


@pytest.mark.parametrize(
    ("layout", "field", "reason", "near"),
    [
        (Layout(pp=8), "pp", "4 blocks", "pp4 x dp2"),
        (Layout(dp=3), "dp", "batch of 16", "pp3"),
        (Layout(dp=4, ep=3), "ep", "4 data ranks", "dp4 x ep4"),
        (Layout(dp=8, ep=8), "ep", "the 12 experts", "dp8 x ep4"),
        (Layout(dp=2, micro_batch_size=3), "micro_batch_size", "8 sequences", "dp2 ZeRO-0 micro-batch 2"),
        (Layout(pp=2, zero_stage=2), "zero_stage", "0 or 1", "pp2 ZeRO-1"),
        (Layout(cp=5), "cp", "32 tokens", "another number of processes, 4 for example: pp4"),
        (Layout(dp=1_048_573), "dp", "batch of 16", "64 for example: pp4 x dp16"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named_with_the_nearest_that_does(
    layout: Layout, field: str, reason: str, near: str
) -> None:
    with pytest.raises(UserError) as caught:
        layout.check(MODEL, 16, 32)
    assert caught.value.field == f"layout.{field}"
    assert reason in caught.value.fix
    assert near in caught.value.fix


def test_experts_and_sequences_that_cannot_be_spread() -> None:
    dense = architecture(GQA, MLP)
    assert Layout(dp=2, ep=2).problem(dense, 16, 32) == ("ep", "the model has no experts to spread")
    scan = architecture({"kind": "mamba2", "d_state": 8, "head_dim": 10}, MLP)
    assert "block 0 (mamba2)" in (Layout(cp=2).problem(scan, 16, 32) or ("", ""))[1]
    balanced = architecture(GQA, {**MOE, "balancing": "aux"})
    assert "block 1 (moe)" in (Layout(cp=2).problem(balanced, 16, 32) or ("", ""))[1]
    channels = architecture({"kind": "hyena_se", "num_groups": 5}, MLP)
    assert "30 channels" in (Layout(cp=4).problem(channels, 16, 32) or ("", ""))[1]


def test_fitting_keeps_what_fits_and_else_takes_the_nearest() -> None:
    asked = Layout(pp=2, dp=2, ep=2, zero_stage=1, micro_batch_size=4, activation_checkpointing=True)
    assert fitting(asked, MODEL, 16, 32) == asked
    dense = fitting(asked, architecture(GQA, MLP), 16, 32)
    assert dense == asked.model_copy(update={"ep": 1})
    shallow = fitting(asked, architecture(MOE), 16, 32)
    assert (shallow.pp, shallow.num_processes, shallow.activation_checkpointing) == (1, 4, True)
    with pytest.raises(UserError, match="another number of processes"):
        fitting(Layout(dp=7), architecture(GQA), 16, 32)


@pytest.mark.parametrize("number", [1, 6, 8])
def test_all_layouts_are_of_the_number_asked_for_and_different(number: int) -> None:
    found = list(layouts(number, max_ep=4, max_cp=2))
    assert len(set(found)) == len(found)
    assert all(one.num_processes == number and one.data_ranks % one.ep == 0 for one in found)
    assert Layout(pp=number) in found
    assert Layout(dp=number) in found


def test_nearest_changes_nothing_that_fits() -> None:
    for layout in layouts(8, max_ep=4):
        if layout.problem(MODEL, 16, 32) is None:
            assert nearest(layout, MODEL, 16, 32) == layout


def test_micro_batches_and_ranks_are_counted() -> None:
    layout = Layout(pp=2, dp=4, cp=2, ep=8, micro_batch_size=2)
    assert (layout.num_processes, layout.data_ranks, layout.num_micro_batches(32)) == (16, 8, 4)
    assert Layout(dp=4).micro_batch(32) == 8
    assert str(layout) == "pp2 x dp4 x ep8 x cp2 ZeRO-0 micro-batch 2"
    assert str(Layout()) == "one process ZeRO-0"
