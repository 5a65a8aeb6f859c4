"""Predicted memory against the tensors that the modules really keep, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks.live_memory import LiveBytes, most_live_bytes
from benchmarks.step_memory import predict_memory_bytes
from harmony_core.architecture import Architecture, Block, MoE
from harmony_core.architecture.block import block_from_dict
from harmony_core.architecture.presets import load_preset
from harmony_core.machines.activations import kept_bytes
from harmony_core.machines.blocks import Shape
from harmony_core.machines.machine import Precision
from harmony_core.models import build
from harmony_core.models.kernels import scan_chunk
from harmony_core.models.ops import feed_forward
from harmony_core.models.ops.attention import blocked_plan
from harmony_core.models.ops.moe import experts
from harmony_core.models.ops.moe.assignments import sort_into_slices
from harmony_core.models.ops.moe.grouped_experts import grouped_product_reference
from harmony_core.tiling import KEPT_KEYS, SCAN_CHUNK, aligned_rows, keys_seen, pairs_together, query_block
from harmony_core.training.recipe import Recipe

BATCH, CONTEXT, WIDTH = 4, 192, 96
KINDS = {
    "mha": {"num_heads": 4, "head_dim": 32},
    "mqa": {"num_heads": 4, "head_dim": 16, "qk_norm": True},
    "gqa": {"num_heads": 6, "num_kv_heads": 2, "head_dim": 64},
    "swa": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "window": 32},
    "mla": {
        "num_heads": 4,
        "kv_lora_rank": 48,
        "q_lora_rank": 64,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 32,
    },
    "mamba2": {"d_state": 32, "head_dim": 32, "n_groups": 2},
    "parallel": {
        "attention": {"num_heads": 4, "head_dim": 32, "num_kv_heads": 2},
        "ssm": {"d_state": 32, "head_dim": 32, "n_groups": 2},
    },
    "gated_deltanet": {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 32, "value_head_dim": 32},
    "kda": {"num_heads": 4, "head_dim": 32, "gate_rank": 16},
    "short_conv": {"kernel_size": 4, "bias": True},
    "hyena_se": {"num_groups": 8, "filter_length": 7},
    "hyena_mr": {"num_groups": 8, "filter_length": 64},
    "hyena_li": {"state_size": 8},
    "mlp": {"d_ff": 256},
    "moe": {"n_routed": 8, "top_k": 2, "d_expert": 96, "n_shared": 1},
}
# Of the mixture some of the router's small tensors are left out.
TOLERANCE = {"moe": 0.04}


def block_of(kind: str) -> Block:
    return block_from_dict({"kind": kind, **KINDS[kind]})


def kept_by_the_module(block: Block, precision: Precision) -> int:
    """Bytes that are alive after a block's forward pass and were not before, its input for its output."""
    module = build(Architecture(d_model=WIDTH, vocab_size=2, blocks=(block,))).blocks[0]
    with LiveBytes() as counter:
        for parameter in module.parameters():
            counter.count(parameter)
        x = torch.randn(BATCH, CONTEXT, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
        # Tables and masks that are made once and stay.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            module(x)
            before = counter.live
            y = module(x)
        assert y[0].nbytes == x.nbytes
        return counter.live - before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_kept_bytes_are_the_modules_own(kind: str, precision: Precision) -> None:
    block = block_of(kind)
    shape = Shape(WIDTH, BATCH, CONTEXT, 2 if precision == "bf16" else 4)
    assert kept_bytes(block, shape) == pytest.approx(
        kept_by_the_module(block, precision), rel=TOLERANCE.get(kind, 0.02)
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "kinds",
    [
        ("mha", "mlp", "mamba2", "moe"),
        ("hyena_se", "mlp", "mla", "moe"),
        ("gated_deltanet", "mlp", "gated_deltanet", "mlp"),
        ("kda", "mlp", "kda", "moe"),
        ("short_conv", "mlp", "gqa", "moe"),
        ("parallel", "mlp", "parallel", "moe"),
        ("swa", "moe", "hyena_li", "mlp", "gqa", "mlp"),
    ],
)
def test_a_steps_memory_is_predicted_within_six_hundredths(kinds: tuple[str, ...], precision: Precision) -> None:
    architecture = Architecture(d_model=WIDTH, vocab_size=256, blocks=tuple(block_of(kind) for kind in kinds))
    recipe = Recipe(batch_size=BATCH, sequence_length=CONTEXT, precision=precision)
    rows_BT = np.random.default_rng(0).integers(0, 256, (BATCH, CONTEXT + 1))
    predicted = predict_memory_bytes(architecture, "train", BATCH, CONTEXT, precision)
    assert predicted == pytest.approx(most_live_bytes(architecture, recipe, rows_BT), rel=0.06)


MULTIPLIERS = {"multipliers": (0.6, 0.25, 0.8, 0.5, 1.4)}
IN_FACTORS = {"attention_in_multiplier": 0.7, "ssm_in_multiplier": 1.25}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mamba2", {"norm": "none", **MULTIPLIERS}),
        ("mamba2", {"norm": "norm_first", **MULTIPLIERS}),
        ("mamba2", MULTIPLIERS),
        ("parallel", {**IN_FACTORS, "attention_out_multiplier": 0.9, "ssm_out_multiplier": 0.3}),
        ("parallel", {"ssm_in_multiplier": 1.25}),
        ("mlp", {"gate_multiplier": 0.5, "out_multiplier": 0.3}),
    ],
    ids=["no norm", "norm first", "multipliers", "factors", "one factor", "mlp"],
)
def test_norms_and_factors_keep_what_is_counted(kind: str, options: dict[str, object], precision: Precision) -> None:
    block = block_from_dict({"kind": kind, **KINDS[kind], **options})
    shape = Shape(WIDTH, BATCH, CONTEXT, 2 if precision == "bf16" else 4)
    assert kept_bytes(block, shape) == pytest.approx(kept_by_the_module(block, precision), rel=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", [{"d_latent": 32}, {"d_latent": 192, "latent_bias": True}])
def test_latent_experts_keep_rows_of_their_width(options: dict[str, object], precision: Precision) -> None:
    block = block_from_dict({"kind": "moe", **KINDS["moe"], **options})
    shape = Shape(WIDTH, BATCH, CONTEXT, 2 if precision == "bf16" else 4)
    assert kept_bytes(block, shape) == pytest.approx(kept_by_the_module(block, precision), rel=TOLERANCE["moe"])


def test_fused_attention_keeps_no_scores() -> None:
    block = block_of("mha")
    plain, fused = (Shape(WIDTH, BATCH, CONTEXT, 2, fused) for fused in (False, True))
    scores = 4 * keys_seen(query_block(1, 32, CONTEXT, None, 2), CONTEXT, None)
    assert kept_bytes(block, plain) - kept_bytes(block, fused) == 2 * BATCH * CONTEXT * scores
    long = [Shape(WIDTH, 1, tokens, 2, f) for tokens in (KEPT_KEYS, KEPT_KEYS + 1) for f in (False, True)]
    kept = [kept_bytes(block, shape) for shape in long]
    assert kept[0] > kept[1]
    assert kept[2] == kept[3]


def test_grouped_experts_keep_the_projection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's path, with the plain reference in place of its kernel: neither rows nor opened gates are kept."""
    monkeypatch.setattr(experts, "grouped_product", lambda *_: grouped_product_reference)
    monkeypatch.setattr(feed_forward, "keeps_opened_gates", lambda _: False)
    block = block_of("moe")
    predicted = kept_bytes(block, Shape(WIDTH, BATCH, CONTEXT, 2, fused=True))
    assert predicted == pytest.approx(kept_by_the_module(block, "bf16"), rel=0.04)


def test_training_without_activations_is_weights_moments_and_gradients() -> None:
    architecture = load_preset("llama-3.2-1b")
    states = 16 * architecture.num_params()
    assert states < predict_memory_bytes(architecture, "train", 1, 1, "fp32") < 1.01 * states
    # Logits are never there as a whole, so a longer batch adds what the blocks keep and not the vocabulary.
    added = predict_memory_bytes(architecture, "train", 1, 4096, "fp32", fused=True) - states
    assert added < 4096 * 4 * 3 * architecture.vocab_size


def shapes() -> Iterator[tuple[int, int, int, int, int | None]]:
    for heads, groups in ((4, 4), (8, 2), (4, 1), (2, 2)):
        for width in (16, 32, 64):
            for length in (64, 200, 256, 512):
                for window in (None, 32, 128):
                    yield heads, groups, width, length, window


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_query_blocks_are_cut_as_the_models_cut_them(dtype: torch.dtype) -> None:
    for heads, groups, width, length, window in shapes():
        q = torch.empty(1, length, heads, width)
        plan = blocked_plan.make_plan(q, groups, window, dtype, True)
        rows = query_block(heads // groups, width, length, window, dtype.itemsize)
        assert rows == plan.tokens
        assert pairs_together(heads // groups, width, length, window, dtype.itemsize) == plan.pairs
        scores = sum((end - start) * (end - first) for first, start, end in plan.blocks(length))
        if window is None or window < length:
            assert keys_seen(rows, length, window) * length == pytest.approx(scores)


def test_other_cuts_are_the_models_own() -> None:
    assert scan_chunk("cpu", 10**9) == SCAN_CHUNK
    chosen = torch.stack([torch.randperm(8, generator=torch.Generator().manual_seed(i))[:2] for i in range(1024)])
    assigned, _ = sort_into_slices(chosen, None, 8)
    assert len(assigned.token_A) == pytest.approx(aligned_rows(1024, 2, 8), rel=0.06)
    assert len(assigned.token_A) > 2048


def test_unknown_kind_is_told_where_to_go() -> None:
    class Odd(MoE.__base__):  # type: ignore[name-defined, misc]
        kind = "odd"

    with pytest.raises(TypeError, match=r"'odd'.*machines/blocks/"):
        kept_bytes(Odd(), Shape(8, 1, 8, 4))
