"""Where a process computes, and that finding out leaves its forks whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from harmony_core.errors import UserError
from harmony_core.training.device import device_for_training, name_accelerator, uses_gpu

# A build for GPUs on a machine whose GPU is shared out (MIG); whoever asks a device is told where from.
ASKED = """
import os, sys, torch
torch.version.cuda = "12.8"

def asked(*_, **__):
    import traceback
    print("".join(traceback.format_stack(limit=6)), file=sys.stderr)
    os._exit(3)

for name in ("is_available", "device_count", "current_device", "_lazy_init", "get_device_properties", "init"):
    setattr(torch.cuda, name, asked)
import harmony_core.evaluation.preload
import threading
assert threading.active_count() == 1
assert "torch._inductor.lowering" in sys.modules
assert "deepspeed" not in sys.modules
import harmony_core.evaluation.preload_deepspeed
assert os.environ["DS_ACCELERATOR"] == "cuda"
from deepspeed.accelerator import get_accelerator
assert get_accelerator().device_name() == "cuda"
"""


def test_the_preload_asks_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7c0e4a4f-4d2c-5c5b-9a7e-3e2b5d2b1a10")
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("cuda", "hip", "visible", "accelerator"),
    [
        ("12.8", None, "0,1", "cuda"),
        (None, "7.1", "3", "cuda"),
        ("12.8", None, "", "cpu"),
        ("12.8", None, "-1", "cpu"),
        (None, None, "0", "cpu"),
    ],
)
def test_torch_and_deepspeed_use_the_same(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, hip: str | None, visible: str, accelerator: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "2")
    name_accelerator()
    assert os.environ["DS_ACCELERATOR"] == accelerator
    assert uses_gpu() == (accelerator == "cuda")
    assert device_for_training() == (torch.device("cuda", 2) if accelerator == "cuda" else torch.device("cpu"))


def test_a_gpu_that_torch_cannot_use_is_told_and_not_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"GPUs: 0: mend the driver .*CUDA_VISIBLE_DEVICES= on the CPU"):
        device_for_training()
