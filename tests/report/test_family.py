"""What kind of hybrid an architecture is, and that its colours can be told from the page, light and dark."""

from __future__ import annotations

import pytest

from harmony_core.architecture import block_kinds
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.report.family import FAMILIES, OTHER, family, family_of, family_of_pattern


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama-nano", "attention"),
        ("mamba-2-nano", "recurrent"),
        ("jamba-nano", "attention + recurrent"),
        ("falcon-h1-nano", "attention + recurrent"),
        ("stripedhyena-2-nano", "attention + convolution"),
        ("lfm2-nano", "attention + convolution"),
        ("kimi-linear-nano", "attention + recurrent"),
    ],
)
def test_of_known_models(name: str, expected: str) -> None:
    assert family_of(load_preset(name)).name == expected


@pytest.mark.parametrize("name", preset_names())
def test_a_pattern_says_the_same(name: str) -> None:
    assert family_of_pattern(load_preset(name).pattern()) == family_of(load_preset(name))


def test_every_kind_of_ours_has_a_family_and_a_strangers_is_other() -> None:
    assert all(family([kind, "mlp"]) is not OTHER for kind in block_kinds("mixer"))
    assert family(["gqa", "somebody_elses"]) is OTHER
    assert family(["mlp"]) is OTHER


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#15181d"])
def test_colours_stand_out(paper: str) -> None:
    for one in FAMILIES:
        bright, dark = sorted((luminance(one.color), luminance(paper)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3
    assert len({one.color for one in FAMILIES}) == len({one.shape for one in FAMILIES}) == len(FAMILIES)
