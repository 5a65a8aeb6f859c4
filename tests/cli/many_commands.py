"""Runs many commands in one process, which has imported all once; the answers are JSON on standard output."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback

from harmony_core.cli.main import main


def answer(arguments: list[str]) -> dict[str, object]:
    """How a command ends, and what it says on standard error."""
    sys.argv = ["harmony", *arguments]
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
            code = None
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            code = -1
            told.write(traceback.format_exc())
    return {"arguments": arguments, "code": code, "told": told.getvalue()}


if __name__ == "__main__":
    json.dump([answer(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
