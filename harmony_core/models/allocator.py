"""glibc's allocator, told to keep freed memory: a training step frees and asks for the same blocks again and again."""

from __future__ import annotations

import ctypes
import functools
import platform

# From <malloc.h> and <sys/mman.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2 << 20
_HEAP = 512 << 20
_GROWTH = 16 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Makes the process reuse large blocks of memory, in huge pages where the kernel gives them.

    By default glibc maps and unmaps every block above its threshold (32 MB at most), and the kernel clears each
    page again at its next use. What a process has freed then stays its own until it ends, which suits a
    process that trains one candidate. To be called before the first large tensor; a second call does nothing.

    Half a gigabyte of addresses is set aside for the heap, of which only what is written to takes memory.

    Returns:
        Whether the allocator took the settings; False without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    taken = bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))
    if taken:
        _grow_in_huge_pages(libc)
    return taken


def _grow_in_huge_pages(libc: ctypes.CDLL) -> None:
    """Extends the heap once by `_HEAP` and asks for huge pages there; where either fails, small pages do."""
    for name in ("malloc", "sbrk"):
        getattr(libc, name).restype = ctypes.c_void_p
    libc.mallopt(_M_TOP_PAD, _HEAP)
    block = libc.malloc(ctypes.c_size_t(_GROWTH))
    end = libc.sbrk(ctypes.c_ssize_t(0))
    libc.mallopt(_M_TOP_PAD, _GROWTH)
    if block is None or end is None:
        return
    start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
    length = (end - start) // _HUGE_PAGE * _HUGE_PAGE
    libc.free(ctypes.c_void_p(block))
    if length > 0:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_HUGEPAGE)
