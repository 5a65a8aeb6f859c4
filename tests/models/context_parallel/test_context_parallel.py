"""A sequence over 2 and 4 gloo processes against one process: values, gradients of inputs and of every parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from harmony_core.architecture import block_from_dict
from harmony_core.errors import UserError
from harmony_core.models.context_parallel import ContextParallel
from harmony_core.models.context_parallel.attention import attend_over_ranks
from harmony_core.models.ops.attention.attention import attention_reference
from harmony_core.models.parameter import initialise
from harmony_core.models.registry import module_for
from tests.ranks import run_on_ranks

BATCH, LENGTH, WIDTH = 2, 48, 16
BLOCKS: dict[str, dict[str, Any]] = {
    "se": {"kind": "hyena_se", "num_groups": 8, "filter_length": 4},
    "se-one-group": {"kind": "hyena_se", "num_groups": 1, "filter_length": 7, "short_filter_length": 1},
    "se-one-tap": {"kind": "hyena_se", "num_groups": 4, "filter_length": 1},
    "short": {"kind": "short_conv"},
    "short-bias": {"kind": "short_conv", "kernel_size": 7, "bias": True},
    "sinks": {"kind": "gqa", "num_heads": 4, "num_kv_heads": 2, "head_dim": 4, "sinks": True},
    "mr": {"kind": "hyena_mr", "num_groups": 4, "filter_length": 7},
    "li": {"kind": "hyena_li", "state_size": 3, "chunk_size": 8},
}
# Query heads, key/value heads, window.
ATTENTION = {"all": (4, 4, None), "grouped": (4, 2, None), "window": (4, 1, 9), "narrow": (2, 2, 1)}
METHODS = ("all_to_all", "point_to_point")
ORDERS = ("contiguous", "zigzag")
CASES = [(block, method, order) for block in BLOCKS for method in METHODS for order in ORDERS]


def module_of(block: dict[str, Any]) -> nn.Module:
    module = module_for(block_from_dict(block), WIDTH, 1e-5)
    initialise(module, 3, 1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            # Filters that begin near zero would hide what is wrong with them.
            if name == "filter":
                parameter.normal_(generator=torch.Generator().manual_seed(5))
    return module


def whole(seed: int) -> Tensor:
    return torch.randn(BATCH, LENGTH, WIDTH, generator=torch.Generator().manual_seed(seed))


def outcome(module: nn.Module, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Output and gradients of sum(output x weight)."""
    x = x.clone().requires_grad_()
    y = module(x)
    (y * weight).sum().backward()
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad, **{name: p.grad for name, p in module.named_parameters()}}


def attended(name: str, cp: ContextParallel | None) -> dict[str, Tensor]:
    """Attention's output and the gradients of queries, keys and values; this rank's tokens where there is a group."""
    heads, groups, window = ATTENTION[name]
    shapes = ((heads, 8), (groups, 8), (groups, 6), (heads, 6))
    tensors = [
        torch.randn(BATCH, LENGTH, *shape, generator=torch.Generator().manual_seed(seed))
        for seed, shape in enumerate(shapes)
    ]
    *inputs, weight = tensors if cp is None else [cp.shard(tensor) for tensor in tensors]
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    if cp is None:
        transposed = (tensor.transpose(1, 2) for tensor in inputs)
        y = attention_reference(*transposed, 0.3, window).transpose(1, 2)
    else:
        y = attend_over_ranks(*inputs, 0.3, window, cp)
    (y * weight).sum().backward()
    return {"y": y.detach(), **{name: tensor.grad for name, tensor in zip("qkv", inputs, strict=True)}}


