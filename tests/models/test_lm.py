"""The language model around the blocks: loss, groups, balancing, decoding's limits, initialisation."""

import logging
import math

import pytest
import torch

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.models import build, keep_freed_memory, kernels
from harmony_core.models.parameter import declared_parameters
from harmony_core.parametrisation import Parametrisation
from tests.models.comparison import routers

MIXTURE = {"kind": "moe", "n_routed": 4, "top_k": 2, "d_expert": 8}
ATTENTION = {"kind": "mha", "num_heads": 2, "head_dim": 16}


def model_of(*blocks, tie=True, width=32, vocab=40):
    return build(Architecture(d_model=width, vocab_size=vocab, tie_embeddings=tie, blocks=blocks))


def draw_tokens(batch=2, length=24):
    return torch.randint(40, (batch, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tie", [True, False])
def test_loss_is_the_cross_entropy_of_the_logits(tie):
    model, tokens = model_of(ATTENTION, tie=tie), draw_tokens()
    logits = model(tokens)
    terms = model.loss(tokens, tokens)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    assert terms.cross_entropy.item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms.auxiliary.item() == 0
    assert terms.total.item() == terms.cross_entropy.item()
    grads = []
    for loss in (terms.total, expected):
        model.zero_grad()
        loss.backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


def test_first_loss_is_near_uniform():
    model, tokens = model_of(ATTENTION, {"kind": "mlp", "d_ff": 64}), draw_tokens()
    assert model.loss(tokens, tokens.roll(1)).cross_entropy.item() == pytest.approx(math.log(40), abs=0.2)


def test_an_even_router_costs_its_coefficient():
    model = model_of({**MIXTURE, "n_routed": 2, "top_k": 2, "aux_coefficient": 0.25})
    tokens = draw_tokens()
    assert model.loss(tokens, tokens).auxiliary.item() == pytest.approx(0.25, rel=1e-4)


def test_auxiliary_loss_is_per_sequence():
    model, tokens = model_of(MIXTURE), draw_tokens(batch=4)
    together = model.loss(tokens, tokens).auxiliary
    apart = torch.stack([model.loss(row, row).auxiliary for row in tokens.split(1)]).mean()
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)


def test_auxiliary_loss_reaches_the_router():
    model, tokens = model_of(MIXTURE), draw_tokens()
    model.loss(tokens, tokens).auxiliary.backward()
    assert model.blocks[0].inner.router.weight.grad.abs().sum() > 0


def test_bias_moves_against_the_load_and_not_the_weights():
    model, tokens = model_of({**MIXTURE, "balancing": "bias", "bias_update_rate": 0.5, "top_k": 1}), draw_tokens()
    router = model.blocks[0].inner.router
    model.loss(tokens, tokens)
    counts = router.counts_E.clone()
    assert counts.sum() == tokens.numel()
    model.after_step()
    assert torch.equal(router.bias_E, 0.5 * torch.sign(counts.mean() - counts))
    torch.testing.assert_close(model.router_load()[0], counts / counts.sum())
    assert model.load_imbalance() == pytest.approx(float(counts.max() / counts.mean()))
    assert router.counts_E.sum() == 0
    model.eval()
    model.loss(tokens, tokens)
    model.after_step()
    assert torch.equal(router.bias_E, 0.5 * torch.sign(counts.mean() - counts))
    router.bias_E.copy_(torch.tensor([100.0, 0, 0, 0]))
    weights, chosen, _ = router(model.blocks[0].norm(torch.randn(1, 5, 32)))
    assert (chosen == 0).all()
    assert (weights <= 1).all()


def test_bias_follows_the_load_of_all_ranks():
    """Of two mixtures, to whose counts the other ranks add what turns both around; all in one exchange."""
    biased = {**MIXTURE, "balancing": "bias", "bias_update_rate": 0.5}
    model, tokens = model_of(biased, biased), draw_tokens()
    model.loss(tokens, tokens)
    others = torch.tensor([1000.0, 0, 0, 0, 0, 0, 0, 1000.0])
    model.after_step(lambda counts: counts.add_(others))
    first, second = routers(model)
    assert torch.sign(first.bias_E).tolist() == [-1, 1, 1, 1]
    assert torch.sign(second.bias_E).tolist() == [1, 1, 1, -1]
    assert first.load_E[0] > 0.8 < second.load_E[3]
    assert first.counts_E.sum() == second.counts_E.sum() == 0


def test_a_full_state_says_so():
    model = model_of(ATTENTION)
    state = model.init_state(1, 2)
    for _ in range(2):
        model.step(torch.tensor([1]), state)
    with pytest.raises(UserError, match="max_context: 2"):
        model.step(torch.tensor([1]), state)


def test_groups_hold_every_parameter_once_and_decay_matrices_alone():
    model = model_of(ATTENTION, {"kind": "mamba2", "d_state": 8, "head_dim": 16}, {"kind": "mamba"}, MIXTURE, tie=False)
    groups = model.parameter_groups(1e-3, 0.1)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    assert decayed >= {"blocks.0.inner.qkv", "blocks.3.inner.up", "blocks.3.inner.router.weight", "head"}
    spared = set(names) - decayed
    assert spared >= {"embedding", "norm.weight", "blocks.2.inner.a_log", "blocks.2.inner.dt_proj"}
    assert {f"blocks.1.inner.{n}" for n in ("a_log", "dt_bias", "skip", "conv", "conv_bias", "norm.weight")} <= spared
    assert all(group["lr"] == 1e-3 for group in groups)


def rates_of(model, *arguments):
    rates = {}
    for group in model.parameter_groups(1e-2, 0.1, *arguments):
        assert group["lr"] == pytest.approx(1e-2 * group["lr_multiplier"])
        rates |= dict.fromkeys(group["names"], group["lr"])
    return rates


def test_mup_scales_matrices_with_the_width():
    model = model_of(ATTENTION, {"kind": "mlp", "d_ff": 64})
    rates = rates_of(model, "mup", 128)
    assert rates["blocks.0.inner.qkv"] == rates["blocks.1.inner.down"] == pytest.approx(1e-2 * 128 / 32)
    assert rates["embedding"] == rates["blocks.0.norm.weight"] == 1e-2


def test_mup_changes_nothing_at_the_base_width():
    model = model_of(ATTENTION, {"kind": "mlp", "d_ff": 64}, MIXTURE, tie=False)
    assert rates_of(model, "mup", 32) == rates_of(model, "none", 128)


def test_a_parametrisation_says_how_large_weights_start_and_how_fast_each_group_learns():
    chosen = Parametrisation(
        embedding_std=0.5, residual_gain=0.25, residual_rate=3.0, embedding_rate=2.0, vector_rate=0.5
    )
    model = model_of(ATTENTION, {"kind": "mlp", "d_ff": 64})
    rates = rates_of(model, "none", 128, chosen)
    assert rates["embedding"] == 2e-2
    assert rates["blocks.0.norm.weight"] == 5e-3
    assert rates["blocks.0.inner.qkv"] == 1e-2
    assert rates["blocks.0.inner.out"] == rates["blocks.1.inner.down"] == pytest.approx(3e-2)
    plain, scaled = build(model.architecture, 3), build(model.architecture, 3, chosen)
    assert scaled.embedding.std().item() == pytest.approx(0.5, rel=0.1)
    assert torch.equal(scaled.blocks[0].inner.qkv, plain.blocks[0].inner.qkv)
    assert scaled.blocks[1].inner.down.std().item() == pytest.approx(0.25 / 2**0.5 / 8, rel=0.1)
    silent = build(model.architecture, 3, Parametrisation(residual_gain=0.0))
    tokens = torch.arange(6).view(1, 6)
    torch.testing.assert_close(silent.hidden(tokens), silent.norm(silent.embed(tokens)))


def test_initial_scales():
    model = model_of(ATTENTION, {"kind": "mlp", "d_ff": 512}, MIXTURE, width=256, vocab=500)
    spread = {name: parameter.std().item() for name, parameter in model.named_parameters()}
    residual = 1 / math.sqrt(2 * 3)
    assert spread["embedding"] == pytest.approx(0.02, rel=0.05)
    assert spread["blocks.0.inner.qkv"] == pytest.approx(1 / 16, rel=0.05)
    assert spread["blocks.1.inner.down"] == pytest.approx(residual / math.sqrt(512), rel=0.05)
    assert spread["blocks.2.inner.down"] == pytest.approx(residual / math.sqrt(8), rel=0.05)


def test_step_sizes_and_decays_begin_where_mamba_begins_them():
    model = model_of({"kind": "mamba2", "d_state": 8, "head_dim": 1}, {"kind": "mamba", "d_state": 4})
    for index in (0, 1):
        dt = torch.nn.functional.softplus(model.blocks[index].inner.dt_bias)
        assert 1e-3 * 0.99 <= dt.min() < 5e-3
        assert 2e-2 < dt.max() <= 0.1 * 1.01
    a = model.blocks[0].inner.a_log.exp()
    assert a.min() >= 1
    assert a.max() <= 16
    torch.testing.assert_close(model.blocks[1].inner.a_log.exp()[5], torch.tensor([1.0, 2, 3, 4]))


def test_an_expert_is_drawn_by_its_number():
    few, many = model_of(MIXTURE), model_of({**MIXTURE, "n_routed": 6})
    assert torch.equal(few.blocks[0].inner.up, many.blocks[0].inner.up[:4])
    assert not torch.equal(few.blocks[0].inner.up[0], few.blocks[0].inner.up[1])


def test_chunk_size_does_not_change_the_model():
    tokens = draw_tokens(length=50)
    outputs = [model_of({"kind": "mamba2", "d_state": 8, "head_dim": 16, "chunk_size": q})(tokens) for q in (3, 16, 64)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs[0], outputs[2], rtol=1e-4, atol=1e-4)


def test_no_two_parameters_share_their_draw():
    model = model_of(ATTENTION, ATTENTION, {"kind": "mlp", "d_ff": 32, "activation": "gelu"})
    first, second, mlp = (block.inner for block in model.blocks)
    assert not torch.equal(first.qkv, second.qkv)
    assert not torch.allclose(mlp.up * math.sqrt(1 / 6), mlp.down, atol=1e-3)


def test_every_declared_name_is_a_parameter():
    model = model_of(ATTENTION, MIXTURE)
    assert [name for name, _, _ in declared_parameters(model)] == [name for name, _ in model.named_parameters()]


def test_state_dict_restores_the_balancing_bias_with_the_weights():
    model, other = model_of({**MIXTURE, "balancing": "bias"}), model_of({**MIXTURE, "balancing": "bias"})
    model.blocks[0].inner.router.bias_E.fill_(3.0)
    other.load_state_dict(model.state_dict())
    assert other.blocks[0].inner.router.bias_E.tolist() == [3.0] * 4


def test_kernel_paths_name_each_kind_and_are_logged_once(caplog):
    kernels.log_paths.cache_clear()
    model, tokens = model_of(ATTENTION, MIXTURE, ATTENTION), draw_tokens()
    assert [path.split(":")[0] for path in model.kernel_paths()] == ["mha", "moe"]
    with caplog.at_level(logging.INFO, logger="harmony_core.models.kernels"):
        model(tokens)
        model(tokens)
    assert len(caplog.records) == 1


def test_no_vendor_kernel_on_a_cpu():
    assert kernels.ssd_kernel("cpu") is kernels.conv_kernel("cpu", 4) is None
    assert kernels.selective_scan_kernel("cpu", 16) is None
    assert kernels.window_kernel("cpu", 64) is kernels.grouped_product("cpu", torch.bfloat16, (64, 64)) is None


def test_allocator_answers():
    assert keep_freed_memory() in (True, False)
