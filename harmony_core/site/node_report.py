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

ANSWER = "answer.json"


def report(variables: list[str]) -> dict[str, object]:
    """Host, clock, interpreter, versions, devices, and which of `variables` are not set."""
    import torch

    packages = installed()
    return {
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "time": time.time(),
        "python": sys.executable,
        "versions": {name: packages[name] for name in TOLD if name in packages},
        "devices": torch.cuda.device_count(),
        "unset": [name for name in variables if name not in os.environ],
    }


def main() -> None:
    """Writes the answer; the folder was made where the doctor runs, so that it exists only if it is shared."""
    folder, *variables = sys.argv[1:]
    if not Path(folder).is_dir():
        sys.exit(f"{folder}: this node does not see it")
    atomic_write(Path(folder) / ANSWER, json.dumps(report(variables)).encode())


if __name__ == "__main__":
    main()
