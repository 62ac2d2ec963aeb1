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


def window_of(keys: NDArray[np.int64], room: int) -> tuple[int, int]:
    """The first number of the window, and how many it spans, a power of two; 0 and 0 where the keys lie too far apart.

    Numbers stand in the middle of the window, since nobody knows whether greater or smaller ones will come.

    Parameters
    ----------
    keys : those that there are, or a sample of them, in any order
    room : of the table, in keys

    Examples
    --------
    >>> window_of(np.array([1, 2, 8]), 512)
    (-507, 1024)
    >>> window_of(np.array([0, 10**12]), 512)
    (0, 0)
    """
    keys = keys[keys != _NO_KEY]
    most = max(_SMALL, 1 << (_EACH * room).bit_length() - 1)
    for cut in (0, len(keys) // _TAIL):
        if not len(keys):
            break
        ends = np.partition(keys, (cut, len(keys) - 1 - cut)) if cut else keys
        low, high = (
            (int(ends[cut]), int(ends[-1 - cut])) if cut else (int(keys.min()), int(keys.max()))
        )
        need = high - low + 1
        if need <= most:
            span = min(most, max(_LEAST, 1 << (_AHEAD * need - 1).bit_length()))
            return min(max(low - (span - need) // 2, _NO_KEY + 1), 2**63 - span), span
    return 0, 0
