"""What a compute node says of itself to `harmony doctor --probe`: run there, with the interpreter of the ranks.

`python -m harmony_core.site.node_report FOLDER VARIABLE...` writes FOLDER/answer.json.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from harmony_core.atomic import atomic_write
from harmony_core.site.environment import TOLD, installed
from harmony_core.workers.children import Children, Setup
from harmony_core.workers.exchange import probe_task
from harmony_core.workers.gpus import own_gpu
from harmony_core.workers.pool import PRELOAD_DEEPSPEED

ANSWER = "answer.json"


def report(folder: Path, variables: list[str]) -> dict[str, object]:
    """Host, clock, interpreter, versions, devices, which of `variables` are not set, and what came of a fork.

    Args:
        folder: for the log of the forked child.
        variables: that should be set.
    """
    import torch

    packages = installed()
    return {
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "time": time.time(),
        "python": sys.executable,
        "versions": {name: packages[name] for name in TOLD if name in packages},
        "devices": torch.cuda.device_count(),
        "unset": [name for name in variables if name not in os.environ],
        "fork": forked(folder),
    }


def forked(folder: Path) -> dict[str, str]:
    """The `device` on which a child computed that was forked after the preload, as every candidate is, or its `error`.

    A preload that asks for devices spoils them for its children, and nothing but a child shows that.

    Args:
        folder: for its log and the file that it writes.
    """
    children = Children(PRELOAD_DEEPSPEED)
    setup = Setup(folder / "fork.log", environment={**own_gpu(0), "LOCAL_RANK": "0"})
    children.start(probe_task(folder), 1, setup)
    ended = children.wait()
    outcome = ended[0][1]
    return {"error": outcome.error or "no answer"} if outcome.result is None else {"device": outcome.result["device"]}


def main() -> None:
    """Writes the answer; the folder was made where the doctor runs, so that it exists only if it is shared."""
    folder, *variables = sys.argv[1:]
    if not Path(folder).is_dir():
        sys.exit(f"{folder}: this node does not see it")
    atomic_write(Path(folder) / ANSWER, json.dumps(report(Path(folder), variables)).encode())


if __name__ == "__main__":
    main()
