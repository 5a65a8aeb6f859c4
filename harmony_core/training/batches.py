"""The rows of a step, on their way to the device while the step before is still computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Batches:
    """Rows by number; one batch may be ahead, which changes nothing but when it is read.

    Args:
        read: the rows of a number, int64 [B, T + 1], a function of the number alone.
        device: where they are wanted.
    """

    def __init__(self, read: Callable[[int], np.ndarray], device: torch.device) -> None:
        self._read, self._device = read, device
        self._ahead: tuple[int, Tensor] | None = None

    def fetch(self, number: int) -> None:
        """Reads a batch and starts its way to the device; nothing waits for that."""
        self._ahead = number, on_its_way(self._read(number), self._device)

    def take(self, number: int) -> Tensor:
        """A batch on the device: the one that was fetched, or another one, which is read now."""
        if self._ahead is None or self._ahead[0] != number:
            self.fetch(number)
        assert self._ahead is not None, "it was fetched"
        (_, rows), self._ahead = self._ahead, None
        return rows


def on_its_way(rows: np.ndarray, device: torch.device) -> Tensor:
    """Rows on a device. Out of pinned memory a GPU copies them by itself, in order with what it computes."""
    tensor = torch.from_numpy(rows)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
