"""Work for pool tests: what a child can do, good and bad."""

from __future__ import annotations

import os
import signal
import sys
import time
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


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    print(f"log of {payload['attempt']}")
    return {"attempt": payload["attempt"], "world": {name: os.environ.get(name) for name in names}}


def environment(payload: dict[str, Any]) -> dict[str, Any]:
    Path(f"{payload['record']}.0").write_text(str(os.getpid()))
    while not Path(payload["gate"]).exists():
        time.sleep(0.01)
    return {"pid": os.getpid(), **{name: os.environ.get(name) for name in payload["names"]}}


def hold(payload: dict[str, Any]) -> dict[str, Any]:
    """Works until the file `gate` is there; a test cannot reach a child in any better way."""
    record(payload)
    while not Path(payload["gate"]).exists():
        time.sleep(0.02)
    return {"attempt": payload["attempt"]}


def checkpoint(payload: dict[str, Any]) -> dict[str, Any]:
    """Goes on for ever; when told to leave, writes a checkpoint and says so."""

    def leave(number: int, frame: object) -> None:
        raise InterruptedError

    signal.signal(signal.SIGTERM, leave)
    try:
        record(payload)
        while True:
            signal.pause()
    except InterruptedError:
        # Longer than the others of its team: they are not to be killed before they have written theirs.
        time.sleep(payload.get("writing_seconds", {}).get(os.environ["RANK"], 0.0))
        record(payload, ".checkpoint")
        return {"interrupted": True}


def stubborn(payload: dict[str, Any]) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return hang(payload)


def all_reduce(payload: dict[str, Any]) -> dict[str, Any]:
    """A team's own world, read from the environment; its last rank dies of the first attempts while others wait."""
    import torch
    import torch.distributed

    torch.distributed.init_process_group("gloo", init_method="env://")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if rank == size - 1 and payload["attempt"] <= payload["deaths"]:
        os.kill(os.getpid(), signal.SIGKILL)
    total = torch.tensor([rank + 1])
    torch.distributed.all_reduce(total)
    torch.distributed.destroy_process_group()
    return {"total": int(total), "attempt": payload["attempt"]}


def record(payload: dict[str, Any], suffix: str = "") -> None:
    """Tells the test that this child is there, and which process it is; one file a rank of the team."""
    path = f"{payload['record']}.{os.environ['RANK']}{suffix}"
    Path(f"{path}.tmp").write_text(str(os.getpid()))
    Path(f"{path}.tmp").replace(path)


def no_space(payload: dict[str, Any]) -> dict[str, Any]:
    """Meets a full disk (the kernel's own), as files of ours tell of it."""
    from harmony_core.atomic import no_space as told

    try:
        # Unbuffered: else the error would come when the file is closed.
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")
    except OSError as error:
        raise told(Path("/dev/full"), error) from error
    return {}


def no_library(payload: dict[str, Any]) -> dict[str, Any]:
    """Meets a library that is not there, through a module of C that needs it."""
    import importlib.util

    path = Path(payload["record"]).with_suffix(".so")
    path.write_bytes(b"\x7fELF of another kind")
    spec = importlib.util.spec_from_file_location("broken", path)
    assert spec is not None
    importlib.util.module_from_spec(spec)
    return {}


def no_compiler(payload: dict[str, Any]) -> dict[str, Any]:
    import subprocess

    subprocess.run(["a-compiler-that-is-not-there"], check=True)
    return {}


def no_file(payload: dict[str, Any]) -> dict[str, Any]:
    """An absent file is no fault of the machine."""
    Path("nowhere/at/all").read_text()
    return {}


def no_module(payload: dict[str, Any]) -> dict[str, Any]:
    import a_module_that_is_not_there  # type: ignore[import-not-found]

    return {"module": str(a_module_that_is_not_there)}


def sound(payload: dict[str, Any]) -> dict[str, Any]:
    """A known small task that ends well."""
    return {"folder": payload["folder"]}


def unsound(payload: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("wrong product")
