"""Interleavings of blocks in a short spelling: `2A+4M` is two blocks of attention, then four feed-forwards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Sequence
from typing import TypeVar

from harmony_core.architecture import Architecture, Block, is_block_kind
from harmony_core.errors import UserError

T = TypeVar("T", bound=Hashable)
# A run of equal things, and how many they are.
Group = tuple[T, int]

_TERM = re.compile(r"(\d{0,5})([A-Za-z]\w*)")
ATTENTION, FEED_FORWARD = "A", "M"
_FIX = "write runs as 2A+4M; A is attention, M a feed-forward, and any kind of block may stand for itself"


def groups(sequence: Sequence[T]) -> list[Group[T]]:
    """The runs of a sequence, in order."""
    return [(one, len(list(run))) for one, run in itertools.groupby(sequence)]


def ungrouped(runs: Sequence[Group[T]]) -> list[T]:
    """The sequence that has these runs."""
    return [one for one, count in runs for _ in range(count)]


def is_pattern(text: str) -> bool:
    """Whether it is meant as a pattern: names of blocks with counts, or anything with a plus."""
    term = _TERM.fullmatch(text)
    return "+" in text or (term is not None and _is_name(term[2]))


def read_pattern(text: str) -> list[str]:
    """The names of a pattern's blocks, one a block.

    Raises:
        UserError: a term that is no count with a name, or a name that no block has.
    """
    names: list[str] = []
    for term in text.replace(" ", "").split("+"):
        found = _TERM.fullmatch(term)
        if found is None or not _is_name(found[2]) or (found[1] and int(found[1]) == 0):
            raise UserError("pattern", term or text, _FIX)
        names += [found[2]] * int(found[1] or 1)
    return names


def with_blocks_of(names: Sequence[str], like: Architecture, where: str) -> Architecture:
    """The architecture of a pattern whose primitives are another one's first blocks of each name.

    Args:
        names: as `read_pattern` gives them.
        like: gives width, vocabulary and blocks.
        where: what it is called, for messages.

    Raises:
        UserError: it has no block of a name.
    """
    first: dict[str, Block] = {}
    for block in like.blocks:
        first.setdefault(block.kind, block)
        first.setdefault(_letter(block), block)
    for name in names:
        if name not in first:
            raise UserError("like", where, f"it has no block for {name}; use one that has")
    return like.replace(blocks=tuple(first[name] for name in names))


def pattern_text(architecture: Architecture) -> str:
    """The pattern of an architecture: by letters where each stands for one kind alone, else by kinds."""
    blocks = architecture.blocks
    kinds: dict[str, set[str]] = {}
    for block in blocks:
        kinds.setdefault(_letter(block), set()).add(block.kind)
    names = [_letter(block) if len(kinds[_letter(block)]) == 1 else block.kind for block in blocks]
    return "+".join(f"{count}{name}" for name, count in groups(names))


def _letter(block: Block) -> str:
    """Attention is what keeps keys and values; a mixer without them, such as a scan, is called by its kind."""
    if block.role == "channel":
        return FEED_FORWARD
    return ATTENTION if block.kv_bytes_per_token() > 0 else block.kind


def _is_name(name: str) -> bool:
    return name in (ATTENTION, FEED_FORWARD) or is_block_kind(name)
