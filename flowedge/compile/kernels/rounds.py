"""Whether rows go round the keys: a, b, c, then a, b, c again."""

from flowedge.compile.memory import i32

FEWEST = 16
"""Fewer rounds than these are not worth the look at them."""
FEWEST_KEYS, MOST_KEYS = 3, 128
"""Fewer keys are done sooner one by one; of more it is not looked whether they come in turn."""


_BLOCK = 1024


def round_of(slots: int, first: int, n: int) -> int:
    """After how many rows the first key comes again, each key once until then; 0 if that is not so, or not worth it.

    Parameters
    ----------
    slots : address of int32[n]
    first, n : the rows that are looked at
    """
    around = 1
    most = min(n - first, MOST_KEYS + 1)
    while around < most and i32(slots, first + around) != i32(slots, first):
        around += 1
    if around >= most or around < FEWEST_KEYS:
        return 0
    for a in range(around):
        for c in range(a):
            if i32(slots, first + a) == i32(slots, first + c):
                return 0
    return around


def turns_until(slots: int, first: int, n: int, around: int) -> int:
    """The first row that another key has than the one `around` rows before; `n` if there is none."""
    i = first + around
    while i < n:
        stop = min(n, i + _BLOCK)
        others = 0
        for k in range(i, stop):
            others += 0 if i32(slots, k) == i32(slots, k - around) else 1
        if others > 0:
            for k in range(i, stop):
                if i32(slots, k) != i32(slots, k - around):
                    return k
        i = stop
    return n
