"""The roofline against counts by hand, and how it moves with context, batch, precision and machine."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harmony_core.architecture import GQA, MLP, SWA, Architecture, Mamba2, MoE
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.machines import Compute, Figure, Machine, Part, Share, predict_parts, predict_seconds

MODES = ("train", "prefill", "decode")


def figure(value: float) -> Figure:
    return Figure(value=value, source="test")


def share(value: float) -> Share:
    return Share(value=value, source="test")


def machine(flops=1e15, bandwidth=1e15, kernel=1e-30, mixing=1.0) -> Machine:
    """A machine whose one slow side shows in the result."""
    compute = Compute(peak_flops=figure(flops), matrix_efficiency=share(0.5), mixing_efficiency=share(mixing))
    return Machine(
        name="toy",
        device="toy",
        bf16=compute,
        fp32=compute,
        memory_bandwidth=figure(bandwidth),
        memory_bytes=figure(1e9),
        bandwidth_efficiency=share(0.5),
        kernel_seconds=figure(kernel),
    )


def toy(*blocks, tie: bool = True) -> Architecture:
    return Architecture(d_model=16, vocab_size=32, tie_embeddings=tie, blocks=blocks)


def block_part(parts: tuple[Part, ...]) -> Part:
    return parts[1]


ATTENTION = GQA(num_heads=4, num_kv_heads=2, head_dim=8)
MLP_24 = MLP(d_ff=24)


def test_prefill_arithmetic_by_hand() -> None:
    # Weights: 16 x 8 x (2 x 4 + 2 x 2) = 1,536. 3 x 10 tokens; each sees 5.5 on average.
    part = block_part(predict_parts(toy(ATTENTION), machine(flops=1e6), "prefill", 3, 10, "bf16"))
    weights, mixing = 30 * 2 * 1536, 30 * 4 * 4 * 8 * 5.5
    assert part.flops == pytest.approx(weights + mixing)
    assert part.seconds == pytest.approx(weights / 0.5e6 + mixing / 1e6, rel=1e-6)
    assert part.bound == "compute"


def test_mixing_has_its_own_efficiency() -> None:
    slow, fast = (
        block_part(predict_parts(toy(ATTENTION), machine(flops=1e6, mixing=m), "prefill", 3, 10, "bf16"))
        for m in (0.1, 1.0)
    )
    assert slow.seconds - fast.seconds == pytest.approx(30 * 4 * 4 * 8 * 5.5 / 1e6 * 9, rel=1e-6)


def test_decode_traffic_by_hand() -> None:
    # Batch 3, cache of 10, bf16. Weights 1,536; K and V 2 x 2 x 8 = 32 a token.
    part = block_part(predict_parts(toy(ATTENTION), machine(bandwidth=1e6), "decode", 3, 10, "bf16"))
    around, projections, rotation, softmax = 5 * 16, 16 + 32 + 32 + 32 + 16, 2 * 32 + 32, 32 + 32 + 32
    activations = 3 * (around + projections + rotation + softmax)
    cache = 3 * (10 * 32 + 32)
    assert part.bytes == 2 * (1536 + activations + cache)
    assert part.seconds == pytest.approx(part.bytes / 0.5e6)
    assert part.bound == "memory"


def test_train_traffic_by_hand() -> None:
    # An MLP: 3 x 16 x 24 = 1,152 weights, read twice in bf16; fp32 gradients written once.
    part = block_part(predict_parts(toy(MLP_24), machine(bandwidth=1e6), "train", 2, 5, "bf16"))
    activations = 10 * (5 * 16 + 2 * 16 + 2 * 3 * 24)
    assert part.bytes == 2 * 1152 * 2 + 1152 * 4 + 3 * activations * 2
    assert part.flops == 3 * 10 * 2 * 1152


def test_kernels_by_hand() -> None:
    # Norm, gate, up, activation, down, residual.
    parts = predict_parts(toy(MLP_24), machine(kernel=0.25), "prefill", 2, 5, "bf16")
    assert block_part(parts).kernels == 6
    assert block_part(parts).seconds == pytest.approx(6 * 0.25)
    assert block_part(parts).bound == "kernels"
    assert block_part(predict_parts(toy(MLP_24), machine(kernel=0.25), "train", 2, 5, "bf16")).kernels == 18


def test_optimizer_moves_every_parameter_and_only_training_has_one() -> None:
    architecture = toy(MLP_24)
    names = {mode: [p.name for p in predict_parts(architecture, machine(), mode, 1, 4, "fp32")] for mode in MODES}
    assert names["prefill"] == names["decode"] == ["embedding", "block 0 (mlp)", "head"]
    assert names["train"] == [*names["prefill"], "optimizer"]
    optimizer = predict_parts(architecture, machine(), "train", 1, 4, "fp32")[-1]
    assert optimizer.bytes == 40 * architecture.num_params()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", preset_names())
def test_flops_are_the_architectures_own(name: str, mode) -> None:
    architecture = load_preset(name)
    tokens = 2 * (1 if mode == "decode" else 64)
    flops = sum(part.flops for part in predict_parts(architecture, machine(), mode, 2, 64, "bf16"))
    assert flops == pytest.approx(tokens * architecture.flops_per_token(64, mode), rel=1e-12)


@pytest.mark.parametrize("mode", ["train", "prefill"])
@pytest.mark.parametrize("name", preset_names())
def test_longer_sequences_and_larger_batches_take_longer(name: str, mode) -> None:
    cpu, architecture = Machine.from_yaml("cpu"), load_preset(name)
    by_context = [predict_seconds(architecture, cpu, mode, 2, context, "bf16") for context in (1, 2, 63, 64, 4096)]
    by_batch = [predict_seconds(architecture, cpu, mode, batch, 64, "bf16") for batch in (1, 2, 3, 100)]
    for times in (by_context, by_batch):
        assert all(a < b for a, b in pairwise(times))


@pytest.mark.parametrize("context", [1, 15, 16, 17, 4096])
def test_decoding_grows_with_what_is_seen(context: int) -> None:
    frontier = Machine.from_yaml("frontier")

    def growth(block) -> float:
        now, then = (predict_seconds(toy(block), frontier, "decode", 4, c, "bf16") for c in (context, context + 1))
        return then - now

    assert growth(ATTENTION) > 0
    assert growth(Mamba2(d_state=8, head_dim=8)) == 0
    window = growth(SWA(num_heads=4, num_kv_heads=2, head_dim=8, window=16))
    assert window > 0 if context < 16 else window == 0


def test_fp32_takes_longer_than_bf16_and_a_slower_machine_longer_than_a_faster() -> None:
    architecture = load_preset("llama-3.2-1b")
    seconds = {
        (name, precision): predict_seconds(architecture, Machine.from_yaml(name), "prefill", 8, 2048, precision)
        for name in ("h100", "a100", "frontier", "cpu")
        for precision in ("fp32", "bf16")
    }
    order = [seconds[name, "bf16"] for name in ("h100", "a100", "frontier", "cpu")]
    assert order == sorted(order)
    assert all(seconds[name, "fp32"] > seconds[name, "bf16"] for name in ("h100", "a100", "frontier", "cpu"))


def test_experts_cost_little_to_compute_and_much_to_read() -> None:
    sparse = toy(MoE(n_routed=64, top_k=2, d_expert=24))
    dense = toy(MLP(d_ff=48))
    reads, computes = machine(bandwidth=1e6), machine(flops=1e6)
    ratio = {
        slow.memory_bandwidth.value: block_part(predict_parts(sparse, slow, "decode", 256, 8, "bf16")).seconds
        / block_part(predict_parts(dense, slow, "decode", 256, 8, "bf16")).seconds
        for slow in (reads, computes)
    }
    # Computing: 2 of 64 experts plus the router's 16 x 64. Reading: nearly all 64 experts' weights.
    assert ratio[1e15] == pytest.approx(1 + 16 * 64 / (3 * 16 * 48))
    assert ratio[1e6] > 1.4


def test_frontier_agrees_with_published_training_speed() -> None:
    """22B of arXiv:2312.12705 reaches 73.5 TFLOP/s a GCD with communication; one GCD alone is above that.

    Its shapes are remembered, not found again: 48 layers, width 6144, 48 heads, vocabulary 51,200,
    sequence 2,048.
    """
    layer = (GQA(num_heads=48, num_kv_heads=48, head_dim=128), MLP(d_ff=4 * 6144, activation="gelu"))
    architecture = Architecture(d_model=6144, vocab_size=51200, blocks=layer * 48)
    assert architecture.num_params() == pytest.approx(22e9, rel=0.03)
    seconds = predict_seconds(architecture, Machine.from_yaml("frontier"), "train", 8, 2048, "bf16")
    speed = 8 * 2048 * architecture.flops_per_token(2048, "train") / seconds
    assert 73.5e12 < speed < 0.55 * 191.5e12


@pytest.mark.parametrize("field", ["batch_size", "context"])
def test_no_work_is_refused(field: str) -> None:
    sizes = {"batch_size": 1, "context": 1, field: 0}
    with pytest.raises(ValueError, match=f"{field} is 0"):
        predict_seconds(toy(MLP_24), machine(), "prefill", precision="bf16", **sizes)


def test_arithmetic_and_traffic_overlap() -> None:
    """A roofline: the longer of the two counts, not their sum."""
    both = block_part(predict_parts(toy(MLP_24), machine(flops=1e6, bandwidth=1e6), "prefill", 2, 5, "bf16"))
    assert min(both.flops, both.bytes) > 0.2 * max(both.flops, both.bytes)
    assert both.seconds == pytest.approx(max(both.flops, both.bytes) / 0.5e6)
