"""Steps of a GPU check that end as they should not, for `test_gpu_check`; each yields a row first."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

from benchmarks.gpu_check.settings import Before, Row, Setting


def fine(setting: Setting, before: Before) -> Iterator[Row]:
    yield {"before": {name: len(rows) for name, rows in before.items()}}


def raises(setting: Setting, before: Before) -> Iterator[Row]:
    yield {"number": 1}
    raise RuntimeError("no kernel image\nis available")


def dies(setting: Setting, before: Before) -> Iterator[Row]:
    yield {"number": float("nan")}
    os._exit(7)


def hangs(setting: Setting, before: Before) -> Iterator[Row]:
    """So does a process that it has started."""
    child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    yield {"pid": child.pid}
    threading.Event().wait()
