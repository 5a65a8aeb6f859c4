"""The picture of an architecture: every block once, repetitions folded, well-formed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from harmony_core.architecture import GQA, MLP, Architecture, Mamba2
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.report.diagram import architecture_svg, folded

G = GQA(num_heads=4, num_kv_heads=2, head_dim=8)
H = GQA(num_heads=4, num_kv_heads=4, head_dim=8)
F = MLP(d_ff=24)
M = Mamba2(d_state=8, head_dim=8)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ((F,), [(1, (F,))]),
        ((G, F), [(1, (G,)), (1, (F,))]),
        ((G, F, G, F, M), [(2, (G, F)), (1, (M,))]),
        # Equal kinds with other hyper-parameters are no repetition.
        ((G, F, H, F), [(1, (G,)), (1, (F,)), (1, (H,)), (1, (F,))]),
        ((M, M, M, G), [(3, (M,)), (1, (G,))]),
        ((M, F, M, F, G, F, M, F, M, F, G, F), [(2, (M, F, M, F, G, F))]),
    ],
)
def test_folded_by_hand(blocks, expected) -> None:
    assert folded(blocks) == expected


@pytest.mark.parametrize("name", preset_names())
def test_nothing_is_lost_in_a_picture(name: str) -> None:
    architecture = load_preset(name)
    unfolded = [block for count, unit in folded(architecture.blocks) for block in unit * count]
    assert tuple(unfolded) == architecture.blocks
    svg = ElementTree.fromstring(architecture_svg(architecture))
    text = " ".join(svg.itertext())
    assert architecture.id in text
    assert f"{architecture.num_params():,}" in text
    for block in architecture.blocks:
        for key, value in leaves(block.to_dict()):
            assert key == "kind" or f"{key} {value}" in text
    drawn = sum(len(unit) for _, unit in folded(architecture.blocks))
    assert len(svg.findall("{*}g")) == drawn + 2


def leaves(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        yield from leaves(value) if isinstance(value, dict) else [(key, value)]


@pytest.mark.parametrize("name", preset_names())
def test_text_fits_its_box(name: str) -> None:
    for group in ElementTree.fromstring(architecture_svg(load_preset(name))).findall("{*}g"):
        box = group.find("{*}rect")
        right, bottom = (float(box.get(a)) + float(box.get(b)) for a, b in (("x", "width"), ("y", "height")))
        for text in group.findall("{*}text"):
            assert float(text.get("x")) + len(text.text) * 0.62 * 12 <= right
            assert float(text.get("y")) <= bottom


def test_repetition_and_tying_are_written() -> None:
    tied = Architecture(d_model=16, vocab_size=32, blocks=(G, F, G, F))
    assert "\N{MULTIPLICATION SIGN}2" in architecture_svg(tied)
    assert "(tied)" in architecture_svg(tied)
    untied = tied.model_copy(update={"tie_embeddings": False})
    assert "(untied)" in architecture_svg(untied)
