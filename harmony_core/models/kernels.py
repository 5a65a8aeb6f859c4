"""The one place where an implementation is chosen: vendor kernels on a GPU, oneDNN on a CPU, plain PyTorch else."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any, Literal

import torch

from harmony_core import tiling
from harmony_core.errors import UserError
from harmony_core.models.kernel_packages import Loaded, load

_LOG = logging.getLogger(__name__)


# Shapes of windows that one process may compile.
WINDOWS = 256
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


def vendor(device_type: str, name: str) -> Loaded | None:
    """An optional package's kernel, on a GPU; None on a CPU and where it is waived.

    Args:
        device_type: torch's name of it, `cuda` or `cpu`.
        name: of `kernel_packages.KERNELS`.

    Raises:
        UserError: there should be one and it cannot be had.
    """
    return load(name) if device_type == "cuda" else None


def _function(device_type: str, name: str) -> Callable[..., Any] | None:
    found = vendor(device_type, name)
    return None if found is None else found.function


def ssd_kernel(device_type: str) -> Callable[..., Any] | None:
    """mamba-ssm's Triton chunk scan."""
    return _function(device_type, "mamba2-scan")


def preload() -> None:
    """Imports what a GPU's kernels are made of, where it is there, for children to share; asks no device.

    Not flash-linear-attention, which looks at the device as it is imported, but the part of torch's compiler that it
    and FlexAttention import, which is most of their time. What is missing is told by who needs it.
    """
    importlib.import_module("torch._inductor.lowering")
    for name in ("mamba2-scan", "gated-norm", "rotary"):
        with contextlib.suppress(UserError):
            load(name)


def scan_chunk(device_type: str, asked: int) -> int:
    """Tokens of a chunk of the plain Mamba-2 scan."""
    return min(asked, tiling.SCAN_CHUNK) if device_type == "cpu" else asked


def selective_scan_kernel(device_type: str, d_state: int) -> Callable[..., Any] | None:
    """mamba-ssm's CUDA selective scan, which takes at most 256 states a channel."""
    return _function(device_type, "mamba-scan") if d_state <= 256 else None


def conv_kernel(device_type: str, taps: int) -> Loaded | None:
    """causal-conv1d's CUDA kernel, or flash-linear-attention's of Triton; for 2 to 4 taps."""
    return vendor(device_type, "short-convolution") if 2 <= taps <= 4 else None


DeltaRule = Literal["gated-delta-rule", "kda"]


def delta_kernel(rule: DeltaRule, device_type: str, dtype: torch.dtype, key_width: int) -> Callable[..., Any] | None:
    """flash-linear-attention's delta rule, which multiplies in 16 bits and takes keys of at most 256 elements.

    Args:
        rule: whose decay is a head's or a channel's.
        device_type: torch's name of it, `cuda` or `cpu`.
        dtype: of queries, keys and values; the plain form keeps fp32's digits.
        key_width: elements of a key.
    """
    if dtype not in (torch.bfloat16, torch.float16) or key_width > 256:
        return None
    if device_type == "cuda" and gpu_architecture() == "gfx90a":
        _say_no_delta_kernel()
        return None
    return _function(device_type, rule)


def delta_path(rule: DeltaRule, device_type: str, key_width: int) -> str:
    """What a delta rule's block does, for the log; arguments as for `delta_kernel`."""
    plain = "torch chunked delta rule"
    if device_type == "cuda" and gpu_architecture() == "gfx90a":
        return f"{plain} (flash-linear-attention's does not compile for gfx90a)"
    found = delta_kernel(rule, device_type, torch.bfloat16, key_width)
    return plain if found is None else f"flash-linear-attention in 16 bits, {plain} in fp32"


@functools.cache
def gpu_architecture() -> str:
    """AMD's name of this process's GPU, `gfx90a` for an MI250X; empty for another maker's."""
    if torch.version.hip is None:
        return ""
    name: str = torch.cuda.get_device_properties().gcnArchName
    return name.partition(":")[0]


@functools.cache
def _say_no_delta_kernel() -> None:
    _LOG.warning(
        "flash-linear-attention's delta rule is known not to compile for gfx90a with several stages: plain PyTorch, "
        "which is slower, computes it"
    )


