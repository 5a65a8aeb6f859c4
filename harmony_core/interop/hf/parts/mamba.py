"""Mamba-1 as Mamba and Jamba have it: block and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_core.architecture import Block, Mamba
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.weights import CONVOLUTION, Part, Weight, same


def mamba(fields: Fields, names: dict[str, str], inner_norms: bool) -> Mamba:
    """The block.

    Args:
        fields: of the family's configuration.
        names: what the family calls our fields.
        inner_norms: whether step size, B and C are normed.
    """
    width = fields.integer("hidden_size")
    rank = fields.integer(names["dt_rank"])
    values: dict[str, Any] = {name: fields.integer(names[name]) for name in ("d_state", "expand", "d_conv")}
    values |= {name: fields.flag(names[name]) for name in ("bias", "conv_bias")}
    return Mamba(
        **values,
        dt_rank=None if rank == -(-width // 16) else rank,
        inner_norms=inner_norms,
    )


def mamba_fields(block: Block, names: dict[str, str], d_model: int) -> dict[str, Any]:
    """The family's fields of a block.

    Args:
        block: its configuration.
        names: what the family calls our fields.
        d_model: the model's width.

    Raises:
        DoesNotFit: the block is no Mamba-1.
    """
    if not isinstance(block, Mamba):
        raise DoesNotFit
    values = {**dict(block), "dt_rank": block.rank(d_model)}
    return {theirs: values[ours] for ours, theirs in names.items()}


def mamba_weights(block: Mamba, ours: str, theirs: str) -> Iterator[Weight]:
    """In both, the projection gives x and then the gate, and the second one dt, B and C.

    Arguments as for `attention_weights`.
    """
    names = {"in_proj": "in_proj.weight", "x_proj": "x_proj.weight", "dt_proj": "dt_proj.weight"}
    names |= {"dt_bias": "dt_proj.bias", "a_log": "A_log", "skip": "D", "out": "out_proj.weight"}
    if block.bias:
        names |= {"in_bias": "in_proj.bias", "out_bias": "out_proj.bias"}
    if block.inner_norms:
        norms = enumerate(("dt", "b", "c"))
        names |= {f"norms.{index}.weight": f"{name}_layernorm.weight" for index, name in norms}
    yield from (same(f"{ours}.{mine}", f"{theirs}.{other}") for mine, other in names.items())
    yield from convolution_weights(ours, theirs, block.conv_bias)


def convolution_weights(ours: str, theirs: str, bias: bool) -> Iterator[Weight]:
    """The short convolution.

    Args:
        ours: how the block's keys begin here.
        theirs: how they begin there.
        bias: whether it has one.
    """
    yield Weight(f"{ours}.conv", (Part(f"{theirs}.conv1d.weight", None, CONVOLUTION),))
    if bias:
        yield same(f"{ours}.conv_bias", f"{theirs}.conv1d.bias")
