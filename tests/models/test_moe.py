"""The mixture of experts as a module: parameters, shared network, capacity, decoding, and public models' blocks."""

import math

import pytest
import torch
from torch.nn.functional import linear

from harmony_core.architecture import MoE
from harmony_core.models.moe import MoEModule
from harmony_core.models.ops.activation import activate_reference
from harmony_core.models.ops.moe import experts
from harmony_core.models.ops.moe.routing import route_reference
from harmony_core.models.parameter import initialise
from harmony_core.testing.contract import noted_reads

WIDTH = 16
CASES = {
    "mixtral": {},
    "shared": {"n_shared": 2},
    "shared-width": {"n_shared": 1, "d_shared": 20, "activation": "relu2", "router": "sigmoid"},
    "shared-bias": {"n_shared": 1, "shared_bias": True, "activation": "geglu"},
    "groups": {"n_groups": 2, "top_groups": 1, "routed_scale": 3.0, "normalize_top_k": False},
    "biases": {"expert_bias": True, "router_bias": True, "activation": "clamped_swiglu", "capacity_factor": 0.7},
    "biases-latent": {"expert_bias": True, "d_latent": 10, "activation": "relu2"},
    "latent": {"d_latent": 10, "latent_bias": True, "n_shared": 1, "activation": "relu2"},
    "wide-latent": {"d_latent": 20},
    "capacity": {"capacity_factor": 0.6, "n_shared": 1, "activation": "gelu"},
    "wide-capacity": {"capacity_factor": 1.25, "activation": "bilinear"},
}


def config_of(**options):
    return MoE(**{"n_routed": 6, "top_k": 2, "d_expert": 12, "balancing": "none", **options})


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module_of(**options):
    module = MoEModule(config_of(**options), WIDTH, 1e-5)
    initialise(module, 0, 1)
    with torch.no_grad():
        latent = (
            module.latent_down_bias,
            module.latent_up_bias,
            module.up_bias,
            module.down_bias,
            module.router.logit_bias,
        )
        for bias in (module.shared_up_bias, module.shared_down_bias, *latent):
            if bias is not None:
                bias.copy_(draw(*bias.shape, seed=9))
    return module


def by_hand(module, x):
    """Token by token, in order, with a count of what each expert has taken from the sequence."""
    config = module.config
    limit = math.inf
    if config.capacity_factor is not None:
        limit = math.ceil(config.capacity_factor * x.shape[1] * config.top_k / config.n_routed)
    sequences = []
    for sequence in x:
        taken, rows = [0] * config.n_routed, []
        for token in sequence:
            read = token if module.latent_down is None else linear(token, module.latent_down, module.latent_down_bias)
            y = torch.zeros_like(read)
            weights, chosen = route_reference(
                linear(token, module.router.weight, module.router.logit_bias), module.router.bias_E, config
            )
            for weight, expert in zip(weights, chosen, strict=True):
                taken[expert] += 1
                if taken[expert] <= limit:
                    biases = (0, 0) if module.up_bias is None else (module.up_bias[expert], module.down_bias[expert])
                    y = y + weight * network(read, module.up[expert], module.down[expert], config.activation, biases)
            if module.latent_up is not None:
                y = linear(y, module.latent_up, module.latent_up_bias)
            if module.shared_up is not None:
                biases = (module.shared_up_bias, module.shared_down_bias)
                y = y + network(token, module.shared_up, module.shared_down, config.activation, biases)
            rows.append(y)
        sequences.append(torch.stack(rows))
    return torch.stack(sequences)


def network(x, up, down, activation, biases=(None, None)):
    up_bias, down_bias = (0 if bias is None else bias for bias in biases)
    return down @ activate_reference(up @ x + up_bias, activation) + down_bias


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_module_is_the_loop_over_tokens(options):
    module, x = module_of(**options), draw(3, 13, WIDTH, seed=1).requires_grad_()
    fast, plain = module(x), by_hand(module, x)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    dy = draw(3, 13, WIDTH, seed=2)
    inputs = (x, *module.parameters())
    got, expected = (torch.autograd.grad(y, inputs, dy) for y in (fast, plain))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_parameters_are_the_counted_ones(options):
    module = module_of(**options)
    assert sum(p.numel() for p in module.parameters()) == module.config.num_params(WIDTH)
    names = {name for name, _ in module.named_parameters()}
    assert names >= {"router.weight", "up", "down"}
    assert {"shared_up", "shared_down"} <= names or module.shared_up is module.shared_down is None
    biases = {"shared_up_bias", "shared_down_bias"}
    assert biases <= names if module.config.shared_bias else module.shared_up_bias is module.shared_down_bias is None
    if module.config.n_shared:
        assert module.shared_down.shape == (WIDTH, module.config.shared_width)


@pytest.mark.parametrize("options", [o for o in CASES.values() if "capacity_factor" not in o])
def test_steps_are_forward_where_nothing_is_dropped(options):
    module, x = module_of(**options).eval(), draw(2, 9, WIDTH)
    with torch.no_grad():
        stepped = torch.stack([module.step(x[:, t], {}, t) for t in range(9)], 1)
        torch.testing.assert_close(stepped, module(x), rtol=1e-4, atol=1e-5)


