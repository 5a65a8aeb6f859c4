"""The one error type that people see: a field, the value it had, and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class UserError(ValueError):
    """Bad input, told in one line that names the field, the value and the fix.

    The command line prints it without a traceback and exits with `EXIT_CODE`.

    Args:
        field: what was wrong, as the person wrote it (`search.population`, a file's path).
        value: the value found there.
        fix: what to do instead, as an imperative ("use one of ...").
    """

    EXIT_CODE = 2

    def __init__(self, field: str, value: Any, fix: str) -> None:
        self.field, self.value, self.fix = field, value, fix
        shown = " ".join(str(value).split())
        # The message shows an empty value as one, and no control character reaches a terminal.
        shown = shown if shown and shown.isprintable() else repr(value)
        line = " ".join(f"{field}: {shown}: {fix}".split())
        super().__init__("".join(one if one.isprintable() else ascii(one)[1:-1] for one in line))

    @property
    def every(self) -> tuple[UserError, ...]:
        """This mistake, or all that were found together."""
        return (self,)


class UserErrors(UserError):
    """Several mistakes that were found together; where one line is told, it is the first's.

    Args:
        mistakes: at least one.
    """

    def __init__(self, mistakes: Sequence[UserError]) -> None:
        first = mistakes[0]
        super().__init__(first.field, first.value, first.fix)
        self.mistakes = tuple(mistakes)

    @property
    def every(self) -> tuple[UserError, ...]:
        """All of them."""
        return self.mistakes
