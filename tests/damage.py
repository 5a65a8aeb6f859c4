"""Files as crashes, disks and editors leave them: cut, flipped, empty, repeated, of other bytes."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harmony_core.errors import UserError

# A campaign sets it to many thousands.
EXAMPLES = int(os.environ.get("HARMONY_EXAMPLES", "200"))
several = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
_ODD = [
    b"", b"\xff", b"caf\xe9", b"\x00" * 16, b"[" * 100_000, b"{}", b"[]", b"null", b"NaN", b'"\\ud800"', b"PAR1",
    b"\xef\xbb\xbf", b"1e999", b"9" * 5000, b'{"a":' * 2000, b"\n\n", b"'", b"&a [*a]",
]  # fmt: skip


def refused(told: UserError, path: Path) -> None:
    """Fails unless it is one line that names the file."""
    assert str(path) in str(told)
    assert "\n" not in str(told)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The content with one to three things wrong, or something else in its place."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["cut", "flip", "flip", "flip", "repeat", "insert", "drop", "replace"]))
        at = draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "cut":
            del content[at:]
        elif kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            content[at:at] = draw(st.sampled_from(_ODD) | st.binary(max_size=8))
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "replace":
            content = bytearray(draw(st.sampled_from(_ODD) | st.binary(max_size=64)))
    return bytes(content)
