"""Decays from their logarithms."""

from __future__ import annotations

import torch
from torch import Tensor

# Beside what is of the order of one, less than this is nothing in the type: 2^-40 is 1 / 65,000 of fp32's rounding.
_NOTHING = {torch.float32: -40.0, torch.float64: -80.0}


def decay_of_(log: Tensor) -> Tensor:
    """2 to the power of `log`, in place; 0 where that is nothing beside one in the type of `log`.

    A CPU multiplies denormal numbers, which products of two or three strong decays are, many times as slowly: a block
    with first values took 1.7 times as long. Powers of two because `exp` goes to a library that is four times slower
    than `exp2` on a CPU.
    """
    decay: Tensor = torch.threshold_(log, _NOTHING[log.dtype], float("-inf")).exp2_()
    return decay
