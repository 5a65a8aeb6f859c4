"""Bytes of a training step's tensors at their most, counted exactly, and what the process grows by beside them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from harmony_core.architecture import Architecture
from harmony_core.training.learner import Learner
from harmony_core.training.recipe import Recipe


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations return, each once, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def count(self, tensor: torch.Tensor) -> None:
        """Adds a tensor's storage, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and counts what it returned."""
        result = function(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self.count, result)
        return result


def most_live_bytes(architecture: Architecture, recipe: Recipe, rows_BT: np.ndarray) -> int:
    """Most tensor bytes of the second step: weights, moments, gradients, activations, what passes between them."""
    with LiveBytes() as counter:
        learner = Learner(architecture, recipe, 0, torch.device("cpu"))
        for parameter in learner.stage.parameters():
            counter.count(parameter)
        learner.step(rows_BT, 0.1)
        gc.collect()
        counter.peak = counter.live
        learner.step(rows_BT, 0.1)
    return counter.peak


def most_resident_bytes(architecture: Architecture, recipe: Recipe, rows_BT: np.ndarray) -> int:
    """The process's largest resident size after three steps: code, libraries and what the allocator cannot join too."""
    learner = Learner(architecture, recipe, 0, torch.device("cpu"))
    for _ in range(3):
        learner.step(rows_BT, 0.1)
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
