"""What a check found, as one line that a person can act on."""

from __future__ import annotations

import dataclasses
from typing import Literal

Verdict = Literal["ok", "missing", "warning", "unknown"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        subject: what was looked at, in a word or two.
        verdict: `ok`; `missing` (the search would fail, or wait for ever); `warning` (it would run, and be
            slow or surprising); `unknown` (cannot be told from here).
        said: what was found.
        fix: what to do about it; empty where there is nothing to do.
    """

    subject: str
    verdict: Verdict
    said: str
    fix: str = ""

    @property
    def line(self) -> str:
        """Subject, what was found, and what to do, without the verdict."""
        text = f"{self.subject}: {self.said}" + (f"; {self.fix}" if self.fix else "")
        return " ".join(text.split())


def ok(subject: str, said: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", said)


def missing(subject: str, said: str, fix: str) -> Finding:
    """The search cannot run like this; arguments as for `Finding`."""
    return Finding(subject, "missing", said, fix)


def warning(subject: str, said: str, fix: str) -> Finding:
    """The search can run, though not as it should; arguments as for `Finding`."""
    return Finding(subject, "warning", said, fix)


def unknown(subject: str, said: str, fix: str = "") -> Finding:
    """Nothing here can tell; arguments as for `Finding`."""
    return Finding(subject, "unknown", said, fix)
