"""The presets: equal budgets at nano size, and each model's own pattern at both sizes."""

from __future__ import annotations

from itertools import combinations

import pytest

from harmony_core.architecture import Architecture, Mamba, MoE
from harmony_core.architecture.attention import Attention
from harmony_core.architecture.presets import load_preset, preset_names, with_vocab
from harmony_core.scaling.extrapolate import WAYS

NANO = [name for name in preset_names() if name.endswith("-nano")]
FULL = {
    "llama-nano": "llama-3.2-1b",
    "mixtral-nano": "mixtral-8x7b",
    "jamba-nano": "jamba-v0.1",
    "samba-nano": "samba-1.3b",
    "mamba-2-nano": "mamba-2-1.3b",
    "deepseek-nano": "deepseek-v2-lite",
    "stripedhyena-2-nano": "stripedhyena-2-7b",
    "qwen3-next-nano": "qwen3-next-80b-a3b",
    "kimi-linear-nano": "kimi-linear-48b-a3b",
    "gpt-oss-nano": "gpt-oss-20b",
    "falcon-h1-nano": "falcon-h1-0.5b",
    "lfm2-nano": "lfm2-700m",
    "olmo-hybrid-nano": "olmo-hybrid-7b",
    "nemotron-3-nano": "nemotron-3-nano-30b-a3b",
    "composer-stacked-nano": "composer-stacked-1b",
    "composer-stretched-nano": "composer-stretched-1b",
}
# Whose full size is not a longer beginning, but grown from the small one.
GROWN = {"composer-stretched-nano": "stretch"}
OTHER_SIZES = {"hybrid-36b", "stripedhyena-2-1b", "stripedhyena-2-40b"}


def kinds(architecture: Architecture) -> list[str]:
    return [block.kind for block in architecture.blocks]


def test_every_nano_preset_has_its_full_model():
    assert set(NANO) == set(FULL)
    assert set(preset_names()) == set(FULL) | set(FULL.values()) | OTHER_SIZES


@pytest.mark.parametrize(("first", "second"), list(combinations(NANO, 2)))
def test_nano_budgets_are_equal(first, second):
    small, large = sorted(load_preset(name).num_active_non_embedding_params() for name in (first, second))
    assert large <= 1.02 * small


@pytest.mark.parametrize("name", NANO)
def test_nano_presets_are_small_and_read_bytes(name):
    architecture = load_preset(name)
    assert architecture.vocab_size == 257
    assert architecture.num_params() <= 4_000_000
    assert 900_000 <= architecture.num_active_non_embedding_params() <= 1_100_000


@pytest.mark.parametrize("name", sorted(set(NANO) - set(GROWN)))
def test_nano_has_the_pattern_of_its_model(name):
    """The small sequence of kinds is how the large one begins (its whole period, where there is one)."""
    small, large = kinds(load_preset(name)), kinds(load_preset(FULL[name]))
    assert large[: len(small)] == small


@pytest.mark.parametrize(("name", "by"), [*GROWN.items(), ("composer-stacked-nano", "stack")])
def test_composers_full_size_is_grown_from_what_it_found(name, by):
    small, large = load_preset(name), load_preset(FULL[name])
    assert kinds(large) == WAYS[by](kinds(small), len(large.blocks))
    # The primitives are Llama's, which is what Composer fixes them to.
    assert set(large.blocks) == set(load_preset("llama-3.2-1b").blocks)


@pytest.mark.parametrize("name", ["jamba-nano", "jamba-v0.1"])
def test_jamba(name):
    architecture = load_preset(name)
    mixers, channels = architecture.blocks[::2], architecture.blocks[1::2]
    for index, (mixer, channel) in enumerate(zip(mixers, channels, strict=True)):
        assert isinstance(mixer, Attention if index % 8 == 4 else Mamba)
        assert isinstance(channel, MoE) == (index % 2 == 1)
        if isinstance(mixer, Attention):
            assert mixer.rope_base is None
        if isinstance(channel, MoE):
            assert (channel.n_routed, channel.top_k) == (16, 2)


@pytest.mark.parametrize("name", ["mixtral-nano", "mixtral-8x7b"])
def test_mixtral_routes_every_layer_to_2_of_8(name):
    channels = load_preset(name).blocks[1::2]
    assert {(block.n_routed, block.top_k) for block in channels if isinstance(block, MoE)} == {(8, 2)}
    assert all(isinstance(block, MoE) for block in channels)


@pytest.mark.parametrize("name", ["deepseek-nano", "deepseek-v2-lite"])
def test_deepseek_is_dense_first_and_shares_experts(name):
    first, *others = load_preset(name).blocks[1::2]
    assert first.kind == "mlp"
    assert all(isinstance(block, MoE) and block.n_shared > 0 for block in others)


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("stripedhyena-2-nano", [3]),
        ("stripedhyena-2-1b", [3, 10, 17, 24]),
        ("stripedhyena-2-7b", [3, 10, 17, 24, 31]),
        ("stripedhyena-2-40b", [3, 10, 17, 24, 31, 35, 42, 49]),
    ],
)
def test_stripedhyena_2_takes_its_operators_in_turn(name, attention):
    architecture = load_preset(name)
    mixers, channels = kinds(architecture)[::2], architecture.blocks[1::2]
    assert [index for index, kind in enumerate(mixers) if kind == "mha"] == attention
    hyena = [kind for kind in mixers if kind != "mha"]
    assert hyena == [("hyena_se", "hyena_mr", "hyena_li")[index % 3] for index in range(len(hyena))]
    assert [block.activation for block in channels] == ["geglu"] + ["bilinear"] * (len(channels) - 1)


def test_another_vocabulary():
    small = load_preset("llama-nano")
    known = small.id
    large = with_vocab(small, 4096)
    assert large.vocab_size == 4096
    assert large.blocks == small.blocks
    assert large.num_params() - small.num_params() == (4096 - 257) * 128
    assert large.id != known
    assert with_vocab(large, 257).id == known
    assert not with_vocab(load_preset("mixtral-8x7b"), 257).tie_embeddings
