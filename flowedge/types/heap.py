"""What was freed is kept for the next batch, and the next call of a model."""

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT = 2**27
"""Bytes at the end of the heap that are not given back to the system."""
LARGEST = 2**25
"""Larger arrays are still mapped one by one; glibc takes no higher limit."""


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
