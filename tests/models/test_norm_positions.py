"""Where a block's norms are: before it, behind it, or on both sides, by the formula and in every form of the model."""

from __future__ import annotations

import pytest
import torch

from harmony_core import Architecture
from harmony_core.architecture import block_from_dict
from harmony_core.machines.activations import kept_bytes
from harmony_core.machines.blocks import Shape
from harmony_core.machines.traffic import block_traffic
from harmony_core.models.ops.rms_norm import rms_norm_reference
from harmony_core.models.residual import ResidualBlock
from harmony_core.space.ladder import Ladder
from tests.models.test_conformance import CASES, WIDTH

LENGTH = 9
MIXERS = {case["kind"]: name for name, case in reversed(CASES.items())}


def residual(name: str, position: str) -> ResidualBlock:
    """With norms whose weights are not one."""
    block = block_from_dict({**CASES[name], "norm_position": position})
    architecture = Architecture(d_model=WIDTH, vocab_size=8, residual_multiplier=0.7, blocks=[block])
    module, generator = ResidualBlock(block, architecture), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module.eval()


@pytest.mark.parametrize("position", ["pre", "post", "both"])
@pytest.mark.parametrize("name", MIXERS.values())
@torch.no_grad()
def test_it_is_the_formula_and_leaves_the_residual_stream_as_it_was(name: str, position: str) -> None:
    """Behind alone, the block reads the stream itself, which no kind may write into."""
    module = residual(name, position)
    x_BTD = torch.randn(2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))
    before = x_BTD.clone()
    read = x_BTD if position == "post" else rms_norm_reference(x_BTD, module.norm.weight, module.norm.epsilon)
    y_BTD = module.inner(read.clone())
    if position != "pre":
        behind = module.norm if module.out_norm is None else module.out_norm
        y_BTD = rms_norm_reference(y_BTD, behind.weight, behind.epsilon)
    expected = before + 0.7 * y_BTD
    torch.testing.assert_close(module(x_BTD)[0], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x_BTD, before)
    state = module.inner.init_state(2, LENGTH, x_BTD.device, torch.float32)
    torch.testing.assert_close(module.prefill(x_BTD, state), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x_BTD, before)
    state = module.inner.init_state(2, LENGTH, x_BTD.device, torch.float32)
    steps = torch.stack([module.step(x_BTD[:, t], state, t) for t in range(LENGTH)], 1)
    torch.testing.assert_close(steps, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(x_BTD, before)


def test_under_autocast_every_form_computes_in_its_type() -> None:
    module = residual("gqa", "post")
    x_BTD = torch.randn(2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x_BTD)[0]
    torch.testing.assert_close(found.float(), module(x_BTD)[0], rtol=0.05, atol=0.05)


def test_a_second_norm_is_counted_everywhere() -> None:
    fields = {"kind": "mlp", "d_ff": 24}
    one, two = (block_from_dict({**fields, "norm_position": position}) for position in ("post", "both"))
    counts = [Architecture(d_model=WIDTH, vocab_size=8, blocks=[block]) for block in (one, two)]
    for name in ("num_params", "num_active_params", "num_non_embedding_params", "num_active_non_embedding_params"):
        assert getattr(counts[1], name)() - getattr(counts[0], name)() == WIDTH
    ladders = [Ladder([block], WIDTH).costs[0] for block in (one, two)]
    assert (ladders[1] - ladders[0]).tolist() == [WIDTH, WIDTH, WIDTH, 0, 0]
    traffic = [block_traffic(block, WIDTH) for block in (one, two)]
    assert (traffic[1].elements - traffic[0].elements, traffic[1].kernels - traffic[0].kernels) == (2 * WIDTH, 1)
    shape = Shape(WIDTH, 2, LENGTH, 4)
    assert kept_bytes(two, shape) - kept_bytes(one, shape) == 4 * shape.tokens * (WIDTH + 1)


def test_the_usual_place_is_no_part_of_the_identity() -> None:
    blocks = [{"kind": "mlp", "d_ff": 24, **more} for more in ({}, {"norm_position": "pre"}, {"norm_position": "post"})]
    plain, said, other = (Architecture(d_model=WIDTH, vocab_size=8, blocks=[block]).id for block in blocks)
    assert plain == said != other
