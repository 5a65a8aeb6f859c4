"""A step's time and memory under a layout against counts by hand, and how they move with the layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harmony_core.architecture import MoE
from harmony_core.architecture.presets import load_preset
from harmony_core.machines import Assumptions, Estimator, Layout, Machine, TrainingStep, predict_parts
from harmony_core.machines.activations import kept_bytes
from harmony_core.machines.blocks import Shape
from harmony_core.models import Stage
from harmony_core.training.stage_pass import StagePass
from tests.machines.distributed import cluster, dense, figure, hybrid

STEP = TrainingStep(batch_size=64, sequence_length=32)


def estimate(layout: Layout, architecture=None, machine=None, step: TrainingStep = STEP):
    architecture, machine = architecture or dense(), machine or cluster()
    assert layout.problem(architecture, step.batch_size, step.sequence_length) is None
    return Estimator(architecture, machine, step).estimate(layout)


@pytest.mark.parametrize("name", ["llama-3.2-1b", "hybrid-36b", "stripedhyena-2-1b"])
def test_one_process_is_the_roofline(name: str) -> None:
    architecture, frontier = load_preset(name), Machine.from_yaml("frontier")
    one = estimate(Layout(), architecture, frontier, TrainingStep(4, 2048))
    parts = predict_parts(architecture, frontier, "train", 4, 2048, "bf16")
    assert one.seconds == pytest.approx(sum(part.seconds for part in parts))
    assert one.tokens_per_second == pytest.approx(4 * 2048 / one.seconds)


def test_utilization_is_of_the_models_own_flops() -> None:
    """Half of the peak is reached in products, a third more is computed again, three stages idle at the ends."""
    plain = estimate(Layout(micro_batch_size=8))
    assert plain.model_flops_utilization == pytest.approx(0.5, rel=0.01)
    again = estimate(Layout(micro_batch_size=8, activation_checkpointing=True))
    head = 6 * 128 * 64 / dense().flops_per_token(32, "train")
    assert again.seconds / plain.seconds == pytest.approx(1 + (1 - head) / 3, rel=0.01)


LAYOUTS = [
    Layout(pp=4, dp=4, ep=2, zero_stage=1, micro_batch_size=2),
    Layout(pp=2, dp=8, ep=8, micro_batch_size=4, activation_checkpointing=True),
    Layout(dp=16, ep=4, zero_stage=2, micro_batch_size=1),
    Layout(pp=2, dp=2, ep=2, tp=4, zero_stage=1, micro_batch_size=1),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_causes_add_up(layout: Layout) -> None:
    one = estimate(layout, hybrid())
    assert sum(one.causes.values()) == pytest.approx(one.seconds)
    assert len(one.memory) == len(one.stages) == layout.pp
    assert one.bound == max(one.causes, key=lambda cause: one.causes[cause])


def test_bubble_of_even_stages_by_hand() -> None:
    """4 stages and 16 micro-batches: 3 turns of 19 are lost."""
    machine = cluster(flops=1e3)
    one = estimate(Layout(pp=4, micro_batch_size=4), dense(64), machine)
    turn = (one.seconds - one.causes.get("optimizer", 0.0)) / 19
    assert one.causes["bubble"] == pytest.approx(3 * turn, rel=0.02)


def test_gradients_by_hand() -> None:
    """fp32 gradients of all parameters over 16 ranks in two nodes, whose ring has 40 bytes/s."""
    one = estimate(Layout(dp=16))
    assert one.causes["gradients"] == pytest.approx(2 * 15 / 16 * 4 * dense().num_params() / 40, rel=1e-3)
    assert estimate(Layout(dp=16, zero_stage=1)).causes["gradients"] == pytest.approx(one.causes["gradients"])
    # ZeRO-2 scatters after each of 4 micro-batches and gathers once.
    two = estimate(Layout(dp=16, zero_stage=2, micro_batch_size=1))
    assert two.causes["gradients"] == pytest.approx(5 / 2 * one.causes["gradients"])


def test_gradients_of_experts_go_to_ranks_with_the_same_experts() -> None:
    """8 expert ranks fill a node, so experts' gradients go from node to node with the share of one device."""
    architecture, layout = hybrid(), Layout(dp=16, ep=8, micro_batch_size=1)
    experts = sum(block.n_routed * 3 * 64 * block.d_expert for block in architecture.blocks if isinstance(block, MoE))
    dense_params = architecture.num_params() - experts
    dense_seconds = 2 * 15 / 16 * 4 * dense_params / 40
    expert_seconds = 2 * 1 / 2 * 4 * experts / 8 / 5
    found = estimate(layout, architecture).causes["gradients"]
    assert found == pytest.approx(dense_seconds + expert_seconds, rel=1e-3)


