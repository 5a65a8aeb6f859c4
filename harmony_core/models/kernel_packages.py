"""Kernels of optional packages: how each is loaded, and that none is missing on a GPU without somebody's word.

mamba-ssm's and flash-linear-attention's kernels are Triton's and need no compiler, but `import mamba_ssm` wants a CUDA
extension and `import fla` brings every model of theirs. So such a package becomes what its folder is, without running
its `__init__`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from harmony_core.errors import UserError
from harmony_core.models.triton_tuning import keep_picks

# Names of kernels that are done without, with commas between them.
WAIVED = "HARMONY_PLAIN_KERNELS"
# Of packages whose `__init__` is not run, the innermost of these, and the distribution that says their version.
_FOLDERS = {"mamba_ssm": ("mamba_ssm", "mamba-ssm"), "fla": ("fla.ops", "fla-core")}


@dataclass(frozen=True)
class Source:
    """Where a kernel can be had.

    Args:
        module: that it is in.
        function: its name there.
        extension: a compiled module without which it imports and does not run; empty is none.
    """

    module: str
    function: str
    extension: str = ""

    @property
    def package(self) -> str:
        """The module's first name."""
        return self.module.partition(".")[0]


class Loaded(NamedTuple):
    """A kernel, and the package that it is of."""

    package: str
    function: Callable[..., Any]


_FLA = "flash-linear-attention (make kernels)"
_MAMBA = "mamba-ssm (make kernels; no compiler is needed)"
_FLEX = Source("torch.nn.attention.flex_attention", "flex_attention", "triton")
_ROTARY = Source("harmony_core.models.ops.attention.rotary_kernel", "rotate_pairs", "triton")
# By the name that waives it: where it can be had, the best first, and what to install.
KERNELS: dict[str, tuple[str, tuple[Source, ...]]] = {
    "gated-delta-rule": (_FLA, (Source("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),)),
    "gated-norm": (_MAMBA, (Source("mamba_ssm.ops.triton.layernorm_gated", "rmsnorm_fn"),)),
    "head-norm": (_FLA, (Source("fla.modules.norm.fused_norm_gate", "rms_norm_gated"),)),
    "kda": (_FLA, (Source("fla.ops.kda", "chunk_kda"),)),
    "mamba-scan": (
        "mamba-ssm with its CUDA extension, which needs nvcc or hipcc",
        (Source("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", "selective_scan_cuda"),),
    ),
    "mamba2-scan": (_MAMBA, (Source("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined"),)),
    "rotary": ("Triton, which torch for GPUs brings", (_ROTARY,)),
    "short-convolution": (
        f"{_FLA}, or causal-conv1d with its CUDA extension",
        (
            Source("causal_conv1d", "causal_conv1d_fn", "causal_conv1d_cuda"),
            Source("fla.modules.causal_conv1d.ops", "causal_conv1d"),
        ),
    ),
    "window": ("Triton, which torch for GPUs brings", (_FLEX,)),
}


def waived() -> frozenset[str]:
    """The kernels that somebody said to do without.

    Raises:
        UserError: there is no kernel of that name.
    """
    names = frozenset(name.strip() for name in os.environ.get(WAIVED, "").split(",") if name.strip())
    for unknown in sorted(names - KERNELS.keys()):
        raise UserError(WAIVED, unknown, f"use names of {', '.join(KERNELS)}, with commas between them")
    return names


@functools.cache
def load(name: str) -> Loaded | None:
    """A kernel for a GPU, or None where it is waived.

    Args:
        name: of `KERNELS`.

    Raises:
        UserError: it cannot be had, and nobody waived it.
    """
    if name in waived():
        return None
    install, sources = KERNELS[name]
    reasons = []
    for source in sources:
        try:
            return Loaded(source.package, function_of(source))
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            # The package is not there or does not load, with another CUDA or version for example.
            reasons.append(f"{source.package} cannot be had ({error})")
    fix = f"install {install}, or set {WAIVED}={name} to compute it in plain PyTorch, which is slower"
    raise UserError(f"kernel {name}", "; ".join(reasons), fix)


def absent() -> list[str]:
    """Names of kernels of which no package is installed; what is there and does not load is not among them.

    Nothing is imported, since some packages ask for the device as they are.
    """
    return [name for name, (_, sources) in KERNELS.items() if not any(map(_is_installed, sources))]


def _is_installed(source: Source) -> bool:
    needed = {source.package, source.extension or source.package}
    return all(importlib.util.find_spec(name) is not None for name in needed)


def function_of(source: Source) -> Callable[..., Any]:
    """Imports a kernel; what its tuning finds is kept on disk.

    Raises:
        ImportError: its package or its extension is not there, or does not load.
    """
    if source.extension:
        importlib.import_module(source.extension)
    if source.package in _FOLDERS:
        _as_folder(*_FOLDERS[source.package])
    function: Callable[..., Any] = getattr(importlib.import_module(source.module), source.function)
    if source.package in _FOLDERS:
        keep_picks(source.package)
    return function


def _as_folder(package: str, distribution: str) -> None:
    """Lets a package's modules be imported without its `__init__`; one that is imported already stays."""
    if package in sys.modules:
        return
    if "." in package:
        _as_folder(package.rpartition(".")[0], distribution)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    module = types.ModuleType(package, f"The folder of {distribution}, without what its __init__ imports.")
    module.__spec__, module.__path__ = spec, list(spec.submodule_search_locations)
    module.__dict__["__version__"] = importlib.metadata.version(distribution)
    sys.modules[package] = module
