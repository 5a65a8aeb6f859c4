"""What every block in the registry must hold; a new kind joins by an entry in CASES."""

import pytest
import torch

from harmony_core import Architecture
from harmony_core.architecture import block_kinds
from harmony_core.models import build, implemented_kinds

WIDTH, VOCAB, BATCH, LENGTH = 32, 29, 2, 21
HEADS = {"num_heads": 4, "head_dim": 8}
LATENT = {"kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 16, "attention_factor": 1.2}
LLAMA3 = {"method": "llama3", "factor": 8.0, "original_context": 16}
EXPERTS = {"n_routed": 5, "d_expert": 12}
CASES = {
    "mha": {"kind": "mha", **HEADS},
    "mha-qk-norm": {"kind": "mha", **HEADS, "qk_norm": True},
    "mqa": {"kind": "mqa", **HEADS},
    "gqa": {"kind": "gqa", **HEADS, "num_kv_heads": 2},
    "gqa-no-positions": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_base": None},
    "gqa-biases": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "bias": True, "out_bias": True, "scale": 0.2},
    "gqa-partial-yarn": {"kind": "gqa", **HEADS, "num_kv_heads": 1, "rope_fraction": 0.5, "rope_scaling": YARN},
    "swa": {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4},
    "swa-wide": {"kind": "swa", **HEADS, "num_kv_heads": 4, "window": 64},
    "swa-llama3": {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "bias": True, "rope_scaling": LLAMA3},
    "mla": {"kind": "mla", **LATENT, "num_heads": 4, "v_head_dim": 6},
    "mla-q-lora": {"kind": "mla", **LATENT, "num_heads": 2, "v_head_dim": 10, "q_lora_rank": 14},
    "mla-biases": {"kind": "mla", **LATENT, "num_heads": 2, "v_head_dim": 8, "q_lora_rank": 10, "bias": True},
    "mla-yarn": {
        "kind": "mla",
        **LATENT,
        "num_heads": 2,
        "v_head_dim": 8,
        "rope_scaling": YARN,
        "scale": 0.5,
        "latent_epsilon": 0.1,
    },
    "mamba2": {"kind": "mamba2", "d_state": 8, "head_dim": 16, "chunk_size": 8},
    "mamba2-groups": {"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "d_conv": 2, "chunk_size": 64},
    "mamba": {"kind": "mamba", "d_state": 4},
    "mamba2-bias": {
        **{"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "norm_groups": 4, "inner_width": 48},
        **{"bias": True, "conv_bias": False, "dt_limit": (0.002, 0.5)},
    },
    "mamba-norms": {"kind": "mamba", "d_state": 4, "inner_norms": True, "dt_rank": 3},
    "mamba-bias": {"kind": "mamba", "d_state": 4, "bias": True, "conv_bias": False},
    "hyena-se": {"kind": "hyena_se", "num_groups": 8},
    "hyena-se-one-group": {"kind": "hyena_se", "num_groups": 1, "filter_length": 30, "short_filter_length": 2},
    "hyena-mr": {"kind": "hyena_mr", "num_groups": 4, "filter_length": 16},
    "hyena-mr-span": {"kind": "hyena_mr", "num_groups": 32, "decay_range": [-2.0, 2.0], "decay_span": 512},
    "hyena-li": {"kind": "hyena_li", "state_size": 4, "chunk_size": 8},
    "hyena-li-one-chunk": {"kind": "hyena_li"},
    "mlp": {"kind": "mlp", "d_ff": 40},
    "mlp-gelu": {"kind": "mlp", "d_ff": 40, "activation": "gelu"},
    "mlp-relu2": {"kind": "mlp", "d_ff": 40, "activation": "relu2"},
    "mlp-geglu": {"kind": "mlp", "d_ff": 40, "activation": "geglu", "bias": True},
    "mlp-bilinear": {"kind": "mlp", "d_ff": 40, "activation": "bilinear"},
    "moe": {"kind": "moe", **EXPERTS, "top_k": 2},
    "moe-shared": {"kind": "moe", **EXPERTS, "top_k": 3, "n_shared": 2, "router": "sigmoid", "balancing": "bias"},
    "moe-groups": {
        "kind": "moe",
        "n_routed": 6,
        "d_expert": 12,
        "top_k": 2,
        "n_groups": 3,
        "top_groups": 2,
        "group_score": "top2",
        "router": "sigmoid",
        "balancing": "bias",
        "routed_scale": 2.5,
        "n_shared": 1,
        "d_shared": 20,
        "shared_bias": True,
        "activation": "relu2",
    },
}


def model_of(*blocks, tie=True, seed=0):
    names = [CASES[block] if isinstance(block, str) else block for block in blocks]
    return build(Architecture(d_model=WIDTH, vocab_size=VOCAB, tie_embeddings=tie, blocks=names), seed)


def draw_tokens(batch=BATCH, length=LENGTH, seed=1):
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def closed_loop(block):
    """A mixer needs something that reads it; a channel mixer needs something that mixes tokens."""
    return model_of(block, "mlp") if block != "m" and not block.startswith(("mlp", "moe")) else model_of("gqa", block)


def test_every_kind_has_a_module_and_a_case():
    assert set(implemented_kinds()) == set(block_kinds())
    assert {case["kind"] for case in CASES.values()} == set(block_kinds())


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("block", CASES)
def test_real_count_is_the_formula(block, tie):
    model = model_of(block, tie=tie)
    assert sum(p.numel() for p in model.parameters()) == model.architecture.num_params()
    assert model.num_params() == model.architecture.num_params()


@pytest.mark.parametrize("block", CASES)
def test_shapes_and_types(block):
    model, tokens = model_of(block), draw_tokens()
    assert model(tokens).shape == (BATCH, LENGTH, VOCAB)
    assert model.hidden(tokens).shape == (BATCH, LENGTH, WIDTH)
    assert model(tokens).dtype == torch.float32
    assert model(tokens[:, :1]).shape == (BATCH, 1, VOCAB)


@pytest.mark.parametrize("block", CASES)
def test_changing_the_future_changes_nothing_before(block):
    model, tokens = closed_loop(block).eval(), draw_tokens()
    changed = tokens.clone()
    changed[:, 13:] = (changed[:, 13:] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :13], after[:, :13], rtol=0, atol=1e-5)
    assert (before[:, 13:] - after[:, 13:]).abs().amax() > 1e-3


@pytest.mark.parametrize("block", [name for name, case in CASES.items() if case["kind"] not in ("mlp", "moe")])
def test_a_mixer_sees_its_past(block):
    model, tokens = model_of(block).eval(), draw_tokens()
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % VOCAB
    with torch.no_grad():
        difference = (model(tokens) - model(changed)).abs().amax(dim=(0, 2))
    assert difference[12] > 1e-6


@pytest.mark.parametrize("block", CASES)
def test_every_parameter_has_a_finite_gradient(block):
    model, tokens = closed_loop(block), draw_tokens(4, 32)
    model.loss(tokens[:, :-1], tokens[:, 1:]).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("block", CASES)
def test_same_seed_same_bits_and_other_seed_other_weights(block):
    first, again, other = model_of(block), model_of(block), model_of(block, seed=1)
    for (name, a), b in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(first.embedding, other.embedding)
    tokens = draw_tokens()
    losses = []
    for model in (first, again):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).total
        loss.backward()
        losses.append(loss)
    assert torch.equal(*losses)
    for (name, a), b in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


