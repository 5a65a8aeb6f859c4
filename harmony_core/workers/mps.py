"""CUDA's Multi-Process Service, by which the processes that share a GPU compute side by side and not in turns.

https://docs.nvidia.com/deploy/mps: a daemon in user space, which clients find by a folder in their environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from harmony_core.host import visible_gpus

_CONTROL = "nvidia-cuda-mps-control"
_PIPE, _LOG = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_SECONDS = 30.0


@contextlib.contextmanager
def mps(sharers: int) -> Iterator[dict[str, str]]:
    """Runs a daemon of this process's own where processes share a GPU and MPS is installed.

    A daemon that a site runs is used as it is. One that does not start is said, and the processes take turns.

    Args:
        sharers: processes on each GPU; 1 needs no daemon.

    Yields:
        The variables by which its clients find it; none where there is none.
    """
    control = shutil.which(_CONTROL)
    if sharers == 1 or control is None or not visible_gpus() or _PIPE in os.environ:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="harmony-mps-") as folder:
        told = {_PIPE: folder, _LOG: folder}
        # Of a daemon that sees some GPUs alone the clients would have to count anew.
        environment = {**os.environ, **told}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        problem = _run([control, "-d"], environment)
        if problem is not None:
            print(
                f"warning: {_CONTROL} does not start, so processes take turns: {problem}", file=sys.stderr, flush=True
            )
            yield {}
            return
        try:
            yield told
        finally:
            _run([control], environment, "quit\n")


def _run(command: list[str], environment: dict[str, str], said: str = "") -> str | None:
    """What went wrong; None if nothing did."""
    try:
        # The daemon would keep a pipe of ours open for as long as it lives.
        done = subprocess.run(
            command, env=environment, input=said, text=True, timeout=_SECONDS, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else f"exit code {done.returncode}"
