"""An architecture as an SVG picture: its blocks from embedding to head, repetitions folded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from harmony_core.architecture import Architecture, Block

MIXER_COLOR, CHANNEL_COLOR, END_COLOR = "#3d6cb9", "#e09f3e", "#6b7280"

_WIDTH, _ROW, _GAP, _LEFT, _MARGIN, _TEXT = 430, 26, 6, 12, 40, 12


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
    shapes.append(_text(_LEFT, top + 14, caption, fill="#333"))
    height = top + 24
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="{_TEXT}" role="img">'
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
    fields = {key: value for key, value in block.to_dict().items() if key != "kind"}
    return ", ".join(f"{key} {value}" for key, value in fields.items())


def _end(shapes: list[str], top: int, text: str) -> int:
    return _row(shapes, top, END_COLOR, text, "")


def _row(shapes: list[str], top: int, color: str, label: str, details: str) -> int:
    """Adds one box and returns where the next begins; long details are cut, in full in the tooltip."""
    room = _WIDTH - _LEFT - _MARGIN
    box = f'<rect x="{_LEFT}" y="{top + 2}" width="{room}" height="{_ROW}" rx="4" '
    shown = details if len(details) <= 46 else details[:45] + "\N{HORIZONTAL ELLIPSIS}"
    shapes.append(
        f"<g><title>{escape(f'{label} {details}'.strip())}</title>"
        f'{box}fill="{color}" fill-opacity="0.18" stroke="{color}"/>'
        f"{_text(_LEFT + 10, top + 19, label, weight='bold')}"
        f"{_text(_LEFT + 80, top + 19, shown) if shown else ''}</g>"
    )
    return top + _ROW + _GAP


def _bracket(top: int, bottom: int, count: int) -> str:
    x = _WIDTH - _MARGIN + 6
    line = f'<path d="M{x} {top + 2} h5 V{bottom + 2} h-5" fill="none" stroke="#333"/>'
    return line + _text(x + 9, (top + bottom) // 2 + 6, f"\N{MULTIPLICATION SIGN}{count}")


def _text(x: int, y: int, text: str, fill: str = "#111", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" fill="{fill}" font-weight="{weight}">{escape(text)}</text>'
