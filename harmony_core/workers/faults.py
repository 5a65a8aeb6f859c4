"""Which errors are the machine's: a disk, a quota, a library that is not there. No candidate is to blame for them."""

from __future__ import annotations

import errno
from collections.abc import Iterator

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
_LIBRARY = {errno.ENOEXEC, errno.ELIBACC, errno.ELIBBAD, errno.ELIBSCN, errno.ELIBMAX, errno.ELIBEXEC}
# The dynamic linker uses these words, in an ImportError of Python and in an OSError of ctypes without a number.
_LINKER = ("shared object", "undefined symbol", "ELF", "file too short", "GLIBC_")


def is_machines(error: BaseException) -> bool:
    """Whether an exception, or one that it comes from, is an error of the machine."""
    return any(_is_machines(one) for one in _chain(error))


def _is_machines(error: BaseException) -> bool:
    if isinstance(error, ImportError):
        return any(word in str(error) for word in _LINKER)
    if not isinstance(error, OSError):
        return False
    if error.errno is None:
        return any(word in str(error) for word in _LINKER)
    return error.errno in _DISK | _LIBRARY or _is_of_exec(error)


def _is_of_exec(error: OSError) -> bool:
    """Whether a program could not be started (a compiler that is missing), as `subprocess` tells it."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_execute_child":
            return True
        trace = trace.tb_next
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
