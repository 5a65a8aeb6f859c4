"""The router: choices, weights and gradients, beside the definition and beside the public models' own routers."""

import pytest
import torch

from harmony_core.architecture import MoE
from harmony_core.models.ops.moe.routing import route, route_reference
from harmony_core.models.parameter import initialise
from harmony_core.models.router import Router

WIDTH = 16
GROUPS = {"n_groups": 4, "top_groups": 2}
OPTIONS = {
    "plain": {},
    "unnormalised": {"normalize_top_k": False},
    "scaled": {"routed_scale": 2.5},
    "sigmoid": {"router": "sigmoid", "routed_scale": 0.5},
    "bias": {"router": "sigmoid", "balancing": "bias"},
    "groups": {**GROUPS, "normalize_top_k": False, "routed_scale": 16.0},
    "groups-of-two": {**GROUPS, "router": "sigmoid", "balancing": "bias", "group_score": "top2", "routed_scale": 2.5},
    "groups-max-bias": {**GROUPS, "router": "sigmoid", "balancing": "bias"},
    "one-group": {"n_groups": 4, "top_groups": 1, "top_k": 2, "group_score": "top2"},
    "all-groups": {"n_groups": 4, "top_groups": 4, "group_score": "top2"},
    "one-expert": {"top_k": 1},
    "every-expert": {"top_k": 12},
}


def config_of(**options):
    return MoE(**{"n_routed": 12, "top_k": 3, "d_expert": 8, "balancing": "none", **options})


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores_of(logits, config):
    return logits.softmax(-1) if config.router == "softmax" else logits.sigmoid()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_route_is_the_definition(options):
    config = config_of(**options)
    logits, bias, dy = draw(2, 9, 12).requires_grad_(), 0.4 * draw(12, seed=1), draw(2, 9, config.top_k, seed=2)
    weights, chosen = route(scores_of(logits, config), bias, config)
    (gradient,) = torch.autograd.grad(weights, logits, dy)
    rows = [route_reference(row, bias, config) for row in logits.flatten(0, 1)]
    assert chosen.flatten(0, 1).tolist() == [experts for _, experts in rows]
    expected = torch.stack([weights for weights, _ in rows]).view_as(weights)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits, dy)[0], rtol=1e-4, atol=1e-6)


