"""Ids: pinned, blind to defaults and to spelling, sensitive to all else."""

from __future__ import annotations

import pytest

from harmony_core.architecture import GQA, MHA, MLP, MQA, SWA, Architecture, Block, Mamba2, MoE, block_kinds
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.base import canonical_json

# A change here means that every stored result has lost its architecture. Do not correct: bump the schema.
GOLDEN = {
    "composer-stacked-1b": "da24ef4bd36b7b46",
    "composer-stacked-nano": "5c96d04a8c963b40",
    "composer-stretched-1b": "279b96ab307e701c",
    "composer-stretched-nano": "668c3b1b919650db",
    "deepseek-nano": "c636d2cac98aa5bb",
    "deepseek-v2-lite": "76e5799ae20d0761",
    "falcon-h1-0.5b": "1c3ee14be7aba15b",
    "falcon-h1-nano": "6eec18822dfe9f8d",
    "gpt-oss-20b": "569cabbae54f553d",
    "gpt-oss-nano": "dfe2b7f549104f69",
    "hybrid-36b": "77563848368e96ca",
    "jamba-nano": "7ff322c70a475478",
    "jamba-v0.1": "ec1c00fa33f6e721",
    "kimi-linear-48b-a3b": "633f7db4b35bc621",
    "kimi-linear-nano": "ea9928bb4eb9d0af",
    "lfm2-700m": "7e8a92703579bdf7",
    "lfm2-nano": "36922e50b3073d69",
    "llama-3.2-1b": "1516c1f3a1966d53",
    "llama-nano": "beafe64a65fe70b3",
    "mamba-2-1.3b": "e73a96720dfca456",
    "mamba-2-nano": "24711050c638b5d1",
    "mixtral-8x7b": "f3b66c0e1d1b2a2e",
    "mixtral-nano": "e1ea97c18239b7e7",
    "nemotron-3-nano": "50fd4c5a92957a27",
    "nemotron-3-nano-30b-a3b": "2d8b9327177c351b",
    "olmo-hybrid-7b": "5b34ec59a0728514",
    "olmo-hybrid-nano": "3c1c4d390870231b",
    "qwen3-next-80b-a3b": "81ac363d5179e143",
    "qwen3-next-nano": "654208d860626536",
    "samba-1.3b": "3c2ba30baa665056",
    "samba-nano": "3c9f9a1266fce648",
    "stripedhyena-2-1b": "8c4eb66c49eba065",
    "stripedhyena-2-40b": "b53e7e434eb6bb2c",
    "stripedhyena-2-7b": "8892fe55b02460c7",
    "stripedhyena-2-nano": "9d648a16973ad7c3",
}


def one(*blocks: Block, d_model: int = 64, **fields: object) -> Architecture:
    return Architecture.parse({"d_model": d_model, "vocab_size": 257, "blocks": list(blocks), **fields})


@pytest.mark.parametrize("name", preset_names())
def test_golden_ids(name):
    assert load_preset(name).id == GOLDEN[name]


def test_canonical_json_is_pinned():
    text = one(GQA(num_heads=4, head_dim=16, num_kv_heads=2), MoE(n_routed=4, top_k=2, d_expert=8)).to_json()
    assert text == (
        '{"blocks":[{"head_dim":16,"kind":"gqa","num_heads":4,"num_kv_heads":2},'
        '{"d_expert":8,"kind":"moe","n_routed":4,"top_k":2}],'
        '"d_model":64,"schema_version":1,"vocab_size":257}'
    )


def test_defaults_written_out_keep_the_id():
    short = one(Mamba2(), MLP(d_ff=64))
    long = one(
        Mamba2(d_state=128, expand=2, head_dim=64, n_groups=1, d_conv=4, chunk_size=64),
        MLP(d_ff=64, activation="swiglu"),
        tie_embeddings=True,
    )
    assert short.id == long.id


def test_a_new_field_with_a_default_keeps_ids():
    class MLPLater(MLP):
        """The same kind, one release later."""

        dropout: float = 0.0

    assert one(MLPLater(d_ff=64)).id == one(MLP(d_ff=64)).id
    assert one(MLPLater(d_ff=64, dropout=0.5)).id != one(MLP(d_ff=64)).id


def test_gqa_with_one_kv_head_is_mqa_and_with_all_heads_is_mha():
    shared = {"num_heads": 4, "head_dim": 16, "qk_norm": True, "rope_base": None}
    assert one(GQA(num_kv_heads=1, **shared)).id == one(MQA(**shared)).id
    assert one(GQA(num_kv_heads=4, **shared)).id == one(MHA(**shared)).id
    middle = one(GQA(num_kv_heads=2, **shared))
    assert middle.canonical() == middle
    assert len({middle.id, one(MHA(**shared)).id, one(MQA(**shared)).id}) == 3


def test_the_spelling_is_kept():
    spelled = one(GQA(num_heads=4, head_dim=16, num_kv_heads=1))
    assert Architecture.from_json(spelled.to_json()).blocks[0].kind == "gqa"
    assert spelled.canonical().blocks[0].kind == "mqa"


def test_nothing_else_is_equated():
    blocks = [
        SWA(num_heads=4, head_dim=16, num_kv_heads=4, window=10**9),
        SWA(num_heads=4, head_dim=16, num_kv_heads=1, window=10**9),
        MoE(n_routed=1, top_k=1, d_expert=64),
        MLP(d_ff=64),
        Mamba2(head_dim=32, chunk_size=64),
        Mamba2(head_dim=32, chunk_size=128),
    ]
    assert all(block.canonical() == block for block in blocks)
    assert len({one(block).id for block in blocks}) == len(blocks)


def test_every_field_is_in_the_id():
    base = one(MHA(num_heads=2, head_dim=32), MLP(d_ff=64))
    others = [
        one(MLP(d_ff=64), MHA(num_heads=2, head_dim=32)),
        one(MHA(num_heads=2, head_dim=32), MLP(d_ff=64), d_model=128),
        one(MHA(num_heads=2, head_dim=32), MLP(d_ff=64), vocab_size=258),
        one(MHA(num_heads=2, head_dim=32), MLP(d_ff=64), tie_embeddings=False),
        one(MHA(num_heads=2, head_dim=32, qk_norm=True), MLP(d_ff=64)),
    ]
    assert len({architecture.id for architecture in (base, *others)}) == 6


@pytest.mark.parametrize("name", preset_names())
def test_yaml_and_json_give_back_the_same(name, tmp_path):
    architecture = load_preset(name)
    path = tmp_path / "architecture.yaml"
    architecture.to_yaml(path)
    assert Architecture.from_yaml(path) == architecture
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert canonical_json(architecture.model_dump()) == canonical_json(Architecture.from_yaml(path).model_dump())


def test_presets_cover_all_kinds():
    kinds = {block.kind for name in preset_names() for block in load_preset(name).canonical().blocks}
    assert set(block_kinds()) - kinds == {"mqa"}
