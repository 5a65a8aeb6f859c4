"""Every parameter of what a space offers is reached by the loss: no gene is dead."""

from __future__ import annotations

import copy
import statistics
from typing import Any

import numpy as np
import pytest
import torch

from harmony_core import Architecture
from harmony_core.architecture import MHA, MoE
from harmony_core.base import read_yaml
from harmony_core.models import build, kernels
from harmony_core.models.ops.attention.rope_table import rotary_table
from harmony_core.resources import named_yaml
from harmony_core.space import Space, sample
from tests.models.comparison import routers

VOCAB, BATCH, LENGTH = 29, 8, 48
# Divided so that a model of the width below is as broad, relatively, as the space's own.
SIZES = {
    *("head_dim", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "q_lora_rank"),
    *("d_state", "num_groups", "window", "d_ff", "d_expert"),
}
NARROW = {"nano": (32, 4), "harmony": (64, 16)}


def narrow(name: str) -> Space:
    """A shipped space with its widths divided, few experts, so that all have tokens, shallow and without a budget."""
    data, (d_model, divisor) = copy.deepcopy(read_yaml(named_yaml("spaces", name))), NARROW[name]
    data["blocks"]["moe"]["domains"]["n_routed"] = [4, 8, 16]
    for block in data["blocks"].values():
        block.pop("relative_size", None)
        for field, domain in block["domains"].items():
            if field in SIZES:
                block["domains"][field] = _divided(domain, divisor)
            elif field == "filter_length":
                block["domains"][field] = sorted({min(taps, LENGTH) for taps in domain})
    return Space.parse({**data, "d_model": [d_model], "depth": {"min": 2, "max": 3}, "constraints": {}})


def _divided(domain: Any, divisor: int) -> Any:
    if isinstance(domain, dict):
        return {key: max(1, value // divisor) for key, value in domain.items()}
    # Rotary positions need even widths, whatever a width is divided by.
    return list(dict.fromkeys(None if one is None else max(2, one // divisor // 2 * 2) for one in domain))


@pytest.fixture(autouse=True)
def in_fp64(monkeypatch):
    """What is computed in fp32 whatever the precision is computed in fp64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "complex64", torch.complex128)
    monkeypatch.setattr(kernels, "_ONEDNN", False)
    rotary_table.cache_clear()
    yield
    rotary_table.cache_clear()


def gradients(architecture: Architecture) -> dict[str, torch.Tensor]:
    """The cross entropy's gradient of each parameter, in fp64, over a batch in which every expert has tokens."""
    model = build(architecture, 0).double().train()
    for table in model.buffers():
        table.data = table.data.double() if table.is_floating_point() else table.data
    # Of more sequences where a few leave an expert without a token.
    for batch in (BATCH, 8 * BATCH, 64 * BATCH):
        model.zero_grad()
        for router in routers(model):
            router.counts_E.zero_()
        tokens = torch.randint(VOCAB, (batch, LENGTH + 1), generator=torch.Generator().manual_seed(1))
        model.loss(tokens[:, :-1], tokens[:, 1:]).cross_entropy.backward()
        if all((router.counts_E > 0).all() for router in routers(model)):
            break
    else:
        raise AssertionError("an expert without a token: draw more of them")
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("seed", range(15))
def test_the_loss_reaches_every_parameter(name, seed):
    architecture = sample(narrow(name), VOCAB, np.random.default_rng(seed)).architecture
    norms = {name: float(gradient.norm()) for name, gradient in gradients(architecture).items()}
    assert len(norms) == sum(1 for _ in build(architecture, 0).named_parameters())
    least = min(norms, key=norms.__getitem__)
    assert norms[least] > 1e-6 * statistics.median(norms.values()), (least, architecture.to_json())


@pytest.mark.parametrize(
    ("block", "name", "part"),
    [
        (MoE(n_routed=4, top_k=1, d_expert=8), "router.weight", slice(None)),
        (MoE(n_routed=1, top_k=1, d_expert=8, normalize_top_k=False), "router.weight", slice(None)),
        # Queries, keys and values of 16 elements each.
        (MHA(num_heads=2, head_dim=8, rope_base=None, bias=True), "qkv_bias", slice(16, 32)),
    ],
)
def test_what_a_block_calls_unreached_has_no_gradient(block, name, part):
    assert block.unreached() is not None
    blocks = (MHA(num_heads=2, head_dim=8), block)
    found = gradients(Architecture(d_model=16, vocab_size=VOCAB, blocks=blocks))
    median = statistics.median(float(gradient.norm()) for gradient in found.values())
    assert float(found[f"blocks.1.inner.{name}"][part].norm()) < 1e-9 * median
