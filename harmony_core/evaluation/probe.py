"""The known small task: where it fails, the machine is to blame for what candidates die of there.

It does what every candidate does, with numbers that are known: forward and backward pass, a world of one process, a
file that is written and read back.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from harmony_core.training.device import device_for_training

_SIZE = 64
_SECONDS = 30.0


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Does it; an exception is a machine on which nothing should run.

    Args:
        payload: `folder`, where the candidates write their logs.
    """
    device = device_for_training()
    _compute(device)
    _meet(device)
    for folder in (payload["folder"], None):
        _write(folder)
    return {"device": str(device)}


def _compute(device: torch.device) -> None:
    """The sum of squares of x w, for ones and halves: n^3 n/4, and its gradient n^2."""
    x_NN = torch.ones(_SIZE, _SIZE, device=device)
    w_NN = torch.full((_SIZE, _SIZE), 0.5, device=device, requires_grad=True)
    loss = (x_NN @ w_NN).square().sum()
    loss.backward()
    assert w_NN.grad is not None
    expected = torch.full_like(w_NN, float(_SIZE**2))
    if float(loss) != _SIZE**4 / 4 or not torch.equal(w_NN.grad, expected):
        raise RuntimeError(f"{device} computes a wrong product")


def _meet(device: torch.device) -> None:
    """A collective of this process alone needs the network's libraries and, on a GPU, its driver."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=dist.HashStore(),  # type: ignore[attr-defined]
        rank=0,
        world_size=1,
        timeout=timedelta(seconds=_SECONDS),
    )
    try:
        total = torch.ones(1, device=device)
        dist.all_reduce(total)
        if float(total) != 1.0:
            raise RuntimeError(f"{backend} adds wrongly")
    finally:
        dist.destroy_process_group()


def _write(folder: str | None) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
        content = bytes(range(256)) * 16
        file.write(content)
        file.flush()
        file.seek(0)
        if file.read() != content:
            raise RuntimeError(f"{file.name} does not hold what was written")
