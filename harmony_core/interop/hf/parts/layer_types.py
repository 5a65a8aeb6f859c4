"""What each layer is, by a word."""

from __future__ import annotations

from harmony_core.interop.hf.fields import Fields

FULL, SLIDING, RECURRENT = "full_attention", "sliding_attention", "linear_attention"
DENSE, SPARSE = "dense", "sparse"


def layer_types(fields: Fields, name: str, *words: str) -> list[str]:
    """What each layer is.

    Args:
        fields: of the configuration; `num_hidden_layers` says how many there are.
        name: of the field that lists them.
        words: at least two, what a layer may be.

    Raises:
        UserError: another number of layers, or another word.
    """
    length, types = fields.integer("num_hidden_layers"), fields.get(name)
    if not isinstance(types, list | tuple) or len(types) != length or not {*types} <= {*words}:
        raise fields.error(name, f"use {length} of {', '.join(words[:-1])} and {words[-1]}")
    return list(types)
