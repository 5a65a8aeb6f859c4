"""An architecture as an SVG picture: its blocks from embedding to head, repetitions folded."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harmony_core.architecture import Architecture, Block
from harmony_core.report.theme import INK

MIXER_COLOR, CHANNEL_COLOR, END_COLOR = "#2f7ed8", "#d9730d", "#7f8894"

_WIDTH, _GAP, _LEFT, _MARGIN, _TEXT = 430, 6, 2, 40, 12
# A box has lines of this height, and so much above and below them.
_LINE, _PADDING, _INDENT = 16, 6, 10
# In type of one width, at most 0.62 of its size, so that a text's length is known before it is drawn.
_FONT = "ui-monospace, 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace"
_CHARACTERS = int((_WIDTH - _LEFT - _MARGIN - 2 * _INDENT) / (0.62 * _TEXT))


def architecture_svg(architecture: Architecture) -> str:
    """The picture as one SVG document; a run of equal units is drawn once with `x n` beside it."""
    width, vocab_size = architecture.d_model, architecture.vocab_size
    shapes: list[str] = []
    top = _end(shapes, 0, f"embedding  {vocab_size:,} x {width}")
    for count, unit in folded(architecture.blocks):
        start = top
        for block in unit:
            color = MIXER_COLOR if block.role == "mixer" else CHANNEL_COLOR
            top = _row(shapes, top, color, block.kind, _details(block))
        if count > 1:
            shapes.append(_bracket(start, top - _GAP, count))
    tied = "tied" if architecture.tie_embeddings else "untied"
    top = _end(shapes, top, f"norm, head  {width} x {vocab_size:,} ({tied})")
    caption = f"{architecture.id}: {architecture.num_params():,} parameters, "
    caption += f"{architecture.num_active_params():,} active"
    for line in textwrap.wrap(caption, _CHARACTERS):
        shapes.append(_text(_LEFT, top + 14, line))
        top += _LINE
    height = top + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="{_FONT}" font-size="{_TEXT}" role="img">'
    )
    title = f"<title>{escape(architecture.pattern())}</title>"
    return "\n".join([head, title, *shapes, "</svg>"]) + "\n"


def folded(blocks: Sequence[Block]) -> list[tuple[int, tuple[Block, ...]]]:
    """The blocks as (repetitions, unit) in order; at each place the repetition that covers most blocks."""
    result: list[tuple[int, tuple[Block, ...]]] = []
    start = 0
    while start < len(blocks):
        best = (1, 1)
        for length in range(1, (len(blocks) - start) // 2 + 1):
            count = _repetitions(blocks, start, length)
            if count > 1 and count * length > best[0] * best[1]:
                best = (count, length)
        result.append((best[0], tuple(blocks[start : start + best[1]])))
        start += best[0] * best[1]
    return result


def _repetitions(blocks: Sequence[Block], start: int, length: int) -> int:
    unit, count = blocks[start : start + length], 1
    while blocks[start + count * length : start + (count + 1) * length] == unit:
        count += 1
    return count


def _details(block: Block) -> str:
    return _told({key: value for key, value in block.to_dict().items() if key != "kind"})


def _told(fields: Mapping[str, Any]) -> str:
    """Names and values; those of a block within a block in brackets."""
    parts = (
        f"{key} ({_told(value)})" if isinstance(value, dict) else f"{key} {value}" for key, value in fields.items()
    )
    return ", ".join(parts)


def _end(shapes: list[str], top: int, text: str) -> int:
    return _row(shapes, top, END_COLOR, text, "")


def _row(shapes: list[str], top: int, color: str, label: str, details: str) -> int:
    """Adds one box, as high as its text is long, and returns where the next begins."""
    lines = textwrap.wrap(details, _CHARACTERS, break_on_hyphens=False)
    height = _LINE * (1 + len(lines)) + 2 * _PADDING
    box = f'<rect x="{_LEFT}" y="{top + 2}" width="{_WIDTH - _LEFT - _MARGIN}" height="{height}" rx="4" '
    texts = [_text(_LEFT + _INDENT, top + _PADDING + 14, label, weight="bold")]
    for number, line in enumerate(lines, 1):
        texts.append(_text(_LEFT + _INDENT, top + _PADDING + 14 + _LINE * number, line))
    shapes.append(
        f"<g><title>{escape(f'{label} {details}'.strip())}</title>"
        f'{box}fill="{color}" fill-opacity="0.18" stroke="{color}"/>{"".join(texts)}</g>'
    )
    return top + height + _GAP


def _bracket(top: int, bottom: int, count: int) -> str:
    x = _WIDTH - _MARGIN + 6
    line = f'<path d="M{x} {top + 2} h5 V{bottom + 2} h-5" fill="none" stroke="{INK}"/>'
    return line + _text(x + 9, (top + bottom) // 2 + 6, f"\N{MULTIPLICATION SIGN}{count}")


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" fill="{INK}" font-weight="{weight}">{escape(text)}</text>'
