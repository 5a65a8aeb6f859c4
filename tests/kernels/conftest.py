"""Triton's kernels on a CPU, by its interpreter: `TRITON_INTERPRET=1 pytest tests/kernels`, as `make test` does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from harmony_core.models import kernel_packages, kernels


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels that are chosen on a CPU too, each with its first configuration: there is nothing to be timed."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET=1 is not set: Triton wants it before it is imported")
    autotuner = pytest.importorskip("triton.runtime.autotuner").Autotuner
    monkeypatch.setattr(autotuner, "prune_configs", lambda self, _: self.configs[:1])
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    processor = SimpleNamespace(multi_processor_count=4, max_threads_per_multi_processor=2048)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: processor)
    monkeypatch.setenv(kernel_packages.WAIVED, "")
    monkeypatch.setattr(kernels, "vendor", lambda _, name: found(name))
    return


def found(name: str) -> kernel_packages.Loaded:
    """A kernel of an optional package; the test is skipped where that is not installed."""
    source = kernel_packages.KERNELS[name][1][-1]
    pytest.importorskip("einops")
    try:
        return kernel_packages.Loaded(source.package, kernel_packages.function_of(source))
    except ModuleNotFoundError as error:
        pytest.skip(f"{source.package} is not installed ({error})")
