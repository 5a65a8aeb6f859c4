"""Hyper-parameters of a block within a block: named in a space, drawn, changed, encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harmony_core.architecture import MLP, Architecture, block_class, block_from_dict
from harmony_core.errors import UserError
from harmony_core.space import Encoding, Space, hyper_parameters
from harmony_core.space.ladder import width
from harmony_core.space.mutations import MUTATIONS

BLOCK: dict[str, Any] = {
    "kind": "parallel",
    "attention": {"num_heads": 2, "num_kv_heads": 1, "head_dim": 8},
    "ssm": {"d_state": 16, "head_dim": 8, "norm": "none"},
    "ssm_in_multiplier": 0.5,
}
DOMAINS: dict[str, Any] = {
    "attention.num_heads": [2, 4],
    "attention.num_kv_heads": [1, 4],
    "attention.head_dim": [8],
    "ssm.d_state": {"min": 8, "max": 32, "step": 8},
    "ssm.head_dim": [8],
    "ssm.norm": ["none", "gate_first"],
    "ssm_in_multiplier": [0.5],
}
SPACE = {
    "depth": {"min": 1, "max": 2},
    "d_model": [16, 32],
    "blocks": {"parallel": {"domains": DOMAINS}, "mlp": {"domains": {"d_ff": [16, 32]}}},
}


def space(**domains: Any) -> Space:
    blocks = {**SPACE["blocks"], "parallel": {"domains": {**DOMAINS, **domains}}}  # type: ignore[dict-item]
    return Space.parse({**SPACE, "blocks": blocks}, "space.yaml")


def test_names_reach_into_a_block_and_back() -> None:
    block, cls = block_from_dict(BLOCK), block_class("parallel")
    values = hyper_parameters.values(block)
    assert list(values) == list(hyper_parameters.fields(cls))
    assert (values["attention.num_heads"], values["ssm.norm"], values["ssm_in_multiplier"]) == (2, "none", 0.5)
    assert hyper_parameters.make(cls, values) == block
    assert all(hyper_parameters.value(block, name) == one for name, one in values.items())
    other = hyper_parameters.changed(block, "ssm.d_state", 24)
    assert other == block_from_dict({**BLOCK, "ssm": {**BLOCK["ssm"], "d_state": 24}})
    assert hyper_parameters.value(block, "ssm.d_state") == 16
    assert (width(block), width(other)) == (16, 24)
    plain = MLP(d_ff=8)
    assert hyper_parameters.values(plain) == dict(plain)


def test_a_space_offers_what_goes_together() -> None:
    found = {
        tuple(hyper_parameters.value(block, name) for name in ("attention.num_heads", "attention.num_kv_heads"))
        for block in space().choices(16).blocks("parallel")
    }
    assert found == {(2, 1), (4, 1), (4, 4)}
    ladders = space().choices(16).ladders("parallel")
    assert [ladder.widths.tolist() for ladder in ladders] == [[8, 16, 24, 32]] * 6


def test_a_mutation_changes_what_is_within() -> None:
    blocks = (block_from_dict(BLOCK), MLP(d_ff=16))
    parent = Architecture(d_model=32, vocab_size=29, blocks=blocks)
    assert space().violations(parent) == []
    edits = [MUTATIONS["hyper_parameter"](space(), parent, np.random.default_rng(seed)) for seed in range(40)]
    told = {edit.operator for edit in edits if edit is not None and edit.operator.startswith("block 0 ")}
    assert told == {
        "block 0 parallel: attention.num_heads 2 -> 4",
        "block 0 parallel: ssm.d_state 16 -> 24",
        "block 0 parallel: ssm.d_state 16 -> 8",
        "block 0 parallel: ssm.norm none -> gate_first",
    }


def test_an_encoding_tells_branches_apart() -> None:
    encoding = Encoding(space())
    names = [name for name in encoding.names if name.startswith("0.parallel.")]
    assert names == [
        f"0.parallel.{name}" for name in ("attention.num_heads", "attention.num_kv_heads", "ssm.d_state", "ssm.norm")
    ]
    vectors = {
        tuple(encoding.vector(Architecture(d_model=32, vocab_size=29, blocks=(block, MLP(d_ff=16)))))
        for block in space().choices(32).blocks("parallel")
    }
    assert len(vectors) == len(space().choices(32).blocks("parallel")) == 24


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        (
            {"ssm.dstate": [8]},
            "blocks.parallel.domains.ssm.dstate: parallel: unknown hyper-parameter; use norm_position, attention.num_h",
        ),
        ({"attention": [8]}, "blocks.parallel.domains.attention: parallel: unknown hyper-parameter"),
        ({"ssm.norm": ["no"]}, "blocks.parallel.domains.ssm.norm: no: input should be 'gate_first', 'norm_first'"),
        ({"attention.num_kv_heads": [1, 3]}, "domains.attention.num_kv_heads: 3: no valid combination has it"),
    ],
)
def test_mistakes_name_it(domains: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        space(**domains)
    assert message in str(raised.value)


def test_a_branch_that_is_left_out_is_missing() -> None:
    left = {name: one for name, one in DOMAINS.items() if name != "attention.head_dim"}
    with pytest.raises(UserError, match=r"domains\.attention\.head_dim: missing: it has no default; list its choices"):
        Space.parse({**SPACE, "blocks": {**SPACE["blocks"], "parallel": {"domains": left}}})  # type: ignore[dict-item]
