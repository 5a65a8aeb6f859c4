"""Sums of all elements so far, which have the same bits on every run where that is asked for."""

from __future__ import annotations

from torch import Tensor

from harmony_core.models.kernels import sums_by_products


def running_sum(x: Tensor, dim: int) -> Tensor:
    """`x.cumsum(dim)`; on a GPU that is to repeat its bits a product with a triangle, since its scan does not.

    Args:
        x: floating, finite.
        dim: of few elements, a chunk's.
    """
    if not sums_by_products(x.device.type):
        return x.cumsum(dim)
    triangle = x.new_ones(x.shape[dim], x.shape[dim]).triu_()
    return (x.movedim(dim, -1) @ triangle).movedim(-1, dim)
