"""Mutation operators, one a file; importing this fills the registry."""

from harmony_core.space.mutations.delete import delete
from harmony_core.space.mutations.depth import depth
from harmony_core.space.mutations.duplicate import duplicate
from harmony_core.space.mutations.hyper_parameter import hyper_parameter
from harmony_core.space.mutations.insert import insert
from harmony_core.space.mutations.registry import MUTATIONS, Mutation
from harmony_core.space.mutations.replace import replace
from harmony_core.space.mutations.swap import swap
from harmony_core.space.mutations.width import width

__all__ = [
    "MUTATIONS",
    "Mutation",
    "delete",
    "depth",
    "duplicate",
    "hyper_parameter",
    "insert",
    "replace",
    "swap",
    "width",
]
