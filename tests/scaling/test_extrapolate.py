"""Stretching and stacking: Composer's published designs at their depths, and the trim rule at its corners."""

from __future__ import annotations

import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.scaling.extrapolate import deepened, stack, stretch
from harmony_core.scaling.pattern import groups, is_pattern, pattern_text, read_pattern, with_blocks_of
from harmony_core.scaling.resize import TOLERANCE, body_params
from harmony_core.scaling.width import to_params

# What Composer found in 6 and in 16 blocks.
STACKED, STRETCHED = "2A+4M", "2A+5M+2A+3M+1A+3M"
LLAMA = load_preset("llama-3.2-1b")


def design(pattern: str) -> list[str]:
    return read_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "grown", "blocks", "expected"),
    [
        # Five copies are 30 blocks; of a third of a copy one block of three is too many, and the feed-forwards, at 2
        # for 4/3, exceed by most.
        (STACKED, stack, 32, "+".join([STACKED] * 5) + "+1A+1M"),
        # Twice as many of everything: nothing is rounded.
        (STRETCHED, stretch, 32, "4A+10M+4A+6M+2A+6M"),
        # Half a copy is left.
        (STACKED, stack, 27, "+".join([STACKED] * 4) + "+1A+2M"),
        # 4, 10, 4, 6, 2, 6 for 3.625, 9.0625, 3.625, 5.4375, 1.8125, 5.4375: three too many.
        (STRETCHED, stretch, 29, "4A+9M+4A+5M+2A+5M"),
        # Attention first and feed-forwards last: why six blocks are stacked.
        (STACKED, stretch, 32, "11A+21M"),
        ("1A+1M", stretch, 2, "1A+1M"),
        ("3A+1M", stretch, 2, "1A+1M"),
        (STACKED, stack, 6, STACKED),
        # One block is left for two runs, and goes to the larger one.
        (STACKED, stack, 7, f"{STACKED}+1M"),
        # Of two that exceed alike the last is trimmed.
        ("1A+1M+1A+1M", stretch, 6, "2A+2M+1A+1M"),
    ],
)
def test_the_arithmetic(pattern, grown, blocks, expected):
    assert grown(design(pattern), blocks) == design(expected)


@pytest.mark.parametrize("pattern", [STACKED, STRETCHED, "1A+1M+1A+9M"])
def test_every_depth_that_can_be_reached_is(pattern):
    small = design(pattern)
    runs = pattern.count("+") + 1
    for blocks in range(1, 70):
        assert len(stack(small, blocks)) == blocks
        if blocks >= runs:
            grown = stretch(small, blocks)
            assert len(grown) == blocks
            # The order of the runs is the pattern's, and none is lost.
            assert [name for name, _ in groups(grown)] == [name for name, _ in groups(small)]
        else:
            with pytest.raises(UserError, match=f"^blocks: {blocks}: stretching keeps all its {runs} runs"):
                stretch(small, blocks)


@pytest.mark.parametrize(
    ("pattern", "by", "blocks", "attention", "surplus"),
    [(STACKED, "stack", 27, 9, 0.028), (STRETCHED, "stretch", 29, 10, 0.0905)],
)
def test_the_papers_depths_at_the_papers_width(pattern, by, blocks, attention, surplus):
    """27 and 29 blocks with 9 and 10 of attention at width 2048 and inner width 8192: about 3% and 9% above Llama."""
    grown = deepened(with_blocks_of(read_pattern(pattern), LLAMA, "llama-3.2-1b"), by, blocks)
    assert (len(grown.blocks), grown.num_mixers) == (blocks, attention)
    assert (grown.d_model, grown.blocks[-1].d_ff) == (2048, 8192)
    of_attention, of_mlp = 2048 * (32 + 2 * 8) * 64 + 32 * 64 * 2048, 3 * 2048 * 8192
    norms = (blocks + 1) * 2048
    assert body_params(grown) == attention * of_attention + (blocks - attention) * of_mlp + norms
    assert body_params(grown) / body_params(LLAMA) - 1 == pytest.approx(surplus, abs=5e-4)
    twin = to_params(grown, body_params(LLAMA))
    assert pattern_text(twin) == pattern_text(grown)
    assert abs(body_params(twin) / body_params(LLAMA) - 1) < TOLERANCE


def test_growth_takes_any_architecture_with_its_own_blocks():
    small = load_preset("samba-nano")
    grown = deepened(small, "stretch", 16)
    assert grown.blocks == tuple(block for block in small.blocks for _ in range(2))
    wide = to_params(deepened(small, "stack", 20), 20_000_000)
    assert body_params(wide) == pytest.approx(20_000_000, rel=TOLERANCE)
    assert [block.kind for block in wide.blocks] == [block.kind for block in (*small.blocks * 2, *small.blocks[:4])]


def test_a_pattern_is_read_as_it_is_written():
    for text in (STACKED, STRETCHED, "3swa+1mlp+1mamba"):
        like = load_preset("samba-nano") if "swa" in text else LLAMA
        assert pattern_text(with_blocks_of(read_pattern(text), like, "it")) == text.replace("mlp", "M").replace(
            "swa", "A"
        )
    assert read_pattern("A+M") == ["A", "M"]
    # Two kinds of attention cannot both be A.
    assert pattern_text(load_preset("stripedhyena-2-nano")).startswith("1hyena_se+1M+1hyena_mr")
    assert [is_pattern(text) for text in (STACKED, "4gqa", "2A+4X", "llama-nano", "0ee14f29", "pattern.yaml")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["2A+4X", "2A++4M", "A4", "0A+4M", "-2A+M", "2A+4M.yaml", "1000000A+M"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(UserError, match=r"^pattern: .*write runs as 2A"):
        read_pattern(text)
