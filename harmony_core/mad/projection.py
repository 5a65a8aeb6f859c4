"""The paper's small model of an architecture: a mixer, a channel mixer, and both again, at width 128.

Poli et al. 2024 (arXiv:2403.17844), section 3 and appendix B, have architectures of one or two kinds of mixers; the
rule for others is ours.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError

WIDTH = 128
NUM_BLOCKS = 4


@dataclass(frozen=True)
class Projection:
    """What is trained for an architecture.

    Args:
        architecture: the small model.
        told: what it is made of, and which kinds are left out.
    """

    architecture: Architecture
    told: str


def project(architecture: Architecture, vocab_size: int) -> Projection:
    """Its two commonest kinds of mixers and of channel mixers, each once, in the order of their first appearance.

    A single kind stands twice; a stack without channel mixers has four mixers. A kind's hyper-parameters are those of
    its first block, scaled to the width.

    Args:
        architecture: of any width and depth.
        vocab_size: the task's.

    Raises:
        UserError: it has no mixer, or a block does not scale to the width.
    """
    mixers, channels = (_commonest(architecture, role) for role in ("mixer", "channel"))
    if not mixers:
        raise UserError("architecture", architecture.pattern(), "it has no token mixer to project; train the stack")
    layers = [(mixers * 2)[:2], (channels * 2)[:2] if channels else (mixers * 2)[:2]]
    chosen = [layers[place % 2][place // 2] for place in range(NUM_BLOCKS)]
    try:
        blocks = [_scaled(block, WIDTH / architecture.d_model) for block in chosen]
        small = architecture.replace(d_model=WIDTH, vocab_size=vocab_size, tie_embeddings=True, blocks=tuple(blocks))
    except UserError as error:
        raise UserError("architecture", architecture.pattern(), f"not projected ({error}); train the stack") from None
    return Projection(small, f"{small.pattern()} for {architecture.pattern()}{_left_out(architecture, chosen)}")


def _commonest(architecture: Architecture, role: str) -> list[Block]:
    """The first block of each of the two kinds that hold most blocks, the earlier one first."""
    first: dict[str, Block] = {}
    for block in architecture.blocks:
        if block.role == role:
            first.setdefault(block.kind, block)
    counts = _counts(architecture)
    # Of kinds that hold as many, the earlier one stays.
    kept = sorted(first, key=lambda kind: -counts[kind])[:2]
    return [block for kind, block in first.items() if kind in kept]


def _counts(architecture: Architecture) -> Counter[str]:
    return Counter(block.kind for block in architecture.blocks)


def _left_out(architecture: Architecture, chosen: list[Block]) -> str:
    kept = {block.kind for block in chosen}
    rest = [f"{kind} ({count} blocks)" for kind, count in _counts(architecture).items() if kind not in kept]
    return f", without {', '.join(rest)}" if rest else ""


def _scaled(block: Block, ratio: float) -> Block:
    """The block in a model of another width: what it names in `grows` is scaled, the rest keeps its size.

    Raises:
        UserError: its sizes do not go together there.
    """
    values = dict(block)
    for name, one in values.items():
        if isinstance(one, Block):
            values[name] = _scaled(one, ratio)
        elif name in block.grows and one is not None:
            values[name] = max(1, round(one * ratio))
    if values.get("inner_width") is not None:
        # Its heads keep their width, so that it is a whole number of them.
        values["inner_width"] = max(1, values["inner_width"] // values["head_dim"]) * values["head_dim"]
    for name, whole in _wholes(values).items():
        if values.get(name) is not None:
            values[name] = math.gcd(values[name], whole)
    return type(block).parse(values, block.kind)


def _wholes(values: dict[str, Any]) -> dict[str, int]:
    """Of each count that shares out another one, that one: heads by groups of keys, channels by groups of filters."""
    wholes = {"num_groups": WIDTH}
    if "num_heads" in values:
        wholes["num_kv_heads"] = values["num_heads"]
    if "num_value_heads" in values:
        wholes["num_key_heads"] = values["num_value_heads"]
    if "expand" in values and "head_dim" in values:
        inner = values.get("inner_width") or values["expand"] * WIDTH
        wholes["n_groups"] = wholes["norm_groups"] = inner // values["head_dim"]
    return wholes