def group_norm_kernel(device_type: str, width: int) -> Callable[..., Any] | None:
    """mamba-ssm's Triton norm of groups beside a gate; for groups of at most 64 KB in fp32."""
    return _function(device_type, "gated-norm") if width <= 16_384 else None


def head_norm_kernel(device_type: str) -> Callable[..., Any] | None:
    """flash-linear-attention's Triton norm of a head, then a gate."""
    return _function(device_type, "head-norm")


def fused_rms_norm(device_type: str) -> bool:
    """Whether RMSNorm is PyTorch's own: a kernel forward and two backward on a GPU, many small ones on a CPU."""
    return device_type == "cuda"


def rotary_kernel(device_type: str) -> Callable[..., Any] | None:
    """Rotary positions in one pass of Triton's, where complex products take four."""
    return _function(device_type, "rotary") if not torch.compiler.is_compiling() else None


def grouped_product(device_type: str, dtype: torch.dtype, widths: tuple[int, ...]) -> Callable[..., Any] | None:
    """PyTorch's grouped GEMM: bf16 on a GPU, rows of a multiple of 16 bytes; `grouped_in_one_kernel` says of what kind.

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


def grouped_in_one_kernel() -> bool:
    """Whether PyTorch's grouped GEMM is one kernel on this GPU, as it is from capability 9.0 on and for gfx942 and
    gfx950; on an A100 or an MI250X it copies the groups' ends to the host and multiplies one after the other.
    """
    if torch.version.hip is not None:
        return gpu_architecture() in ("gfx942", "gfx950")
    return torch.cuda.get_device_capability() >= (9, 0)


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
    return _compiled_flex_attention(device_type) if head_dim >= 16 else None


@functools.cache
def _compiled_flex_attention(device_type: str) -> Callable[..., Any] | None:
    function = _function(device_type, "window")
    if function is None:
        return None
    # A window, a length and a width of heads each are compiled anew. Behind the limit of 8, all would be computed by
    # the uncompiled form, with every score in memory.
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, WINDOWS)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 4 * WINDOWS)
    return torch.compile(function)


def flash_widths(device_type: str) -> bool:
    """Whether values are padded to the keys' width: SDPA's flash kernels take one width, the CPU's blocks any."""
    return device_type == "cuda"


def lower_right(device_type: str) -> bool:
    """Whether causal attention of the last tokens to all is told by its alignment, which flash kernels take, not by a
    mask, with which they do not run. Not while `torch.compile` traces, which breaks at it.
    """
    return device_type == "cuda" and not torch.compiler.is_compiling()


def projected_width(device_type: str, dtype: torch.dtype, width: int) -> int:
    """Outputs that a product with a weight is computed with: on a GPU in 16 bits a multiple of 8, as tensor cores read
    rows by 16 bytes, and what they leave lies as convolutions want it.

    Args:
        device_type: torch's name of it, `cuda` or `cpu`.
        dtype: of the product.
        width: outputs that are wanted.
    """
    sixteen = device_type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    return -(-width // 8) * 8 if sixteen else width


def fir_path(device_type: str, taps: int) -> Literal["direct", "blocked", "FFT"]:
    """How filters with a weight for each lag are convolved: oneDNN's depthwise kernel, elsewhere matrix products.

    Long ones go through an FFT (on Zen 5 it wins from 300 to 400 taps up, over 512 to 8,192 tokens).
    """
    if taps > 256:
        return "FFT"
    return "direct" if _ONEDNN and device_type == "cpu" else "blocked"


def sums_by_products(device_type: str) -> bool:
    """Whether running sums are products: PyTorch's scan on a GPU rounds from run to run as its blocks finish."""
    return device_type == "cuda" and torch.are_deterministic_algorithms_enabled()


def filter_products(device_type: str, dtype: torch.dtype) -> torch.dtype:
    """The type in which a blocked convolution multiplies: on a GPU that of the block's products, which tensor cores
    want; elsewhere fp32.

    Args:
        device_type: torch's name of it, `cuda` or `cpu`.
        dtype: of the block's products.
    """
    return dtype if device_type == "cuda" and dtype in (torch.bfloat16, torch.float16) else torch.float32


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