def on_a_rank() -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in ATTENTION:
        for order in ORDERS:
            results[f"{name}-{order}"] = attended(name, ContextParallel(order=order))
    for block, method, order in CASES:
        cp = ContextParallel(method=method, order=order)
        module = module_of(BLOCKS[block])
        module.context_parallel = cp
        found = outcome(module, cp.shard(whole(0)), cp.shard(whole(1)))
        for name, gradient in found.items():
            if name not in ("y", "x"):
                dist.all_reduce(gradient)
        found["positions"] = cp.positions(LENGTH // cp.size)
        results["-".join((block, method, order))] = found
    results["refusals"] = refusals()
    return results


def refusals() -> dict[str, str]:
    """What is refused before anything is sent."""
    cp, long = ContextParallel(method="point_to_point"), module_of({**BLOCKS["se"], "filter_length": LENGTH})
    long.context_parallel = cp
    attempts = {
        "filter": lambda: long(cp.shard(whole(0))),
        "tokens": lambda: cp.shard(whole(0)[:, :-1]),
        "channels": lambda: cp.channel_share(2 * cp.size + 1),
        "decoding": lambda: long.step(whole(0)[:, 0], {}, 0),
        "prefill": lambda: long.prefill(whole(0), {}),
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except (UserError, TypeError) as error:
            found[name] = str(error)
    return found


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_on_ranks(on_a_rank, request.param, tmp_path_factory.mktemp("ranks"))


def joined(found: list[dict[str, Tensor]], name: str, positions: Tensor) -> Tensor:
    """The ranks' tokens in the order of the sequence."""
    pieces = torch.cat([one[name] for one in found], 1)
    together = torch.empty_like(pieces)
    together[:, positions] = pieces
    return together


def assert_close(found: Tensor, expected: Tensor, name: str) -> None:
    size = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * size, msg=lambda text: f"{name}: {text}")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_equal_to_one_process(ranks: list[dict[str, Any]], name: str, order: str) -> None:
    found = [rank[f"{name}-{order}"] for rank in ranks]
    positions = torch.cat([rank[f"li-all_to_all-{order}"]["positions"] for rank in ranks])
    for key, value in attended(name, None).items():
        assert_close(joined(found, key, positions), value, key)


@pytest.mark.parametrize(("block", "method", "order"), CASES)
def test_equal_to_one_process(ranks: list[dict[str, Any]], block: str, method: str, order: str) -> None:
    found = [rank["-".join((block, method, order))] for rank in ranks]
    expected = outcome(module_of(BLOCKS[block]), whole(0), whole(1))
    positions = torch.cat([one["positions"] for one in found])
    assert torch.equal(positions.sort().values, torch.arange(LENGTH))
    for name, value in expected.items():
        if name in ("y", "x"):
            assert_close(joined(found, name, positions), value, name)
        else:
            for one in found:
                assert_close(one[name], value, name)


def test_zigzag_gives_early_and_late_tokens_together(ranks: list[dict[str, Any]]) -> None:
    piece = LENGTH // (2 * len(ranks))
    for rank, found in enumerate(ranks):
        positions = found["li-all_to_all-zigzag"]["positions"].tolist()
        last = LENGTH - (rank + 1) * piece
        assert positions == [*range(rank * piece, (rank + 1) * piece), *range(last, last + piece)]


def test_refusals_name_what_is_allowed(ranks: list[dict[str, Any]]) -> None:
    size = len(ranks)
    piece = LENGTH // size
    for found in ranks:
        messages = found["refusals"]
        assert messages["filter"].startswith(f"filter_length: {LENGTH}: it reaches beyond a piece of {piece} tokens")
        assert f"use at most {piece + 1}" in messages["filter"]
        assert messages["tokens"] == f"sequence_length: {LENGTH - 1}: use a multiple of the {size} pieces (contiguous)"
        assert messages["channels"].startswith(f"d_model: {2 * size + 1}: use a multiple of the {size} ranks")
        assert "decoding runs on one rank" in messages["decoding"]
        assert "decoding runs on one rank" in messages["prefill"]


def test_unknown_methods_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"method: ring: use all_to_all or point_to_point"):
        ContextParallel(method="ring")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"order: random: use contiguous or zigzag"):
        ContextParallel(order="random")  # type: ignore[arg-type]
