"""What was freed is kept for the next batch, and the next call of a model; large tables begin as pages that nobody has touched."""

import ctypes
import mmap
import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT = 2**27
"""Bytes at the end of the heap that are not given back to the system."""
_LINE = 64
LARGEST = 2**25
"""Larger arrays are still mapped one by one; glibc takes no higher limit."""

_MAPPED = 2**19
"""Smaller tables are cleared: what was freed before is at hand."""


def untouched(size: int) -> NDArray[np.uint8]:
    """So many bytes of zeros, beginning at a cache line; where they are many, only pages that are written to take memory, and time.

    Memory that was freed and kept has to be cleared, all of it, which is in vain for a table with more room than keys.
    """
    if size < _MAPPED or not hasattr(mmap, "MAP_PRIVATE"):
        raw = np.zeros(size + _LINE, np.uint8)
        start = -raw.ctypes.data % _LINE
        return raw[start : start + size]
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.uint8)


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, up to `KEPT` bytes; whether it does.

    Columns of a batch, and values between two layers of a network, are up to some megabytes. glibc takes arrays of that size
    from the system, or gives the end of its heap back to it, each time, so that whoever writes into them waits for their
    pages to be found and cleared anew: a tenth of the fleet's run, and up to half as long as a small network computes. See
    mallopt(3). Elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT))
