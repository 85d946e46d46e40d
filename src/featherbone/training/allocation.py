"""How memory of a training step is asked for: pages that a system gives anew each step can cost a tenth of it."""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache

# of glibc's mallopt, and Linux' madvise
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MADV_HUGEPAGE = -1, -4, 14
_LARGEST_INT = (1 << 31) - 1
_AHEAD = 1 << 31  # bytes of addresses; pages are taken when they are written to


@cache
def keep_freed_memory() -> bool:
    """Let this process keep what tensors free, in large pages, instead of giving it back and asking for it anew.

    A step frees all that it has computed, and the system fills every page with zeros before it gives it again.
    ``benchmarks/allocation.py`` measures what it brings. Memory in use stays near its peak until the process ends.

    Returns:
        Whether it was possible: with glibc on Linux.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    try:
        _ = libc.gnu_get_libc_version
    except AttributeError:  # another C library
        return False
    if not (libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)):
        return False
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    place = libc.malloc(_AHEAD)
    if place:  # what is said of its pages holds when it is free, too; where they cannot be large they stay small
        first = -(-place // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(first, _AHEAD - mmap.PAGESIZE, _MADV_HUGEPAGE)
        libc.free(place)
    return True
