"""Which type an op computes in, and how a hand-written op keeps autocast from casting again inside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

_F = TypeVar("_F", bound=Callable[..., Any])


def compute_dtype(x: Tensor) -> torch.dtype:
    """The autocast type where autocast is on for the tensor's device, its own type elsewhere."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def at_least_fp32(x: Tensor) -> Tensor:
    """fp64 as it is, anything else in fp32."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(function: _F) -> _F:
    """Runs `function` with autocast off: its body chooses every type itself.

    Backward may be called inside or outside of the autocast region; this makes both the same.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        on = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        if not on:
            return function(*args, **kwargs)
        if torch.compiler.is_compiling():
            # `torch.compile` can trace this; the calls below are faster. The next call turns the other type off too.
            with torch.autocast(on[0], enabled=False):
                return run(*args, **kwargs)
        for kind in on:
            torch.set_autocast_enabled(kind, False)
        try:
            return function(*args, **kwargs)
        finally:
            for kind in on:
                torch.set_autocast_enabled(kind, True)

    return run  # type: ignore[return-value]