@pytest.mark.parametrize("block", CASES)
def test_decoding_agrees_with_the_parallel_form(block):
    model, tokens = closed_loop(block).eval(), draw_tokens()
    state = model.init_state(BATCH, LENGTH)
    with torch.no_grad():
        parallel = model(tokens)
    stepped = torch.stack([model.step(tokens[:, t], state) for t in range(LENGTH)], 1)
    torch.testing.assert_close(stepped, parallel, rtol=1e-4, atol=1e-4)
    assert state.position == LENGTH


@pytest.mark.parametrize("block", CASES)
def test_decoding_memory_is_the_formula(block):
    model = model_of(block)
    config = model.architecture.blocks[0]
    expected = config.kv_cache_elements(LENGTH) + config.state_elements(WIDTH)
    assert model.init_state(3, LENGTH).num_elements() == 3 * expected


@pytest.mark.parametrize("block", CASES)
def test_bf16_autocast_is_close(block):
    model, tokens = closed_loop(block), draw_tokens(4, 32)
    losses, gradients = [], []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model.loss(tokens[:, :-1], tokens[:, 1:]).total
        loss.backward()
        assert loss.dtype == torch.float32
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize("block", CASES)
def test_decoding_under_autocast_follows_the_parallel_form(block):
    model, tokens = closed_loop(block).eval(), draw_tokens()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parallel = model(tokens)
        state = model.init_state(BATCH, LENGTH)
        stepped = torch.stack([model.step(tokens[:, t], state) for t in range(LENGTH)], 1)
    # On average: where two experts are nearly tied, one rounding may choose the other.
    assert (stepped.float() - parallel.float()).abs().mean() < 0.02


@pytest.mark.parametrize("block", CASES)
def test_another_block_changed_leaves_these_weights_alone(block):
    original, mutated = model_of("gqa", block, "mlp"), model_of("gqa", block, "mamba2")
    kept = dict(mutated.named_parameters())
    for name, parameter in original.named_parameters():
        if not name.startswith("blocks.2."):
            assert torch.equal(parameter, kept[name]), name


@pytest.mark.parametrize("block", CASES)
def test_a_step_of_adamw_lowers_the_loss(block):
    model, tokens = closed_loop(block), draw_tokens(4, 32)
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2, 0.1), fused=True)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.loss(tokens[:, :-1], tokens[:, 1:]).total
        loss.backward()
        optimizer.step()
        model.after_step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.parametrize("block", CASES)
def test_inference_mode_first_leaves_training_possible(block):
    model, tokens = closed_loop(block), draw_tokens(length=17 + len(block))
    with torch.inference_mode():
        model(tokens)
    model.loss(tokens, tokens).total.backward()
    assert model.embedding.grad is not None