def test_dispatch_by_hand() -> None:
    """4 mixtures, 4 all-to-alls each, 4 micro-batches of 32 tokens, 2 choices of 64 bf16 elements, a fifth more."""
    layout = Layout(dp=16, ep=8, micro_batch_size=1)
    sent = 1.2 * 32 * 2 * 64 * 2
    assert estimate(layout, hybrid()).causes["all-to-all"] == pytest.approx(4 * 4 * 4 * 6 / 8 * sent / 20)
    hidden = replace(STEP, assumptions=Assumptions(all_to_all_overlap=0.75))
    assert estimate(layout, hybrid(), step=hidden).causes["all-to-all"] == pytest.approx(4 * 4 * 6 / 8 * sent / 20)


def test_what_is_computed_again_is_dispatched_again() -> None:
    again, once = (
        estimate(Layout(dp=16, ep=8, micro_batch_size=1, activation_checkpointing=on), hybrid()) for on in (True, False)
    )
    assert again.causes["all-to-all"] == pytest.approx(3 / 2 * once.causes["all-to-all"])


def test_tensor_ranks_by_hand() -> None:
    """8 blocks, an all-reduce forward and one backward, over a pair, of 64 sequences' bf16 stream."""
    found = estimate(Layout(tp=2)).causes["tensor"]
    assert found == pytest.approx(8 * 2 * 2 * 1 / 2 * 64 * 32 * 64 * 2 / 100)


def test_context_ranks_by_hand() -> None:
    """4 attention blocks gather keys and values of 2 heads of 16, forward and backward; feed-forwards need nothing."""
    found = estimate(Layout(cp=2)).causes["context"]
    assert found == pytest.approx(4 * 2 * 1 / 2 * 64 * 32 * 2 * 2 * 16 * 2 / 100)


def test_messages_between_stages_by_hand() -> None:
    """A micro-batch's bf16 stream there, its gradient back; 16 micro-batches; neighbours in a pair or between nodes."""
    sent = 2 * 4 * 32 * 64 * 2
    assert estimate(Layout(pp=2, micro_batch_size=4)).causes["point-to-point"] == pytest.approx(16 * sent / 100)
    wide = estimate(Layout(pp=2, dp=8, micro_batch_size=1)).causes["point-to-point"]
    assert wide == pytest.approx(8 * sent / 4 / 5)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_messages_between_stages_are_what_training_sends(precision: Any) -> None:
    """The tensor that the first stage hands to the engine, and the gradient that the second one's input gets."""
    step = TrainingStep(batch_size=8, sequence_length=32, precision=precision)
    layout, cpu = Layout(pp=2, micro_batch_size=4), torch.device("cpu")
    stages = [StagePass(Stage(dense(), blocks), precision, cpu, 2) for blocks in (range(4), range(4, 8))]
    sent = stages[0](torch.zeros(4, 32, dtype=torch.long))
    received = sent.detach().requires_grad_()
    stages[1](received, torch.zeros(4, 32, dtype=torch.long)).backward()
    assert received.grad is not None
    counted = Estimator(dense(), cluster(), step).message_bytes(layout)
    assert (sent.nbytes, received.grad.nbytes) == (counted, counted)


def test_tied_embeddings_are_added_up_between_first_and_last_stage() -> None:
    layout = Layout(pp=8)
    tied, untied = (estimate(layout, dense(tie=tie)) for tie in (True, False))
    assert tied.causes["gradients"] == pytest.approx(2 * 1 / 2 * 4 * 128 * 64 / 20)
    assert "gradients" not in untied.causes


def test_assumptions_move_what_they_name() -> None:
    layout = Layout(pp=2, dp=16, ep=16, zero_stage=1, micro_batch_size=1)
    architecture = hybrid()
    mixtures = MoE(n_routed=16, top_k=2, d_expert=32, n_shared=1, balancing="bias")
    blocks = tuple(mixtures if isinstance(block, MoE) else block for block in architecture.blocks)
    architecture = architecture.model_copy(update={"blocks": blocks})
    machine = cluster(flops=1e6)
    base = estimate(layout, architecture, machine)
    for changed, cause in (
        (Assumptions(gradient_overlap=0.5), "gradients"),
        (Assumptions(all_to_all_overlap=0.5), "all-to-all"),
        (Assumptions(network_bandwidth=2.0), "all-to-all"),
        (Assumptions(expert_imbalance=1.1), "expert imbalance"),
    ):
        other = estimate(layout, architecture, machine, replace(STEP, assumptions=changed))
        assert other.causes[cause] == pytest.approx(base.causes[cause] / 2, rel=0.01)


