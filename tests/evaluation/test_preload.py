"""What children are forked from."""

from __future__ import annotations

import subprocess
import sys


def test_what_is_frozen_for_children_is_no_leak_at_the_end() -> None:
    """Triton, where there is one, says what it counts as leaked; the tests' environment has it for its kernels."""
    code = "import gc, harmony_core.evaluation.preload; print(gc.get_freeze_count() > 100_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
