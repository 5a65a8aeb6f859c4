"""Traffic and touched weights: every registered kind is known, and experts are read as often as chosen."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from benchmarks.step_memory import predict_memory_bytes
from harmony_core.architecture import MLP, Block, MoE, Role, block_kinds
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.machines import Traffic, block_traffic
from harmony_core.machines.blocks.costs import BlockCosts, prices
from harmony_core.machines.blocks.mlp import MLPCosts

PRESETS = [load_preset(name) for name in preset_names()]
EXAMPLES = {block.kind: (block, a.d_model) for a in PRESETS for block in a.blocks}
EXTRA = {
    "mha": {"num_heads": 4, "head_dim": 32},
    "mqa": {"num_heads": 4, "head_dim": 32},
    "kda": {"num_heads": 4, "head_dim": 32},
    "gated_deltanet": {"num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 32, "value_head_dim": 32},
}


@pytest.mark.parametrize("kind", block_kinds())
def test_every_kind_is_known(kind: str) -> None:
    from harmony_core.architecture import block_from_dict

    block, d_model = EXAMPLES.get(kind) or (block_from_dict({"kind": kind, **EXTRA[kind]}), 128)
    traffic = block_traffic(block, d_model)
    # Norm, at least one read and one write of the stream, and the residual addition.
    assert traffic.elements > 7 * d_model
    assert traffic.kernels >= 5


def test_unknown_kind_is_told_where_to_go() -> None:
    class Odd(Block):
        kind: ClassVar[str] = "odd"

    with pytest.raises(TypeError, match=r"'odd'.*machines/blocks/"):
        block_traffic(Odd(), 8)


def test_dense_blocks_read_all_their_weights() -> None:
    block = MLP(d_ff=24)
    assert block.touched_params(16, tokens=1) == block.num_params(16)


@pytest.mark.parametrize("tokens", [1, 4, 64])
def test_touched_experts_are_what_random_routing_touches(tokens: int) -> None:
    block = MoE(n_routed=16, top_k=3, d_expert=10, n_shared=1)
    rng = np.random.default_rng(0)
    draws = [len({e for _ in range(tokens) for e in rng.permutation(16)[:3]}) for _ in range(400)]
    expert, router = 3 * 8 * 10, 8 * 16
    expected = router + expert * (1 + np.mean(draws))
    assert block.touched_params(8, tokens) == pytest.approx(expected, rel=0.03)
    assert block.touched_params(8, 1) == block.num_active_params(8)


def test_memory_by_hand() -> None:
    architecture = load_preset("llama-3.2-1b")
    weights = architecture.num_params()
    decode = predict_memory_bytes(architecture, "decode", 2, 1024, "bf16")
    assert decode == pytest.approx(2 * weights + 2 * 1024 * 32_768, rel=1e-3)
    train = predict_memory_bytes(architecture, "train", 1, 1024, "bf16")
    # Weights, gradients and moments in fp32, and what the blocks keep; never all logits.
    assert train > 16 * weights
    assert predict_memory_bytes(architecture, "prefill", 2, 1024, "bf16") > decode


def test_a_shared_network_is_read_and_written_at_its_own_width() -> None:
    plain, joined = MoE(n_routed=8, top_k=2, d_expert=10), MoE(n_routed=8, top_k=2, d_expert=10, n_shared=2)
    narrow = MoE(n_routed=8, top_k=2, d_expert=10, n_shared=2, d_shared=7)
    without, wide, thin = (block_traffic(block, 16) for block in (plain, joined, narrow))
    # In and out of the network and of the addition; three matrices' outputs, written and read.
    assert wide.elements - without.elements == 5 * 16 + 2 * 3 * 20
    assert thin.elements - without.elements == 5 * 16 + 2 * 3 * 7
    assert wide.kernels == thin.kernels > without.kernels


def test_an_unknown_mixer_says_nothing_of_shared_sequences() -> None:
    """Neither that its ranks have nothing to tell each other, nor that they may share any."""

    class Odd(Block):
        kind: ClassVar[str] = "odd"
        role: ClassVar[Role] = "mixer"

    with pytest.raises(TypeError, match="Odd does not say what ranks that share sequences tell each other"):
        Odd().context_exchanges(8)
    assert Odd().context_problem(8, 2) == "needs whole sequences on one rank; use attention or a Hyena operator"


@pytest.mark.parametrize("kind", block_kinds("mixer"))
def test_a_mixer_that_shares_sequences_says_what_is_exchanged(kind: str) -> None:
    from harmony_core.architecture import block_from_dict

    block, d_model = EXAMPLES.get(kind) or (block_from_dict({"kind": kind, **EXTRA[kind]}), 128)
    if block.context_problem(d_model, 1) is None:
        assert all(exchange.elements > 0 for exchange in block.context_exchanges(d_model))
        assert block.context_exchanges(d_model)
    else:
        with pytest.raises(TypeError, match="does not say"):
            block.context_exchanges(d_model)


def test_costs_without_a_part_are_no_costs() -> None:
    class Half(BlockCosts[Block]):
        def traffic(self, block: Block, d_model: int) -> Traffic:
            return Traffic(1, 1)

    with pytest.raises(TypeError, match="abstract"):
        prices(Block)(Half)
    with pytest.raises(ValueError, match="MLP has two costs"):
        prices(MLP)(MLPCosts)
