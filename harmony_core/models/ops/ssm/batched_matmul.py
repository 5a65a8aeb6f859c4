"""Products of a few matrices each with its own other one, where the fast one is.

X, Y batch dimensions, M rows, K inner width, N columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.models.kernels import onednn_fp32
from harmony_core.models.ops.matmul import product

# Below this many FLOPs a product of oneDNN's costs more to call than it saves.
_LARGE = 2 << 20


def batched(a_XYMK: Tensor, b_XYKN: Tensor) -> Tensor:
    """a b without gradient, [X, Y, M, N]; one by one through oneDNN where these are fp32, large and on a CPU."""
    *batch, rows, inner = a_XYMK.shape
    columns = b_XYKN.shape[-1]
    large = 2 * rows * inner * columns >= _LARGE
    if not large or a_XYMK.dtype != torch.float32 or not onednn_fp32(a_XYMK.device.type):
        return a_XYMK @ b_XYKN
    pairs = zip(a_XYMK.flatten(0, 1), b_XYKN.flatten(0, 1), strict=True)
    products = [product(a_MK, b_KN.T) for a_MK, b_KN in pairs]
    y_SMN = products[0].unsqueeze(0) if len(products) == 1 else torch.stack(products)
    return y_SMN.view(*batch, rows, columns)
