"""What is compared with what: our operators and, where they are installed, those of other libraries.

B batch, T tokens, D model width, H heads, G key/value heads, K head width, V vocabulary, N state width, P head width of
a scan, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import (
    cross_entropy,
    linear,
    logsigmoid,
    normalize,
    scaled_dot_product_attention,
    silu,
    softplus,
)

from harmony_core.models.kernel_packages import Source, function_of
from harmony_core.models.ops.attention.attention import attend
from harmony_core.models.ops.attention.rope_table import rotary_table
from harmony_core.models.ops.attention.rotary import rotate
from harmony_core.models.ops.convolution.convolution import conv_silu
from harmony_core.models.ops.cross_entropy import linear_cross_entropy
from harmony_core.models.ops.linear.gated_delta import gated_delta
from harmony_core.models.ops.linear.kda import kda
from harmony_core.models.ops.rms_norm import rms_norm
from harmony_core.models.ops.ssm.gated_norm import gated_norm, gated_norm_reference
from harmony_core.models.ops.ssm.ssd import ssd

_EPSILON = 1e-5
_CHUNK, _WINDOW = 64, 1024
Function = Callable[..., Tensor]
# Normal numbers of a shape, fp32.
Draw = Callable[..., Tensor]


class Missing(Exception):
    """A peer that is not installed, or does not run on this device."""


@dataclass(frozen=True)
class Sizes:
    """Widths of a model.

    Args:
        d_model: D.
        head: K; values are as wide.
        vocab_size: V.
    """

    d_model: int
    head: int
    vocab_size: int

    @property
    def heads(self) -> int:
        """H."""
        return self.d_model // self.head


@dataclass(frozen=True)
class Operator:
    """One comparison.

    Args:
        name: of the operator.
        inputs: of sizes, tokens and type, drawn with the last; floating ones get gradients.
        ours: of these inputs.
        peers: by library, what makes the same function there.
    """

    name: str
    inputs: Callable[[Sizes, int, torch.dtype, Draw], tuple[Tensor, ...]]
    ours: Function
    peers: Mapping[str, Callable[[], Function]]


def of(package: str, module: str, name: str) -> Any:
    """A name of an optional package.

    Args:
        package: its distribution, for the row.
        module: to import.
        name: in it.

    Raises:
        Missing: it cannot be had.
    """
    try:
        return function_of(Source(module, name))
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise Missing(f"{package} cannot be had: {error}".splitlines()[0]) from None


def needs_gpu(package: str) -> None:
    """For kernels that a CPU cannot run, whatever is installed.

    Raises:
        Missing: there is none.
    """
    if not torch.cuda.is_available():
        raise Missing(f"{package} needs a GPU")


def _attention_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    heads, groups = sizes.heads, max(1, sizes.heads // 4)
    return tuple(draw(1, length, n, sizes.head).to(dtype) for n in (heads, groups, groups))


def _attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
    return attend(q_BTHK, k_BTGK, v_BTGK, 1 / math.sqrt(q_BTHK.shape[-1]))


def _narrow_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    """As latent attention has them: keys half as wide again as values."""
    heads, keys = sizes.heads, sizes.head + sizes.head // 2
    return tuple(draw(1, length, heads, width).to(dtype) for width in (keys, keys, sizes.head))


def _two_widths() -> Function:
    def run(*qkv: Tensor) -> Tensor:
        q_BHTK, k_BHTK, v_BHTV = (x.transpose(1, 2) for x in qkv)
        return scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTV, is_causal=True).transpose(1, 2)

    return run


def _rotary_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    return (draw(1, length, sizes.heads, sizes.head).to(dtype),)


def _turns(x_BTHK: Tensor) -> Tensor:
    return rotary_table(x_BTHK.shape[-1], 10_000.0).slice(0, x_BTHK.shape[1], x_BTHK.device)


def _complex_products() -> Function:
    def run(x_BTHK: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x_BTHK.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * _turns(x_BTHK).unsqueeze(1)).flatten(-2).to(x_BTHK.dtype)

    return run


def _gate_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    y, gate = (draw(length, sizes.d_model).to(dtype) for _ in range(2))
    return y, gate, draw(sizes.d_model)


def _window(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
    return attend(q_BTHK, k_BTGK, v_BTGK, 1 / math.sqrt(q_BTHK.shape[-1]), min(_WINDOW, q_BTHK.shape[1] // 2))


def _sdpa_flash() -> Function:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def run(*qkv: Tensor) -> Tensor:
        q_BHTK, k_BGTK, v_BGTK = (x.transpose(1, 2) for x in qkv)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            y = scaled_dot_product_attention(q_BHTK, k_BGTK, v_BGTK, is_causal=True, enable_gqa=True)
        return y.transpose(1, 2)

    return run


def _flash_window() -> Function:
    needs_gpu("flash-attn")
    kernel = of("flash-attn", "flash_attn", "flash_attn_func")
    # It counts the keys before a query, without the query's own.
    return lambda q, k, v: kernel(q, k, v, causal=True, window_size=(min(_WINDOW, q.shape[1] // 2) - 1, 0))


def _scan_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    width = max(4, sizes.head // 2)
    heads = 2 * sizes.d_model // width
    x, raw_dt = draw(1, length, heads, width).to(dtype), draw(1, length, heads)
    maps = [0.3 * draw(1, length, 1, sizes.head).to(dtype) for _ in range(2)]
    return (x, raw_dt, -draw(heads).exp(), *maps, draw(heads))


def _ssd(x: Tensor, raw_dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor) -> Tensor:
    return ssd(x, softplus(raw_dt - 4), a, b, c, skip, 256)[0]


def _mamba_ssm() -> Function:
    needs_gpu("mamba-ssm")
    kernel = of("mamba-ssm", "mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")
    return lambda x, dt, a, b, c, skip: kernel(x, softplus(dt - 4), a, b, c, chunk_size=256, D=skip)


def _delta_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    qk = normalize(draw(1, length, 2 * sizes.heads, sizes.head), dim=-1).to(dtype)
    v, beta = draw(1, length, sizes.heads, sizes.head), draw(1, length, sizes.heads).sigmoid()
    return qk, v.to(dtype), logsigmoid(draw(1, length, sizes.heads) + 3), beta.to(dtype)


def _channel_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    qk, v, _, beta = _delta_inputs(sizes, length, dtype, draw)
    return qk, v, logsigmoid(draw(1, length, sizes.heads, sizes.head) + 3), beta


def _gated_delta(qk: Tensor, v: Tensor, log: Tensor, beta: Tensor) -> Tensor:
    return gated_delta(qk, v, log, beta, _CHUNK)[0].to(v.dtype)


def _kda(qk: Tensor, v: Tensor, log: Tensor, beta: Tensor) -> Tensor:
    return kda(qk, v, log, beta, _CHUNK)[0].to(v.dtype)


def _fla_delta(module: str, name: str) -> Callable[[], Function]:
    def make() -> Function:
        needs_gpu("flash-linear-attention")
        kernel = of("flash-linear-attention", module, name)

        def run(qk: Tensor, v: Tensor, log: Tensor, beta: Tensor) -> Tensor:
            q, k = qk.chunk(2, 2)
            y: Tensor = kernel(q, k, v, log, beta)[0]
            return y

        return run

    return make


def _convolution_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    return draw(1, length, sizes.d_model).to(dtype), draw(sizes.d_model, 4).to(dtype)


def _causal_conv1d() -> Function:
    needs_gpu("causal-conv1d")
    kernel = of("causal-conv1d", "causal_conv1d", "causal_conv1d_fn")
    return lambda x, w: kernel(x.mT, w, activation="silu").mT


def _torch_convolution() -> Function:
    conv1d, pad = torch.nn.functional.conv1d, torch.nn.functional.pad
    return lambda x, w: silu(conv1d(pad(x.mT, (w.shape[1] - 1, 0)), w.unsqueeze(1), groups=len(w)).mT)


def _norm_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    return draw(length, sizes.d_model).to(dtype), draw(sizes.d_model).to(dtype)


def _liger_norm() -> Function:
    needs_gpu("liger-kernel")
    kernel = of("liger-kernel", "liger_kernel.transformers.functional", "liger_rms_norm")
    return lambda x, w: kernel(x, w, _EPSILON, in_place=False)


def _loss_inputs(sizes: Sizes, length: int, dtype: torch.dtype, draw: Draw) -> tuple[Tensor, ...]:
    hidden, head = draw(length, sizes.d_model), 0.02 * draw(sizes.vocab_size, sizes.d_model)
    return hidden.to(dtype), head.to(dtype), torch.arange(length) * 7919 % sizes.vocab_size


def _liger_loss() -> Function:
    needs_gpu("liger-kernel")
    loss = of("liger-kernel", "liger_kernel.transformers", "LigerFusedLinearCrossEntropyLoss")()
    return lambda hidden, head, targets: loss(head, hidden, targets)


def _all_logits() -> Function:
    return lambda hidden, head, targets: cross_entropy(linear(hidden, head).float(), targets)


_FLASH = "SDPA flash"
_FLA = "flash-linear-attention"
OPERATORS = (
    Operator("attention", _attention_inputs, _attention, {_FLASH: _sdpa_flash}),
    Operator("attention, values narrower than keys", _narrow_inputs, _attention, {"SDPA as it is": _two_widths}),
    Operator(
        "rotary positions", _rotary_inputs, lambda x: rotate(x, _turns(x)), {"complex products": _complex_products}
    ),
    Operator(
        "norm of gated groups",
        _gate_inputs,
        lambda y, gate, w: gated_norm(y, gate, w, _EPSILON, 1),
        {"plain form": lambda: lambda y, gate, w: gated_norm_reference(y, gate, w, _EPSILON, 1)},
    ),
    Operator(
        "gated delta rule, plain form",
        _delta_inputs,
        _gated_delta,
        {_FLA: _fla_delta("fla.ops.gated_delta_rule", "chunk_gated_delta_rule")},
    ),
    Operator(
        "Kimi delta rule, plain form",
        _channel_inputs,
        _kda,
        {_FLA: _fla_delta("fla.ops.kda", "chunk_kda")},
    ),
    Operator(
        "short convolution and SiLU",
        _convolution_inputs,
        lambda x, w: conv_silu(x, w, None),
        {"causal-conv1d": _causal_conv1d, "torch": _torch_convolution},
    ),
    Operator(
        "RMSNorm",
        _norm_inputs,
        lambda x, w: rms_norm(x, w, _EPSILON),
        {"torch": lambda: lambda x, w: torch.nn.functional.rms_norm(x, w.shape, w, _EPSILON), "Liger": _liger_norm},
    ),
    Operator("head and loss", _loss_inputs, linear_cross_entropy, {"all logits": _all_logits, "Liger": _liger_loss}),
    # FlexAttention is compiled and mamba-ssm's kernels are tuned first, which takes longest.
    Operator("window attention", _attention_inputs, _window, {"flash-attn": _flash_window}),
    Operator("Mamba-2 scan, plain form", _scan_inputs, _ssd, {"mamba-ssm": _mamba_ssm}),
)
