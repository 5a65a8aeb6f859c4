"""glibc's allocator, told to keep freed memory: a training step frees and asks for the same blocks again and again."""

from __future__ import annotations

import ctypes
import platform

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Makes the process reuse large blocks of memory instead of returning them to the system.

    By default glibc maps and unmaps every block above its threshold (32 MB at most), and the kernel clears each
    page again at its next use. What a process has freed then stays its own until it ends, which suits a
    process that trains one candidate. To be called once, before the first large tensor.

    Returns:
        Whether the allocator took the settings; False without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))
