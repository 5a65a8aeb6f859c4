"""Two spellings of one function: one id, and the same logits for the same weights."""

from __future__ import annotations

import pytest
import torch

from harmony_core import Architecture
from harmony_core.architecture import (
    GQA,
    MHA,
    MLA,
    MLP,
    MQA,
    HyenaMR,
    Mamba,
    Mamba2,
    MoE,
    Parallel,
    RopeScaling,
)
from harmony_core.models import build
from tests.models.comparison import routers

WIDTH, VOCAB = 32, 29
HEADS = {"num_heads": 4, "head_dim": 8}
LATENT = {"num_heads": 2, "kv_lora_rank": 8, "qk_nope_head_dim": 12, "qk_rope_head_dim": 4, "v_head_dim": 8}
EXPERTS = {"n_routed": 8, "top_k": 2, "d_expert": 8}
ALL = {"n_routed": 4, "top_k": 4, "d_expert": 8}
PAIRS = {
    "every expert, scores of one already": (MoE(**ALL, normalize_top_k=False), MoE(**ALL)),
    "every expert, no choice to move": (MoE(**ALL, balancing="bias", bias_update_rate=0.1), MoE(**ALL)),
    "every expert, sigmoids": (
        MoE(**ALL, router="sigmoid", balancing="none"),
        MoE(**ALL, router="sigmoid", balancing="bias"),
    ),
    "a rate of another balancing": (MoE(**EXPERTS, bias_update_rate=0.1), MoE(**EXPERTS)),
    "a coefficient of another balancing": (
        MoE(**EXPERTS, balancing="bias", aux_coefficient=0.1),
        MoE(**EXPERTS, balancing="bias"),
    ),
    "a coefficient of nothing": (MoE(**EXPERTS, aux_coefficient=0.0), MoE(**EXPERTS, balancing="none")),
    "as many groups as experts": (MoE(**EXPERTS, n_groups=8, top_groups=2), MoE(**EXPERTS)),
    "groups that hold the best anyway": (MoE(**EXPERTS, n_groups=4, top_groups=3), MoE(**EXPERTS)),
    "one query head": (MQA(num_heads=1, head_dim=8), MHA(num_heads=1, head_dim=8)),
    "one query head, grouped": (GQA(num_heads=1, head_dim=8, num_kv_heads=1), MHA(num_heads=1, head_dim=8)),
    "the usual scale": (MHA(**HEADS, scale=8**-0.5), MHA(**HEADS)),
    "the usual scale of latents": (MLA(**LATENT, scale=0.25), MLA(**LATENT)),
    "a fraction that cuts no element off": (MHA(**HEADS, rope_fraction=0.3), MHA(**HEADS, rope_fraction=0.25)),
    "positions scaled by one": (MHA(**HEADS, rope_scaling=RopeScaling(method="linear", factor=1.0)), MHA(**HEADS)),
    "yarn with the usual factor": (
        MLA(**LATENT, rope_scaling=RopeScaling(method="yarn", factor=1.0, original_context=8, attention_factor=1.0)),
        MLA(**LATENT),
    ),
    "the architecture's epsilon": (MLA(**LATENT, latent_epsilon=1e-5), MLA(**LATENT)),
    "the usual rank": (Mamba(d_state=4, dt_rank=2), Mamba(d_state=4)),
    "norms by groups": (
        Mamba2(d_state=8, head_dim=16, n_groups=2, norm_groups=2),
        Mamba2(d_state=8, head_dim=16, n_groups=2),
    ),
    "a width in multiples": (Mamba2(d_state=8, head_dim=16, inner_width=96), Mamba2(d_state=8, head_dim=16, expand=3)),
    "a multiple that is not read": (
        Mamba2(d_state=8, head_dim=16, inner_width=48, expand=7),
        Mamba2(d_state=8, head_dim=16, inner_width=48),
    ),
    "branches in other words": (
        Parallel(
            attention=GQA(**HEADS, num_kv_heads=1, scale=8**-0.5),
            ssm=Mamba2(d_state=8, head_dim=16, inner_width=64, n_groups=2, norm_groups=2),
        ),
        Parallel(attention=GQA(**HEADS, num_kv_heads=1), ssm=Mamba2(d_state=8, head_dim=16, n_groups=2)),
    ),
    "as many key/value heads as heads, beside a state space": (
        Parallel(attention=GQA(**HEADS, num_kv_heads=2, rope_fraction=0.3), ssm=Mamba2(d_state=8, head_dim=16)),
        Parallel(attention=GQA(**HEADS, num_kv_heads=2, rope_fraction=0.25), ssm=Mamba2(d_state=8, head_dim=16)),
    ),
    "the filter's span": (
        HyenaMR(num_groups=4, filter_length=8, decay_span=8),
        HyenaMR(num_groups=4, filter_length=8),
    ),
    "one group's rate": (
        HyenaMR(num_groups=1, filter_length=8, decay_range=(-1.0, 0.0)),
        HyenaMR(num_groups=1, filter_length=8),
    ),
}


def architecture_of(block):
    blocks = (block, MLP(d_ff=16)) if block.role == "mixer" else (MHA(**HEADS), block)
    return Architecture(d_model=WIDTH, vocab_size=VOCAB, blocks=blocks)


@pytest.mark.parametrize(("spelled", "canonical"), PAIRS.values(), ids=PAIRS)
def test_two_spellings_have_one_id_and_compute_the_same(spelled, canonical):
    one, other = architecture_of(spelled), architecture_of(canonical)
    assert one != other
    assert one.id == other.id
    assert one.canonical() == one.canonical().canonical() == other.canonical()
    assert Architecture.from_json(one.canonical().to_json()) == one.canonical()
    assert spelled.canonical().canonical() == spelled.canonical()
    first, second = build(one, 0).eval(), build(other, 1).eval()
    for router in routers(first):
        # Moved, as training would move it.
        router.bias_E += torch.linspace(0, 0.01, len(router.bias_E))
    second.load_state_dict(first.state_dict())
    tokens = torch.randint(VOCAB, (2, 21), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(first(tokens), second(tokens))


def test_what_differs_keeps_two_ids():
    pairs = [
        (MoE(**EXPERTS, n_groups=4, top_groups=1), MoE(**EXPERTS)),
        (MoE(**EXPERTS, n_groups=4, top_groups=2, group_score="top2"), MoE(**EXPERTS)),
        (MoE(**ALL, router="sigmoid", normalize_top_k=False), MoE(**ALL, router="sigmoid")),
        (MoE(**EXPERTS, balancing="bias", bias_update_rate=0.1), MoE(**EXPERTS, balancing="bias")),
        (MLA(**LATENT, latent_epsilon=1e-6), MLA(**LATENT)),
        (Mamba2(d_state=8, head_dim=16, n_groups=2, norm_groups=1), Mamba2(d_state=8, head_dim=16, n_groups=2)),
        (HyenaMR(num_groups=2, filter_length=8, decay_range=(-1.0, 0.0)), HyenaMR(num_groups=2, filter_length=8)),
    ]
    for one, other in pairs:
        assert architecture_of(one).id != architecture_of(other).id
    # The same block, of another architecture's epsilon.
    blocks = (MLA(**LATENT, latent_epsilon=1e-5),)
    fine = Architecture(d_model=WIDTH, vocab_size=VOCAB, norm_epsilon=1e-6, blocks=blocks)
    assert fine.id != fine.replace(blocks=(MLA(**LATENT),)).id
