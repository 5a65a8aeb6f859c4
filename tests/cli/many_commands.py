"""Runs many commands in one process, which has imported all once; the answers are JSON on standard output."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from harmony_core.cli.main import main

ROOT = Path(__file__).parents[2]


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """How a command ends in this process, and what it says on standard output and on standard error."""
    said, told = io.StringIO(), io.StringIO()
    streams = contextlib.redirect_stdout(said), contextlib.redirect_stderr(told)
    with mock.patch.object(sys, "argv", ["harmony", *arguments]), streams[0], streams[1]:
        try:
            main()
            code = None
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            code = -1
            told.write(traceback.format_exc())
    return {"arguments": arguments, "code": code, "said": said.getvalue(), "told": told.getvalue()}


def answers(commands: Sequence[Sequence[str]], cwd: Path, before: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The same of each command, all in a process of their own.

    Args:
        commands: the words after `harmony`.
        cwd: where they run.
        before: what starts the process, such as `setpriv`.
    """
    call = [*before, sys.executable, "-m", "tests.cli.many_commands"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(call, input=json.dumps(commands), capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    json.dump([answer(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
