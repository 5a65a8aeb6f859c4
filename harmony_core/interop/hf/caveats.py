"""What a class of `transformers` computes otherwise than its own forward pass, which a folder has to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from harmony_core.architecture import Architecture, Block, Mamba, Mamba2, ShortConv
from harmony_core.interop.hf.family import Family


class Caveats(NamedTuple):
    """Reasons, each None where all is well.

    Args:
        no_cache: why it must not decode with its cache.
        no_left_padding: why a batch must not be padded before its sequences.
    """

    no_cache: str | None = None
    no_left_padding: str | None = None


def caveats(family: Family, architecture: Architecture) -> Caveats:
    """Those of a family's class for an architecture; tests hold each against the class."""
    return Caveats(_no_cache(family, architecture), _no_left_padding(architecture))


def _no_cache(family: Family, architecture: Architecture) -> str | None:
    if family.cache_needs_attention and not architecture.kv_bytes_per_token():
        return "the class has no cache without a layer of attention"
    if any(_has_dt_limits(block) for block in _blocks(architecture)):
        return "the class forgets the limits of the step size when it decodes with its cache"
    return None


def _has_dt_limits(block: Block) -> bool:
    """Every class with Mamba-2 forgets them in the recurrent form."""
    return isinstance(block, Mamba2) and (block.dt_limit[0] > 0 or block.dt_limit[1] is not None)


def _no_left_padding(architecture: Architecture) -> str | None:
    """The classes put zeros in the place of padding ahead of the projection, and not behind it."""
    if any(isinstance(block, Mamba | Mamba2 | ShortConv) and block.bias for block in _blocks(architecture)):
        return "the class lets the bias of its projection into the convolution there"
    return None


def _blocks(architecture: Architecture) -> Iterator[Block]:
    """All blocks, and those that a block is made of."""
    for block in architecture.blocks:
        yield block
        yield from (value for _, value in block if isinstance(value, Block))
