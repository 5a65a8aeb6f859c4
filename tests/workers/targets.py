"""Work for pool tests: what a child can do, good and bad."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from harmony_core.errors import UserError


def answer(payload: dict[str, Any]) -> dict[str, Any]:
    warm = sorted({"torch", "torch._dynamo", "deepspeed"} & set(sys.modules))
    import torch

    with Path(payload["record"]).open("a") as record:
        record.write(f"{payload['name']}\n")
    return {
        "name": payload["name"],
        "attempt": payload["attempt"],
        "threads": torch.get_num_threads(),
        "warm": warm,
    }


def die(payload: dict[str, Any]) -> dict[str, Any]:
    if payload["attempt"] > payload.get("deaths", 99):
        return answer(payload)
    print("last words")
    os.kill(os.getpid(), signal.Signals[payload.get("signal", "SIGKILL")])
    return {}


def fail(payload: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError(f"a mistake in {payload['name']}")


def hang(payload: dict[str, Any]) -> dict[str, Any]:
    Path(payload["record"]).write_text(str(os.getpid()))
    signal.pause()
    return {}


def complain(payload: dict[str, Any]) -> dict[str, Any]:
    raise UserError("disk", "full", "make room")
