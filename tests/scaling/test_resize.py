"""Growth by width meets a size within two per cent and keeps the blocks."""

from __future__ import annotations

import pytest

from harmony_core.architecture import Architecture, HyenaSE, MoE
from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.scaling.resize import TOLERANCE, resized, widened

NANO = ["llama-nano", "samba-nano", "stripedhyena-2-nano", "mamba-2-nano", "mixtral-nano", "deepseek-nano",
        "falcon-h1-nano", "qwen3-next-nano", "kimi-linear-nano", "jamba-nano", "gpt-oss-nano"]  # fmt: skip


@pytest.mark.parametrize("name", NANO)
@pytest.mark.parametrize("factor", [0.3, 2, 60])
def test_a_size_is_met_within_two_per_cent(name: str, factor: float) -> None:
    before = load_preset(name)
    wanted = int(factor * before.num_active_non_embedding_params())
    grown = resized(before, wanted)
    assert abs(grown.num_active_non_embedding_params() / wanted - 1) <= TOLERANCE
    assert [block.kind for block in grown.blocks] == [block.kind for block in before.blocks]
    assert grown.vocab_size == before.vocab_size
    assert (grown.d_model > before.d_model) == (factor > 1)


def test_heads_and_inner_widths_are_in_proportion() -> None:
    wide = widened(load_preset("llama-nano"), 256)
    assert wide is not None
    attention, mlp = (block.to_dict() for block in wide.blocks[:2])
    assert (attention["num_heads"], attention["num_kv_heads"], attention["head_dim"]) == (8, 4, 32)
    assert mlp["d_ff"] == 992
    # A third of two KV heads is one, and of four heads is one.
    assert widened(load_preset("llama-nano"), 40) is not None
    # Five heads cannot share two.
    assert widened(load_preset("llama-nano"), 160) is None


FOUND = Architecture.parse(
    {
        "d_model": 160,
        "vocab_size": 257,
        "blocks": [
            {"kind": "mamba2", "d_state": 32, "head_dim": 16, "n_groups": 2},
            {"kind": "moe", "n_routed": 8, "top_k": 3, "d_expert": 48},
            {"kind": "hyena_se", "num_groups": 8},
            {"kind": "moe", "n_routed": 4, "top_k": 1, "d_expert": 56, "n_shared": 1, "normalize_top_k": False},
        ],
    }
)


@pytest.mark.parametrize("factor", [1.5**step for step in range(-4, 6)])
def test_inner_widths_stay_in_proportion_where_few_widths_fit_the_rounded_groups(factor: float) -> None:
    """Six or seven groups share no width near 128: it was refused, or widened to 240 with experts of 8."""
    wanted = int(factor * FOUND.num_active_non_embedding_params())
    grown = resized(FOUND, wanted)
    assert abs(grown.num_active_non_embedding_params() / wanted - 1) <= TOLERANCE
    (before, *_), (after, *_) = ([one for one in whole.blocks if isinstance(one, MoE)] for whole in (FOUND, grown))
    assert 0.6 < after.d_expert / before.d_expert / (grown.d_model / FOUND.d_model) < 1.6


def test_the_nearest_number_that_fits_replaces_a_rounded_one() -> None:
    def groups(d_model: int) -> int | None:
        wide = widened(FOUND, d_model, nearest=True)
        return None if wide is None else next(one.num_groups for one in wide.blocks if isinstance(one, HyenaSE))

    assert widened(FOUND, 128) is None
    assert [groups(width) for width in (112, 120, 128, 160, 240)] == [7, None, 8, 8, 12]
    wide = widened(load_preset("llama-nano"), 160, nearest=True)
    assert wide is not None
    assert [wide.blocks[0].to_dict()[name] for name in ("num_heads", "num_kv_heads")] == [6, 2]


def test_its_own_size_is_itself() -> None:
    llama = load_preset("llama-nano")
    assert resized(llama, llama.num_active_non_embedding_params()) == llama


def test_a_size_that_no_width_has_is_refused() -> None:
    llama = load_preset("llama-nano")
    with pytest.raises(
        UserError, match=r"^params: 900: no width comes within 2%; the nearest size is \d+; use another"
    ):
        resized(llama, 900)
