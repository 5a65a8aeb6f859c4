"""The one place where an implementation is chosen: vendor kernels on a GPU, oneDNN on a CPU, plain PyTorch else."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import torch

_LOG = logging.getLogger(__name__)


@functools.cache
def onednn_fp32(device_type: str) -> bool:
    """Whether fp32 products go to oneDNN: MKL leaves AVX-512 unused on CPUs that are not Intel's (2.3x slower)."""
    return (
        device_type == "cpu" and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@functools.cache
def vendor(device_type: str, module: str, name: str) -> Callable[..., Any] | None:
    """A function of an optional package, on a GPU where it can be imported; None elsewhere."""
    if device_type != "cuda" or importlib.util.find_spec(module.partition(".")[0]) is None:
        return None
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        # The package is there and does not load (another CUDA, say): worth a line, not worth a crash.
        _LOG.warning("%s cannot be imported (%s); plain PyTorch is used", module, error)
        return None
    return function


def ssd_kernel(device_type: str) -> Callable[..., Any] | None:
    """mamba-ssm's Triton chunk scan."""
    return vendor(device_type, "mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")


def selective_scan_kernel(device_type: str) -> Callable[..., Any] | None:
    """mamba-ssm's CUDA selective scan."""
    return vendor(device_type, "mamba_ssm.ops.selective_scan_interface", "selective_scan_fn")


def conv_kernel(device_type: str) -> Callable[..., Any] | None:
    """causal-conv1d's CUDA kernel."""
    return vendor(device_type, "causal_conv1d", "causal_conv1d_fn")


@functools.cache
def log_paths(paths: tuple[str, ...]) -> None:
    """Says once in a process which path each block took."""
    _LOG.info("kernels: %s", ", ".join(paths))
