"""A whole model with its sequence over two processes, and models that cannot have one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from harmony_core.architecture import Architecture, block_from_dict
from harmony_core.errors import UserError
from harmony_core.models import build
from harmony_core.models.context_parallel import ContextParallel
from tests.models.test_conformance import CASES
from tests.ranks import run_on_ranks

LENGTH = 32
BLOCKS: list[dict[str, Any]] = [
    {"kind": "hyena_se", "num_groups": 4},
    {"kind": "mlp", "d_ff": 24},
    {"kind": "hyena_mr", "num_groups": 2, "filter_length": 9},
    {"kind": "moe", "n_routed": 4, "top_k": 2, "d_expert": 8, "balancing": "bias"},
    {"kind": "gqa", "num_heads": 4, "head_dim": 4, "num_kv_heads": 2, "qk_norm": True},
    {"kind": "hyena_li", "state_size": 4},
    {"kind": "swa", "num_heads": 2, "head_dim": 8, "num_kv_heads": 2, "window": 11},
    {"kind": "mha", "num_heads": 2, "head_dim": 8},
    {"kind": "mqa", "num_heads": 2, "head_dim": 8},
    {"kind": "short_conv", "kernel_size": 4},
]


def architecture(*blocks: dict[str, Any]) -> Architecture:
    return Architecture.parse({"d_model": 16, "vocab_size": 29, "blocks": blocks})


def tokens(seed: int) -> Tensor:
    return torch.randint(29, (2, LENGTH), generator=torch.Generator().manual_seed(seed))


def in_order() -> dict[str, Any]:
    return loss_and_gradients(ContextParallel())


def zigzag() -> dict[str, Any]:
    return loss_and_gradients(ContextParallel(method="point_to_point", order="zigzag"))


def loss_and_gradients(cp: ContextParallel) -> dict[str, Any]:
    model = build(architecture(*BLOCKS))
    model.use_context_parallel(cp)
    loss = model.loss(cp.shard(tokens(0)), cp.shard(tokens(1))).total / cp.size
    loss.backward()
    found = {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters()}}
    for tensor in found.values():
        dist.all_reduce(tensor)
    model.use_context_parallel(None)
    found["alone"] = model.loss(tokens(0), tokens(1)).total.detach()
    return found


def test_every_kind_that_says_that_its_ranks_may_share_sequences_is_among_them() -> None:
    blocks = [block_from_dict(case) for case in CASES.values()]
    assert {block.kind for block in blocks if block.context_problem(16, 1) is None} == {one["kind"] for one in BLOCKS}


@pytest.mark.parametrize("spread", [in_order, zigzag])
def test_loss_and_gradients_are_those_of_one_process(spread: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    model = build(architecture(*BLOCKS))
    loss = model.loss(tokens(0), tokens(1)).total
    loss.backward()
    for found in run_on_ranks(spread, 2, tmp_path):
        torch.testing.assert_close(found["loss"], loss.detach(), rtol=1e-5, atol=0)
        torch.testing.assert_close(found["alone"], loss.detach(), rtol=1e-5, atol=0)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            size = float(parameter.grad.abs().max())
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-5 * size, msg=name)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (
            {
                **{"kind": "parallel", "attention": {"num_heads": 2, "head_dim": 8, "num_kv_heads": 1}},
                "ssm": {"head_dim": 8},
            },
            r"blocks\.1: parallel: .* use attention or a Hyena operator",
        ),
        ({"kind": "mamba2", "head_dim": 8}, r"blocks\.1: mamba2: .* use attention or a Hyena operator"),
        ({"kind": "moe", "n_routed": 2, "top_k": 1, "d_expert": 8}, r"blocks\.1: moe: it has balancing aux"),
    ],
)
def test_what_needs_whole_sequences_is_refused_by_name(block: dict[str, Any], told: str) -> None:
    model = build(architecture(BLOCKS[0], block))
    with pytest.raises(UserError, match=told):
        model.use_context_parallel(ContextParallel())
    assert model.blocks[0].inner.context_parallel is None, "refused, and changed all the same"