def test_groups_change_choices():
    logits = draw(50, 12)
    free = config_of(top_k=4, router="sigmoid")
    chosen = {"free": route(logits.sigmoid(), torch.zeros(12), free)[1]}
    for score in ("max", "top2"):
        config = config_of(**GROUPS, top_k=4, router="sigmoid", group_score=score)
        chosen[score] = route(logits.sigmoid(), torch.zeros(12), config)[1]
        assert all(len({expert // 3 for expert in row}) <= 2 for row in chosen[score].tolist())
    assert not torch.equal(chosen["free"], chosen["max"])
    assert not torch.equal(chosen["max"], chosen["top2"])


def test_a_negative_preference_stays_inside_its_groups():
    config = config_of(**GROUPS, router="sigmoid", balancing="bias", group_score="top2")
    logits, bias = draw(20, 12), torch.full((12,), -5.0)
    _, chosen = route(logits.sigmoid(), bias, config)
    assert chosen.tolist() == [route_reference(row, bias, config)[1] for row in logits]


def test_scores_that_vanish_give_no_nan():
    config = config_of(router="sigmoid")
    logits = torch.full((1, 12), -200.0, requires_grad=True)
    weights, _ = route(logits.sigmoid(), torch.zeros(12), config)
    assert torch.equal(weights, torch.zeros(1, 3))
    assert torch.autograd.grad(weights.sum(), logits)[0].isfinite().all()


def router_of(**options):
    router = Router(config_of(**options), WIDTH)
    initialise(router, 0, 1)
    router.bias_E.copy_(0.3 * draw(12, seed=4))
    return router


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_router_gradients_are_autograds(options):
    router, x = router_of(**options), draw(2, 7, WIDTH, seed=3).requires_grad_()
    dy = draw(2, 7, router.config.top_k, seed=5)
    inputs = (x, router.weight)
    fast = router(x)[0]
    rows = [route_reference(router.weight @ token, router.bias_E, router.config)[0] for token in x.flatten(0, 1)]
    plain = torch.stack(rows).view_as(fast)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    for got, expected in zip(
        torch.autograd.grad(fast, inputs, dy), torch.autograd.grad(plain, inputs, dy), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("router", ["softmax", "sigmoid"])
def test_balancing_loss_is_its_equation(router):
    module, x = router_of(router=router, balancing="aux", aux_coefficient=0.3), draw(2, 7, WIDTH).requires_grad_()
    _, chosen, auxiliary = module(x)
    scores = scores_of(x @ module.weight.T, module.config)
    losses = []
    for sequence, experts in zip(scores, chosen, strict=True):
        shares = sequence / sequence.sum(-1, keepdim=True)
        counts = [(experts == expert).sum() * 12 / (3 * 7) for expert in range(12)]
        losses.append(sum(count * shares[:, expert].mean() for expert, count in enumerate(counts)))
    expected = 0.3 * torch.stack(losses).mean()
    torch.testing.assert_close(auxiliary, expected)
    for got, want in zip(
        torch.autograd.grad(auxiliary, (x, module.weight)),
        torch.autograd.grad(expected, (x, module.weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


def test_scores_are_fp32_under_autocast():
    router, x = router_of(), draw(2, 7, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        weights, chosen, _ = router(x)
    expected = router(x)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, expected[0])
    assert torch.equal(chosen, expected[1])


HF_ROUTERS = {
    "mixtral": ("MixtralConfig", "mixtral", "MixtralTopKRouter", {"num_local_experts": 12}, {}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        "qwen3_moe",
        "Qwen3MoeTopKRouter",
        {"num_experts": 12, "norm_topk_prob": True},
        {},
    ),
    "qwen3_moe-unnormalised": (
        "Qwen3MoeConfig",
        "qwen3_moe",
        "Qwen3MoeTopKRouter",
        {"num_experts": 12, "norm_topk_prob": False},
        {"normalize_top_k": False},
    ),
    "jamba": ("JambaConfig", "jamba", "JambaTopKRouter", {"num_experts": 12}, {"normalize_top_k": False}),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        "granitemoehybrid",
        "GraniteMoeHybridTopKRouter",
        {"num_local_experts": 12, "mamba_n_heads": 4},
        {},
    ),
    "deepseek_v2-greedy": (
        "DeepseekV2Config",
        "deepseek_v2",
        "DeepseekV2TopkRouter",
        {"n_routed_experts": 12, "topk_method": "greedy", "routed_scaling_factor": 2.0},
        {"normalize_top_k": False, "routed_scale": 2.0},
    ),
    "deepseek_v2": (
        "DeepseekV2Config",
        "deepseek_v2",
        "DeepseekV2TopkRouter",
        {
            "n_routed_experts": 12,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "routed_scaling_factor": 16.0,
        },
        {**GROUPS, "normalize_top_k": False, "routed_scale": 16.0},
    ),
    **{
        f"{family}-{norm}": (
            config,
            family,
            cls,
            {
                "n_routed_experts": 12,
                "n_group": 4,
                "topk_group": 2,
                "norm_topk_prob": norm,
                "routed_scaling_factor": 2.5,
            },
            {
                **GROUPS,
                "router": "sigmoid",
                "balancing": "bias",
                "group_score": "top2",
                "normalize_top_k": norm,
                "routed_scale": 2.5,
            },
        )
        for family, config, cls in (
            ("deepseek_v3", "DeepseekV3Config", "DeepseekV3TopkRouter"),
            ("nemotron_h", "NemotronHConfig", "NemotronHTopkRouter"),
        )
        for norm in (True, False)
    },
}


@pytest.mark.parametrize("family", HF_ROUTERS)
def test_router_of_a_public_model(family):
    transformers = pytest.importorskip("transformers")
    config_name, module, cls, theirs, ours = HF_ROUTERS[family]
    config = getattr(transformers, config_name)(
        hidden_size=WIDTH, num_attention_heads=4, num_experts_per_tok=3, **theirs
    )
    source = pytest.importorskip(f"transformers.models.{module}.modeling_{module}")
    router, peer = router_of(**ours), getattr(source, cls)(config)
    with torch.no_grad():
        peer.weight.copy_(router.weight)
        if hasattr(peer, "e_score_correction_bias"):
            peer.e_score_correction_bias.copy_(router.bias_E)
    x = draw(40, WIDTH, seed=6).requires_grad_()
    _, weights, chosen = peer(x)
    got, experts, _ = router(x.unsqueeze(0))
    order, peer_order = experts[0].argsort(-1), chosen.argsort(-1)
    assert torch.equal(experts[0].gather(-1, order), chosen.gather(-1, peer_order))
    got, weights = got[0].gather(-1, order), weights.gather(-1, peer_order)
    torch.testing.assert_close(got, weights, rtol=1e-5, atol=1e-6)
    dy = draw(40, 3, seed=8)
    gradients = [torch.autograd.grad(y, x, dy)[0] for y in (got, weights)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
