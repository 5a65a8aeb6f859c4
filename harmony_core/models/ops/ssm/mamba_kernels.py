"""How the scans of mamba-ssm (2.3) want to be called.

B batch, T tokens, H heads, P head width, G groups, N state width, I inner width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor


def run_ssd_kernel(
    kernel: Callable[..., Any],
    x_BTHP: Tensor,
    raw_dt_BTH: Tensor,
    a_H: Tensor,
    b_BTGN: Tensor,
    c_BTGN: Tensor,
    skip_H: Tensor,
    dt_bias_H: Tensor,
    dt_limit: tuple[float, float | None],
    chunk: int,
    with_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """mamba-ssm's `mamba_chunk_scan_combined`, which makes the step sizes itself.

    Args:
        kernel: `mamba_chunk_scan_combined`.
        x_BTHP: inputs.
        raw_dt_BTH: step sizes before bias and softplus.
        a_H: decay rates, negative.
        b_BTGN: input maps; a group serves H / G consecutive heads.
        c_BTGN: output maps.
        skip_H: what of x goes straight to the output.
        dt_bias_H: added to the raw step sizes.
        dt_limit: least and largest step size; None is no largest.
        chunk: tokens of a chunk.
        with_state: whether the last state is wanted.

    Returns:
        y [B, T, H, P], and where asked for the last state, [B, H, P, N] in fp32.
    """
    low, high = dt_limit
    found = kernel(
        x_BTHP,
        raw_dt_BTH,
        a_H,
        b_BTGN,
        c_BTGN,
        chunk_size=chunk,
        D=skip_H,
        z=None,
        dt_bias=dt_bias_H,
        dt_softplus=True,
        dt_limit=(low, math.inf if high is None else high),
        return_final_states=with_state,
    )
    return (found[0], found[1].float()) if with_state else (found, None)


def run_selective_scan_kernel(
    kernel: Callable[..., Any],
    x_BTI: Tensor,
    raw_dt_BTI: Tensor,
    a_IN: Tensor,
    b_BTN: Tensor,
    c_BTN: Tensor,
    skip_I: Tensor,
    dt_bias_I: Tensor,
    with_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """mamba-ssm's `selective_scan_fn`, which makes the step sizes itself.

    Args:
        kernel: `selective_scan_fn`.
        x_BTI: inputs.
        raw_dt_BTI: step sizes before bias and softplus.
        a_IN: decay rates, negative.
        b_BTN: input maps.
        c_BTN: output maps.
        skip_I: what of x goes straight to the output.
        dt_bias_I: added to the raw step sizes.
        with_state: whether the last state is wanted.

    Returns:
        y [B, T, I] in the type of `x_BTI`, and where asked for the last state, [B, N, I] in fp32.
    """
    x, dt, b, c = (t.to(x_BTI.dtype).mT.contiguous() for t in (x_BTI, raw_dt_BTI, b_BTN, c_BTN))
    found = kernel(
        x,
        dt,
        a_IN,
        b,
        c,
        D=skip_I.float(),
        z=None,
        delta_bias=dt_bias_I.float(),
        delta_softplus=True,
        return_last_state=with_state,
    )
    y_BIT, last_BIN = found if with_state else (found, None)
    return y_BIT.mT, None if last_BIN is None else last_BIN.float()
