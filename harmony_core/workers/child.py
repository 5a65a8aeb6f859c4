"""What runs in a candidate's own process: limits, log, the work, and the answer as JSON."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harmony_core.errors import UserError
from harmony_core.host import dying_with
from harmony_core.workers.faults import is_machines

# Key of an answer that is no result: the field, value and fix of a UserError.
USER_ERROR = "user_error"
# Key of an answer which says that the child was told to leave, and left where it can go on.
INTERRUPTED = "interrupted"
# Key of an answer which says that the machine failed, and not the work.
MACHINE_ERROR = "machine_error"


def main(target: str, payload: dict[str, Any], setup: dict[str, Any], parent: Connection) -> None:
    """Runs `module:function` on `payload` and sends its JSON answer.

    Args:
        target: `package.module:function`, taking the payload and returning a JSON-able dict.
        payload: JSON-able arguments.
        setup: `log` (file for everything printed), `threads`, `memory_limit_gb` or None,
            `environment` (variables to set).
        parent: this end of a pipe to the process that started the task.
    """
    die_with_forkserver()
    # The forkserver passes the signal on as ignored; a child is asked to leave by it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    try:
        result = _work(target, payload, setup)
    except Exception as error:
        if is_machines(error):
            # The answer says it too: where the disk is full there is no log.
            traceback.print_exc()
            result = {MACHINE_ERROR: f"{type(error).__name__}: {error}"}
        elif isinstance(error, UserError):
            result = {USER_ERROR: [error.field, str(error.value), error.fix]}
        else:
            raise
    parent.send_bytes(json.dumps(result).encode())


def _work(target: str, payload: dict[str, Any], setup: dict[str, Any]) -> Any:
    _redirect(Path(setup["log"]))
    os.environ.update(setup["environment"])
    if setup["memory_limit_gb"] is not None:
        limit = int(setup["memory_limit_gb"] * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(setup["threads"])
    module, function = target.split(":")
    return getattr(importlib.import_module(module), function)(payload)


def nothing() -> None:
    """What a child does that is forked to see that children can be forked."""


def _die_with(parent: Connection) -> None:
    """Ends this process when the other end of the pipe is gone: nobody would hear its answer.

    The forkserver cannot do this: it lives as long as any of its children.
    """
    parent.poll(None)
    os._exit(1)


def die_with_forkserver() -> None:
    """Asks the kernel to kill this process when the forkserver dies, so that no candidate runs on unseen."""
    parent = os.getppid()
    if (die := dying_with(parent)) is not None:
        die()
        if parent == 1:
            os._exit(1)


def _redirect(log: Path) -> None:
    """Sends this process's output, a segfault's traceback included, to the candidate's log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(file=2, all_threads=False)