def test_capacity_drops_in_forward_and_prefill_but_never_in_a_step():
    tight, free = module_of(capacity_factor=0.5).eval(), module_of().eval()
    x = draw(2, 18, WIDTH)
    with torch.no_grad():
        dropped, whole = tight(x), free(x)
        assert torch.equal(tight.prefill(x, {}), dropped)
        stepped = torch.stack([tight.step(x[:, t], {}, t) for t in range(18)], 1)
    torch.testing.assert_close(stepped, whole, rtol=1e-4, atol=1e-5)
    changed = (dropped - whole).abs().amax(-1) > 1e-4
    assert changed.any()
    assert not changed[:, :3].any(), "an expert takes at least ceil(0.5 x 18 x 2 / 6) = 3 of the first tokens"


def test_a_sequence_has_its_own_capacity():
    module, x = module_of(capacity_factor=0.5).eval(), draw(3, 18, WIDTH)
    with torch.no_grad():
        apart = torch.cat([module(row) for row in x.split(1)])
        torch.testing.assert_close(module(x), apart, rtol=1e-4, atol=1e-5)


def test_a_dropped_token_passes_with_nothing_and_its_load_counts():
    module, x = module_of(top_k=1, capacity_factor=1e-6), draw(1, 1, WIDTH).expand(1, 5, WIDTH)
    y = module(x)
    assert y[:, 0].abs().sum() > 0
    assert not y[:, 1:].any()
    assert module.router.counts_E.max() == 5


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3", "nemotron_h"])
def test_block_of_a_public_model(family, implementation):
    transformers = pytest.importorskip("transformers")
    source = pytest.importorskip(f"transformers.models.{family}.modeling_{family}")
    grouped = {"n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "n_routed_experts": 6}
    routing = {
        "router": "sigmoid",
        "balancing": "bias",
        "n_groups": 2,
        "group_score": "top2",
        "routed_scale": 2.5,
        "n_shared": 1,
    }
    common = {"hidden_size": WIDTH, "num_attention_heads": 4, "num_experts_per_tok": 2}
    if family == "mixtral":
        ours = module_of()
        config = transformers.MixtralConfig(**common, intermediate_size=12, num_local_experts=6)
        peer = source.MixtralSparseMoeBlock
    elif family == "deepseek_v3":
        ours = module_of(**routing)
        config = transformers.DeepseekV3Config(**common, **grouped, moe_intermediate_size=12, n_shared_experts=1)
        peer = source.DeepseekV3MoE
    else:
        ours = module_of(**routing, activation="relu2", d_shared=20, shared_bias=True)
        widths = {"moe_intermediate_size": 12, "moe_shared_expert_intermediate_size": 20}
        config = transformers.NemotronHConfig(**common, **grouped, **widths, mlp_bias=True, mlp_hidden_act="relu2")
        peer = source.NemotronHMoE
    ours.router.bias_E.copy_(0.2 * draw(6, seed=7))
    config._experts_implementation = implementation
    peer = peer(config)
    missing = peer.load_state_dict(peer_weights(family, ours), strict=True)
    assert not missing.missing_keys
    x = draw(2, 11, WIDTH, seed=3).requires_grad_()
    got, expected = ours(x), peer(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    dy = draw(2, 11, WIDTH, seed=4)
    gradients = [torch.autograd.grad(y, x, dy)[0] for y in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def peer_weights(family, ours):
    table = {"gate.weight": ours.router.weight, "experts.down_proj": ours.down}
    table |= {"experts.up_proj" if family == "nemotron_h" else "experts.gate_up_proj": ours.up}
    if family != "mixtral":
        table |= {"gate.e_score_correction_bias": ours.router.bias_E}
        table |= {"shared_experts.down_proj.weight": ours.shared_down}
    if family == "deepseek_v3":
        gate, up = ours.shared_up.chunk(2)
        table |= {"shared_experts.gate_proj.weight": gate, "shared_experts.up_proj.weight": up}
    if family == "nemotron_h":
        table |= {"shared_experts.up_proj.weight": ours.shared_up, "shared_experts.up_proj.bias": ours.shared_up_bias}
        table |= {"shared_experts.down_proj.bias": ours.shared_down_bias}
    return {name: tensor.detach().clone() for name, tensor in table.items()}


def test_the_path_is_named():
    assert module_of().kernel_path() == "sorted slices"


# The grouped product takes no biases, and rows of whole 16 bytes.
GROUPED = [
    name for name, options in CASES.items() if "expert_bias" not in options and options.get("d_latent", 0) % 4 == 0
]


@pytest.mark.parametrize("case", GROUPED)
@pytest.mark.parametrize("balancing", ["none", "bias", "aux"])
def test_a_step_of_grouped_products_waits_for_nothing(case, balancing, monkeypatch):
    monkeypatch.setattr(experts, "grouped_product", lambda *_: torch.nn.functional.grouped_mm)
    module = module_of(**{**CASES[case], "balancing": balancing}).train()
    x = draw(3, 8, WIDTH).requires_grad_()
    with noted_reads() as found:
        y, auxiliary = module.forward_with_loss(x)
        (y.sum() if auxiliary is None else y.sum() + auxiliary).backward()
        module.after_step()
    assert not found


def test_a_step_without_tokens_leaves_load_and_bias():
    module = module_of(balancing="bias").train()
    module(draw(3, 8, WIDTH))
    module.after_step()
    load, bias = module.router.load_E.clone(), module.router.bias_E.clone()
    module.after_step()
    assert load.sum() == pytest.approx(1.0)
    assert torch.equal(module.router.load_E, load)
    assert torch.equal(module.router.bias_E, bias)
