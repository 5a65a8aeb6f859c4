"""Preload, fork, compute: a candidate's process must be able to use the device that its parent has not touched."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check.settings import Before, Row, Setting
from harmony_core.workers.children import Children, Setup
from harmony_core.workers.gpus import own_gpu
from harmony_core.workers.pool import PRELOAD_DEEPSPEED
from harmony_core.workers.task import Task

# The second one shows that the first has not spoiled the device for those after it.
_FORKS = 2
_PROBE = "harmony_core.evaluation.probe:run"


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """How long the preload takes, then a row a fork: known sums on the device, its collectives, its files; seconds."""
    begin = time.monotonic()
    children = Children(PRELOAD_DEEPSPEED)
    children.wait_until_warm()
    yield {"what": "preload", "seconds": time.monotonic() - begin}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_FORKS):
            yield {"what": f"fork {number + 1}", **_forked(children, Path(folder), setting)}


def _forked(children: Children, folder: Path, setting: Setting) -> Row:
    """A child as a candidate has it."""
    begin = time.monotonic()
    children.start(
        Task("probe", _PROBE, {"folder": str(folder)}),
        attempt=1,
        setup=Setup(folder / "probe.log", environment={**own_gpu(0), "LOCAL_RANK": "0"}),
    )
    ((_, outcome),) = children.wait()
    if outcome.result is None:
        return {"error": outcome.error}
    device = outcome.result["device"]
    return {"device": device, "seconds": time.monotonic() - begin, "ok": device.startswith(setting.device)}
