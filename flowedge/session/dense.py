"""Which whole numbers the keys of a table lie among: there each has a place of its own, and none is hashed."""

import numpy as np
from numpy.typing import NDArray

_NO_KEY = -(2**63)
"""Stands for a missing whole number, far from all others."""
_LEAST, _SMALL = 2**10, 2**17
"""Keys that the window spans at least, and how far it may stretch for few keys: half a megabyte."""
_EACH = 4
"""Further on it spans so many for each key that there is room for: as many bytes as a hash table would take."""
_AHEAD = 4
"""Times the keys that there are, so that those which come next lie in it, too."""
_TAIL = 8
"""At either end one key of so many may lie far out, and be hashed."""
_SAMPLE = 512
"""So many keys say where most of them lie."""


def window_of(keys: NDArray[np.int64], room: int) -> tuple[int, int]:
    """The first number of the window, and how many it spans, a power of two; 0 and 0 where the keys lie too far apart.

    Parameters
    ----------
    keys : those that there are, or a sample of them, in the order in which they came
    room : of the table, in keys

    Examples
    --------
    >>> window_of(np.array([1, 8, 2]), 512), window_of(np.array([1, 2, 8]), 512)
    ((-507, 1024), (1, 1024))
    >>> window_of(np.array([0, 10**12]), 512)
    (0, 0)
    """
    if not len(keys):
        return 0, 0
    newest, most = int(keys[-1]), max(_SMALL, 1 << (_EACH * room).bit_length() - 1)
    low, high = int(keys.min()), int(keys.max())
    if high - low >= most:  # without those far out, of which a missing one is one
        some = np.sort(keys[:: -(-len(keys) // _SAMPLE)])
        cut = len(some) // _TAIL
        low, high = int(some[cut]), int(some[-1 - cut])
        if low == _NO_KEY:
            low = int(some[min(int(np.searchsorted(some, low, "right")), len(some) - 1)])
    need = high - low + 1
    if need > most or high == _NO_KEY:
        return 0, 0
    span = min(most, max(_LEAST, 1 << (_AHEAD * need - 1).bit_length()))
    # Where the newest key is the greatest, greater ones will come; else nobody knows.
    before = (
        0
        if newest == high and need > 1
        else (span - need) // (1 if newest == low and need > 1 else 2)
    )
    return min(max(low - before, _NO_KEY + 1), 2**63 - span), span
