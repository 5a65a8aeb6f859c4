"""What differs between two architectures as they are recorded, so that blocks which are not installed are told too."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]


def changes(before: str, after: str) -> list[str]:
    """What makes one architecture of the other, a change each: fields of the whole first, then blocks in order.

    Args:
        before: canonical JSON of an architecture.
        after: that of what became of it.

    Returns:
        Such as `block 3 (mlp): d_ff 208 -> 96`, `+ block 4: mha, num_heads 4`, `- block 2: mamba2`; numbers of blocks
        are those of `after`, but of blocks that are gone.
    """
    old, new = json.loads(before), json.loads(after)
    whole = [name for name in {**old, **new} if name != "blocks"]
    found = [told for name in whole if (told := _field(name, old, new))]
    before_texts, after_texts = ([json.dumps(block, sort_keys=True) for block in one["blocks"]] for one in (old, new))
    matcher = difflib.SequenceMatcher(None, before_texts, after_texts, autojunk=False)
    for what, i1, i2, j1, j2 in matcher.get_opcodes():
        if what != "equal":
            found += _blocks(old["blocks"][i1:i2], new["blocks"][j1:j2], i1, j1)
    return found


def _blocks(old: list[Json], new: list[Json], first_old: int, first_new: int) -> Iterator[str]:
    """What became of a run of blocks: those of one kind are changed, in order, others go and come."""
    old_kinds, new_kinds = ([block["kind"] for block in blocks] for blocks in (old, new))
    for what, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old_kinds, new_kinds, autojunk=False).get_opcodes():
        if what == "equal":
            for before, after, number in zip(
                old[i1:i2], new[j1:j2], range(first_new + j1, first_new + j2), strict=True
            ):
                told = [text for name in {**before, **after} if (text := _field(name, before, after))]
                if told:
                    yield f"block {number} ({after['kind']}): {', '.join(told)}"
            continue
        for number, block in enumerate(old[i1:i2], first_old + i1):
            yield f"- block {number}: {_told(block)}"
        for number, block in enumerate(new[j1:j2], first_new + j1):
            yield f"+ block {number}: {_told(block)}"


def _field(name: str, before: Json, after: Json) -> str:
    """A field that changed; one that is not written has its default."""
    if name in before and name in after and before[name] == after[name]:
        return ""
    old, new = (json.dumps(one[name]) if name in one else "default" for one in (before, after))
    return f"{name} {old} -> {new}"


def _told(block: Json) -> str:
    fields = [f"{name} {value}" for name, value in block.items() if name != "kind"]
    return ", ".join([block["kind"], *fields])
