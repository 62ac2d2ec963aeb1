"""Which texts the state of a session may still hold.

Everything that outlives a push is in the states that a snapshot is made of: rows that wait, keys, and the
memory of kernels. So what does not occur in them as a number, read as int64 or as float64 (some
aggregates keep ids as floats), is held by nobody. A count that looks like an id keeps a text for a while
longer, which costs no more than a few bytes for each word of state.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def held_in(states: Iterable[Any], count: int) -> NDArray[np.bool_]:
    """For each of `count` ids whether a word of the states may be it.

    Parameters
    ----------
    states : plain data: dicts, lists, numbers, and bytes of int64 or float64 words

    Examples
    --------
    >>> held_in([{"rows": np.array([3, -1, 7]).tobytes(), "more": [1.5, None, "x", 0]}], 5)
    array([ True, False, False,  True, False])
    """
    held = np.zeros(count, np.bool_)
    for state in states:
        _mark(state, held)
    return held


def _mark(value: Any, held: NDArray[np.bool_]) -> None:  # noqa: ANN401
    count = len(held)
    if isinstance(value, dict):
        for part in value.values():
            _mark(part, held)
    elif isinstance(value, list | tuple):
        for part in value:
            _mark(part, held)
    elif isinstance(value, int):
        if 0 <= value < count:
            held[value] = True
    elif isinstance(value, bytes):
        words = np.frombuffer(value, np.int64, len(value) // 8)
        held[words[(words >= 0) & (words < count)]] = True
        floats = words.view(np.float64)
        found = floats[(floats >= 0) & (floats < count)]
        held[found.astype(np.int64)] = True
