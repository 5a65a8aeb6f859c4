"""What kind of hybrid an architecture is, by how its mixers pass on what came before: names, colours and shapes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from harmony_core.architecture import Architecture, block_class, is_block_kind

# How a mixer reads earlier tokens: each of them, a state of fixed size, or a filter over them.
ATTENTION = frozenset({"gqa", "mha", "mla", "mqa", "swa"})
RECURRENT = frozenset({"gated_deltanet", "kda", "mamba", "mamba2"})
CONVOLUTION = frozenset({"hyena", "hyena_li", "hyena_mr", "hyena_se", "short_conv"})
_MECHANISMS = {
    **dict.fromkeys(ATTENTION, ("attention",)),
    **dict.fromkeys(RECURRENT, ("recurrent",)),
    **dict.fromkeys(CONVOLUTION, ("convolution",)),
    "parallel": ("attention", "recurrent"),
}

# The kinds in a pattern, of which `2x(gqa-mlp) mamba2` has three.
_KIND = re.compile(r"(?<![a-z0-9_])[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Family:
    """A kind of hybrid.

    Args:
        name: what its legend says.
        color: always the same, of at least 3:1 contrast on white and on the dark page (WCAG 2.2, 1.4.11).
        shape: its mark, as Vega names it, for those who cannot tell the colours apart.
    """

    name: str
    color: str
    shape: str


OTHER = Family("other", "#7f8894", "wedge")
FAMILIES = (
    Family("attention", "#2f7ed8", "circle"),
    Family("recurrent", "#9b5fd0", "square"),
    Family("convolution", "#1e9e6a", "triangle-up"),
    Family("attention + recurrent", "#d9730d", "diamond"),
    Family("attention + convolution", "#0f9bb0", "cross"),
    Family("recurrent + convolution", "#d05aa8", "triangle-down"),
    Family("attention + recurrent + convolution", "#a8683f", "triangle-right"),
    OTHER,
)
_BY_NAME = {one.name: one for one in FAMILIES}


def family(kinds: Iterable[str]) -> Family:
    """The family of an architecture with blocks of these kinds; `OTHER` where nobody knows how one of them mixes."""
    found: set[str] = set()
    for kind in kinds:
        if kind in _MECHANISMS:
            found.update(_MECHANISMS[kind])
        elif not (is_block_kind(kind) and block_class(kind).role == "channel"):
            return OTHER
    return _BY_NAME.get(" + ".join(one for one in ("attention", "recurrent", "convolution") if one in found), OTHER)


@functools.lru_cache(maxsize=65536)
def family_of_pattern(pattern: str) -> Family:
    """The family by `Architecture.pattern()`, which every table of candidates has."""
    return family(_KIND.findall(pattern))


def family_of(architecture: Architecture) -> Family:
    """The family of an architecture."""
    return family(block.kind for block in architecture.blocks)
