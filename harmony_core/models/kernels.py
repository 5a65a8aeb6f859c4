"""The one place where an implementation is chosen: vendor kernels on a GPU, oneDNN on a CPU, plain PyTorch else."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any, Literal

import torch

from harmony_core import tiling

_LOG = logging.getLogger(__name__)


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_fp32(device_type: str) -> bool:
    """Whether fp32 products go to oneDNN: MKL leaves AVX-512 unused on CPUs that are not Intel's (2.3x slower).

    Not while `torch.compile` traces, whose own products take this place.
    """
    return _ONEDNN and device_type == "cpu" and not torch.compiler.is_compiling()


def product_kernel(x_RI: torch.Tensor, w_OI: torch.Tensor) -> Literal["oneDNN", "weight first", "plain"]:
    """How x W^T is multiplied: oneDNN for fp32 on a CPU, but for few rows, where reading W is all the time there is.

    A large W is taken to lie in memory, a small one in a core's cache, to which a model's layers come in turn (so that
    even 128 KB are rarely there still). From memory a product with W first reads 17 to 23 GB/s, x W^T 7 to 15, and
    oneDNN as much as the first for one row of a large W, else 8 to 16; with more inputs than these oneDNN is the
    fastest. From a cache it is x W^T, by up to 3 times (Zen 5, 1 to 4 rows).
    """
    # oneDNN refuses empty matrices, which an expert that nobody chose brings.
    if x_RI.dtype != torch.float32 or not onednn_fp32(x_RI.device.type) or not x_RI.numel():
        return "plain"
    rows, inputs = x_RI.shape
    if rows > 4:
        return "oneDNN"
    if w_OI.numel() < (1 << 20 if rows == 1 else 1 << 15):
        return "plain"
    return "oneDNN" if inputs > 1024 or rows == 1 else "weight first"


def stack_is_read_first(x_AI: torch.Tensor, w_EOI: torch.Tensor) -> bool:
    """Whether few rows take the weights of a stack "weight first": fp32 on a CPU, out of more than a core's cache."""
    fp32 = x_AI.dtype == w_EOI.dtype == torch.float32 and onednn_fp32(x_AI.device.type)
    return fp32 and x_AI.shape[1] <= 1024 and w_EOI.numel() >= 1 << 18


@functools.cache
def vendor(device_type: str, module: str, name: str) -> Callable[..., Any] | None:
    """A function of an optional package, on a GPU where it can be imported; None elsewhere.

    Args:
        device_type: torch's name of it, `cuda` or `cpu`.
        module: that the function is in, with its package.
        name: the function's.
    """
    if device_type != "cuda" or importlib.util.find_spec(module.partition(".")[0]) is None:
        return None
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        # The package is there and does not load, with another CUDA or version for example. A line of the log is enough.
        _LOG.warning("%s of %s cannot be had (%s); plain PyTorch is used", name, module, error)
        return None
    return function


def ssd_kernel(device_type: str) -> Callable[..., Any] | None:
    """mamba-ssm's Triton chunk scan."""
    return vendor(device_type, "mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")


def scan_chunk(device_type: str, asked: int) -> int:
    """Tokens of a chunk of the plain Mamba-2 scan."""
    return min(asked, tiling.SCAN_CHUNK) if device_type == "cpu" else asked


def selective_scan_kernel(device_type: str, d_state: int) -> Callable[..., Any] | None:
    """mamba-ssm's CUDA selective scan, which takes at most 256 states a channel."""
    # Where mamba-ssm was built without this extension, the function can be imported and fails when it is called.
    if d_state > 256 or vendor(device_type, "selective_scan_cuda", "fwd") is None:
        return None
    return vendor(device_type, "mamba_ssm.ops.selective_scan_interface", "selective_scan_fn")


def conv_kernel(device_type: str, taps: int) -> Callable[..., Any] | None:
    """causal-conv1d's CUDA kernel, which knows 2 to 4 taps."""
    return vendor(device_type, "causal_conv1d", "causal_conv1d_fn") if 2 <= taps <= 4 else None


def grouped_product(device_type: str, dtype: torch.dtype, widths: tuple[int, ...]) -> Callable[..., Any] | None:
    """PyTorch's grouped GEMM, where it is one kernel: bf16 on a GPU, rows of a multiple of 16 bytes.

    Args:
        device_type: torch's name of it, `cuda` or `cpu`.
        dtype: of the products.
        widths: last dimensions of the operands, in elements.
    """
    if device_type != "cuda" or dtype != torch.bfloat16 or any(width % 8 for width in widths):
        return None
    return _device_grouped_product()


@functools.cache
def _device_grouped_product() -> Callable[..., Any] | None:
    if torch.cuda.get_device_capability() < (8, 0):
        return None
    return getattr(torch.nn.functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)


def keeps_opened_gates(device_type: str) -> bool:
    """Whether a feed-forward's backward pass is left its opened gates: a CPU takes twice as long to open them again."""
    return device_type == "cpu"


def blocked_products(device_type: str) -> bool:
    """Whether attention is blocks of plain products; not while `torch.compile` traces, which would unroll them."""
    return device_type == "cpu" and not torch.compiler.is_compiling()


def keys_first(q_BGRK: torch.Tensor, seen: int) -> bool:
    """Whether decoding multiplies keys with a query, and not by SDPA: of long fp32 caches with a query a key/value
    head MKL then reads a quarter more a second (Zen 5); elsewhere SDPA is as fast or faster.
    """
    return q_BGRK.device.type == "cpu" and q_BGRK.dtype == torch.float32 and q_BGRK.shape[2] == 1 and seen >= 256


def window_kernel(device_type: str, head_dim: int) -> Callable[..., Any] | None:
    """FlexAttention, compiled, for windows: Triton's kernels want heads of 16 elements or more."""
    return _compiled_flex_attention(device_type) if head_dim >= 16 and importlib.util.find_spec("triton") else None


@functools.cache
def _compiled_flex_attention(device_type: str) -> Callable[..., Any] | None:
    function = vendor(device_type, "torch.nn.attention.flex_attention", "flex_attention")
    return None if function is None else torch.compile(function)


def fir_path(device_type: str, taps: int) -> Literal["direct", "blocked", "FFT"]:
    """How filters with a weight for each lag are convolved: oneDNN's depthwise kernel, elsewhere matrix products.

    Long ones go through an FFT (on Zen 5 it wins from 300 to 400 taps up, over 512 to 8,192 tokens).
    """
    if taps > 256:
        return "FFT"
    return "direct" if _ONEDNN and device_type == "cpu" else "blocked"


def block_path(device_type: str) -> Literal["image", "batched"]:
    """How a blocked convolution's products are computed: as one dense convolution in oneDNN, elsewhere in one batch."""
    return "image" if _ONEDNN and device_type == "cpu" else "batched"


def modal_path(device_type: str) -> Literal["chunked", "FFT"]:
    """How sums of exponentials are convolved: between chunks one after the other, or on a GPU all at once by FFT."""
    return "FFT" if device_type == "cuda" else "chunked"


@functools.cache
def log_paths(paths: tuple[str, ...]) -> None:
    """Says once in a process which path each block took."""
    _LOG.info("kernels: %s", ", ".join(paths))
