"""What Triton compiled and tuned stays on the node: tuned once, and read by every later process.

Triton times each of a kernel's configurations at the first call of every shape. It can keep what it found
(`TRITON_CACHE_AUTOTUNING`), but not of configurations that have a hook, since hooks are no data. Of the 14 kernels that
a step of mamba-ssm's scan tunes, 4 have such configurations, 32 of 110. Their hooks all set an output to zero before it
is added to, whatever the configuration is. So that is done around the kernel instead, and configurations become data.
"""

from __future__ import annotations

import math
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harmony_core.errors import UserError

# Packages whose kernels are not to be tuned in this process.
_PINNED: set[str] = set()
FOLDER, KEEP_PICKS = "TRITON_CACHE_DIR", "TRITON_CACHE_AUTOTUNING"


def name_cache() -> None:
    """Says, before Triton is imported, where it keeps what it compiled and tuned; what was said before stays.

    Home is read-only on many compute nodes, and one folder for all nodes is slow. This one is the node's own, and this
    user's alone, since what lies there is run.

    Raises:
        UserError: the folder is somebody else's.
    """
    os.environ.setdefault(KEEP_PICKS, "1")
    if FOLDER in os.environ:
        return
    folder = Path(tempfile.gettempdir(), f"harmony-triton-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(FOLDER, folder, "others may write there: name a folder of your own on the node")
    os.environ[FOLDER] = str(folder)


def keep_picks(package: str) -> None:
    """Makes Triton keep what tuning finds of every kernel of a package that is imported, those with hooks too.

    Args:
        package: its first name.
    """
    for tuner in _tuners(package):
        hooks = {_zeroed(config.pre_hook) for config in tuner.configs}
        if len(hooks) == 1 and (names := hooks.pop()):
            for config in tuner.configs:
                config.pre_hook = None
            tuner.fn = _zeroing(tuner.fn, tuner.arg_names, names)
        if package in _PINNED:
            tuner.configs = [min(tuner.configs, key=_smallest)]
        # Interpreted kernels are not tuned.
        tuner.cache_results = os.environ.get(KEEP_PICKS) == "1" and os.environ.get("TRITON_INTERPRET") != "1"


def pin_picks(packages: Sequence[str]) -> None:
    """Leaves every tuned kernel of packages that are imported, or will be, one configuration, the same everywhere.

    Args:
        packages: their first names.
    """
    _PINNED.update(packages)
    for package in packages:
        if package in sys.modules:
            keep_picks(package)


def _smallest(config: Any) -> tuple[Any, ...]:
    """The order by which one is kept: the smallest blocks run on every device."""
    blocks = [value for value in config.kwargs.values() if isinstance(value, int)]
    return math.prod(blocks), config.num_stages, config.num_warps, str(config)


def _tuners(package: str) -> Iterator[Any]:
    """The tuned kernels of a package's modules, each once."""
    from triton.runtime.autotuner import Autotuner

    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == package]
    found = {id(value): value for module in modules for value in list(vars(module).values())}
    for value in found.values():
        while value is not None and not isinstance(value, Autotuner):
            # Heuristics stand around or inside of the tuner.
            value = getattr(value, "fn", None) if type(value).__module__.startswith("triton.") else None
        if value is not None:
            yield value


def _zeroed(hook: Callable[[dict[str, Any]], Any] | None) -> tuple[str, ...] | None:
    """The names of arguments that a hook sets to zero; None where there is no hook, or another one."""
    closure: tuple[Any, ...] = getattr(hook, "__closure__", None) or ()
    if len(closure) != 1 or getattr(hook, "__qualname__", "") != "init_to_zero.<locals>.<lambda>":
        return None
    return tuple(closure[0].cell_contents)


def _zeroing(kernel: Any, arguments: list[str], names: tuple[str, ...]) -> Any:
    """A kernel that sets some of its arguments to zero before it runs.

    Args:
        kernel: Triton's.
        arguments: names of its positional arguments.
        names: of those that are set to zero, where they are given.
    """
    from triton.runtime.jit import KernelInterface

    class Zeroing(KernelInterface):  # type: ignore[misc, type-arg, unused-ignore]
        def __init__(self) -> None:
            self.fn = kernel

        def run(self, *args: Any, **kwargs: Any) -> Any:
            given = {**dict(zip(arguments, args, strict=False)), **kwargs}
            for name in names:
                if given.get(name) is not None:
                    given[name].zero_()
            return kernel.run(*args, **kwargs)

    return Zeroing()