def test_memory_of_one_process_by_hand() -> None:
    """Weight, gradient and two moments in fp32; activations of one micro-batch; the head's gradient twice; logits."""
    architecture = dense()
    memory = estimate(Layout(micro_batch_size=2), architecture).memory[0]
    params = architecture.num_params() - 64
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * params, 4 * params, 8 * params)
    assert memory.loss == 2 * 4 * 128 * 64 + 3 * 4 * (2 * 32) * 128
    shape = Shape(64, 2, 32, 2, fused=True)
    assert memory.activations > sum(kept_bytes(block, shape) for block in architecture.blocks)


def test_the_loss_holds_a_slice_of_the_logits_that_does_not_grow_with_the_batch() -> None:
    architecture, frontier = load_preset("llama-3.2-1b"), Machine.from_yaml("frontier")
    one, two = (
        Estimator(architecture, frontier, TrainingStep(batch, 4096)).estimate(Layout(micro_batch_size=batch))
        for batch in (1, 2)
    )
    slice_bytes = 3 * 4 * 1046 * 128_256
    assert one.memory[0].loss == two.memory[0].loss == 2 * 4 * 128_256 * 2048 + slice_bytes


def test_zero_spreads_what_it_should() -> None:
    whole, states, gradients = (
        estimate(Layout(dp=16, zero_stage=stage, micro_batch_size=1)).memory[0] for stage in (0, 1, 2)
    )
    assert states.optimizer == pytest.approx(whole.optimizer / 16)
    assert (states.gradients, states.weights) == (whole.gradients, whole.weights)
    assert gradients.gradients == pytest.approx(whole.gradients / 16)


def test_experts_moments_are_spread_over_fewer_ranks() -> None:
    architecture = hybrid()
    experts = sum(block.n_routed * 3 * 64 * block.d_expert for block in architecture.blocks if isinstance(block, MoE))
    dense_params = architecture.num_params() - experts - 64
    memory = estimate(Layout(dp=16, ep=8, zero_stage=1, micro_batch_size=1), architecture).memory[0]
    assert memory.weights == pytest.approx(4 * (dense_params + experts / 8))
    assert memory.optimizer == pytest.approx(8 * (dense_params / 16 + experts / 8 / 2))


def test_zero_spreads_the_optimizers_work() -> None:
    machine = cluster().model_copy(update={"memory_bandwidth": figure(1e3)})
    whole, half, quarter = (
        estimate(Layout(dp=dp, zero_stage=zero), machine=machine).causes["optimizer"]
        for dp, zero in ((4, 0), (2, 1), (4, 1))
    )
    assert (half, quarter) == pytest.approx((whole / 2, whole / 4))


def test_early_stages_hold_more_activations() -> None:
    one = estimate(Layout(pp=4, micro_batch_size=1), dense(16))
    held = [stage.activations for stage in one.memory]
    assert held == sorted(held, reverse=True)
    assert held[0] > 2 * held[3]
    again = estimate(Layout(pp=4, micro_batch_size=1, activation_checkpointing=True), dense(16))
    assert all(a.activations < b.activations for a, b in zip(again.memory, one.memory, strict=True))


def test_a_cut_keeps_to_the_memory() -> None:
    """Cut for time alone the first stage is too full; moved to later stages all fit, and the step is slower."""
    architecture, layout = dense(16), Layout(pp=4, micro_batch_size=1)
    free = estimate(layout, architecture)
    tight = cluster(memory=free.peak_memory * 0.97)
    one = estimate(layout, architecture, tight)
    assert one.fits
    assert one.stages != free.stages
    assert one.seconds > free.seconds
    none = estimate(layout, architecture, cluster(memory=free.peak_memory / 4))
    assert not none.fits
    assert none.stages == free.stages
    assert none.excess_memory == pytest.approx(free.peak_memory * 3 / 4)


def test_reserved_memory_is_not_for_tensors() -> None:
    frontier = Machine.from_yaml("frontier")
    assert frontier.reserved_memory_bytes is not None
    limit = estimate(Layout(), load_preset("llama-3.2-1b"), frontier, TrainingStep(1, 2048)).memory_limit
    assert limit == frontier.memory_bytes.value - frontier.reserved_memory_bytes.value


@pytest.mark.parametrize(("field", "value"), [("batch_size", 0), ("sequence_length", -1)])
def test_an_empty_step_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field}: {value}: use at least 1"):
        TrainingStep(**{"batch_size": 1, "sequence_length": 1, field: value})
