"""Matrix products with a weight: y = x W^T + b, where the fast one is, and its gradients.

R rows (tokens), I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_core.models.kernels import onednn_fp32, product_kernel, projected_width, stack_is_read_first
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def product(x_RI: Tensor, w_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x W^T + b without gradient, contiguous, by the kernel that `product_kernel` names.

    Args:
        x_RI: rows, of any strides.
        w_OI: the weight, of any strides, in the type of `x_RI`.
        bias_O: what is added to every row, in the same type.
    """
    kind = product_kernel(x_RI, w_OI)
    if kind == "weight first":
        return _weight_first(x_RI, w_OI, bias_O)
    if kind == "oneDNN":
        y_RO: Tensor = torch.ops.mkldnn._linear_pointwise(x_RI, w_OI, bias_O, "none", [], "")
        return y_RO
    return x_RI @ w_OI.T if bias_O is None else torch.addmm(bias_O, x_RI, w_OI.T)


def _weight_first(x_RI: Tensor, w_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """(W x^T)^T over an even number of rows, for which MKL reads W at nearly the speed of memory."""
    rows = x_RI.shape[0]
    even_RI = torch.cat((x_RI, x_RI[:1])) if rows % 2 else x_RI.contiguous()
    y_RO = torch.mm(w_OI, even_RI.T).T
    y_RO = y_RO[:rows] if rows % 2 else y_RO
    return (y_RO if bias_O is None else y_RO + bias_O).contiguous()


def stacked_products(x_AI: Tensor, w_EOI: Tensor, slices: list[tuple[int, int, int]]) -> Tensor:
    """Few rows, each slice of them by its own weight, without gradient: [A, O] in the type of `x_AI`.

    Args:
        x_AI: at least one row.
        w_EOI: a stack of weights, of any type.
        slices: (weight, first row, row after the last), one after the other over all rows; an even number is faster.
    """
    w_OI, sizes = w_EOI.unbind(), [end - start for _, start, end in slices]
    parts = zip(slices, x_AI.contiguous().split(sizes), strict=True)
    if not stack_is_read_first(x_AI, w_EOI):
        return torch.cat([product(x_SI, w_OI[index].to(x_AI.dtype)) for (index, _, _), x_SI in parts])
    columns = [
        torch.mm(w_OI[index], x_SI.T) if len(x_SI) <= 4 else product(x_SI, w_OI[index]).T
        for (index, _, _), x_SI in parts
    ]
    return torch.cat(columns, 1).T.contiguous()


def input_gradient(dy_RO: Tensor, w_OI: Tensor) -> Tensor:
    """dy W."""
    return product(dy_RO, w_OI.T)


def weight_gradient(dy_RO: Tensor, x_RI: Tensor) -> Tensor:
    """dy^T x, [O, I], contiguous."""
    if x_RI.dtype == torch.float32 and onednn_fp32(x_RI.device.type):
        # Of two transposed operands oneDNN packs the second one cheaply: with many rows let that be the wider.
        if dy_RO.shape[1] > x_RI.shape[1] and x_RI.shape[0] > 512:
            return product(x_RI.T, dy_RO.T).T.contiguous()
        return product(dy_RO.T, x_RI.T)
    return dy_RO.T @ x_RI


def bias_gradient(dy_RO: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum over rows, added up in the bias's own type: [O]."""
    return dy_RO.sum(0, dtype=dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, w_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype) -> Tensor:
        x_RI, w_cast_OI = _rows(x, dtype), _padded_rows(w_OI.to(dtype))
        ctx.save_for_backward(x_RI, w_cast_OI)
        ctx.shape, ctx.types = x.shape, (x.dtype, w_OI.dtype, None if bias_O is None else bias_O.dtype)
        ctx.outputs, ctx.more = w_OI.shape[0], w_cast_OI.shape[0] - w_OI.shape[0]
        bias_O = bias_O if bias_O is None or not ctx.more else pad(bias_O, (0, ctx.more))
        y = _apply(x.shape, x_RI, w_cast_OI, bias_O)
        return y[..., : ctx.outputs] if ctx.more else y

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x_RI, w_OI = ctx.saved_tensors
        x_dtype, w_dtype, bias_dtype = ctx.types
        dy_RO = dy.reshape(-1, dy.shape[-1])
        dbias_O = bias_gradient(dy_RO, bias_dtype) if ctx.needs_input_grad[2] else None
        dy_RO = pad(dy_RO, (0, ctx.more)) if ctx.more else dy_RO
        dx = input_gradient(dy_RO, w_OI).view(ctx.shape).to(x_dtype) if ctx.needs_input_grad[0] else None
        dw_OI = weight_gradient(dy_RO, x_RI)[: ctx.outputs].to(w_dtype) if ctx.needs_input_grad[1] else None
        return dx, dw_OI, dbias_O, None


@without_autocast
def _inference(x: Tensor, w_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype) -> Tensor:
    return _apply(x.shape, _rows(x, dtype), w_OI.to(dtype), bias_O)


def _padded_rows(w_OI: Tensor) -> Tensor:
    """The weight with rows of zeros behind, where a kernel wants another number of outputs."""
    outputs = w_OI.shape[0]
    more = projected_width(w_OI.device.type, w_OI.dtype, outputs) - outputs
    return pad(w_OI, (0, 0, 0, more)) if more else w_OI


def _rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    return (x if x.dim() == 2 else x.reshape(-1, x.shape[-1])).to(dtype)


def _apply(shape: torch.Size, x_RI: Tensor, w_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    bias_O = None if bias_O is None else bias_O.to(x_RI.dtype)
    y_RO = product(x_RI, w_OI, bias_O)
    return y_RO if len(shape) == 2 else y_RO.view(*shape[:-1], w_OI.shape[0])


def linear(x: Tensor, w_OI: Tensor, bias_O: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """x W^T + b over the last dimension of `x` [.., I].

    Args:
        x: [.., I].
        w_OI: the weight, in the type that the optimiser keeps.
        bias_O: the bias, likewise; None is no bias.
        dtype: type of the product; None is the type of `x`, or autocast's where that is on.

    Returns:
        [.., O] in that type.
    """
    dtype = dtype or compute_dtype(x)
    if not torch.is_grad_enabled():
        return _inference(x, w_OI, bias_O, dtype)
    return _Linear.apply(x, w_OI, bias_O, dtype)  # type: ignore[no-any-return, no-untyped-call]
