"""Selecting and sorting inside kernels: no recursion, no memory of their own."""

import math
from typing import Any


def sort_values(values: Any, n: int) -> None:  # noqa: ANN401
    """Heap sort in place, ascending; no recursion, no memory."""
    for start in range(n // 2 - 1, -1, -1):
        sink(values, start, n)
    for end in range(n - 1, 0, -1):
        top = values[0]
        values[0] = values[end]
        values[end] = top
        sink(values, 0, end)


def sink(values: Any, root: int, n: int) -> None:  # noqa: ANN401
    """Let one value sink to its place in a heap."""
    while True:
        child = 2 * root + 1
        if child >= n:
            break
        if child + 1 < n and values[child] < values[child + 1]:
            child += 1
        if values[root] >= values[child]:
            break
        swap = values[root]
        values[root] = values[child]
        values[child] = swap
        root = child


def select(values: Any, n: int, k: int) -> float:  # noqa: ANN401
    """The k-th smallest of the first n values, from 0; reorders them (Hoare's find, CACM 4(7), 1961).

    Behind, all values at places above k are at least as large.
    """
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                swap = values[i]
                values[i] = values[j]
                values[j] = swap
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


def quantile(values: Any, n: int, q: float) -> float:  # noqa: ANN401
    """The q-quantile by linear interpolation (Hyndman and Fan, type 7); reorders the values."""
    if n == 0:
        return math.nan
    at = q * (n - 1)
    k = int(at)
    low = select(values, n, k)
    part = at - k
    if part == 0.0 or k + 1 >= n:
        return low
    high = values[k + 1]
    for j in range(k + 2, n):
        high = min(high, values[j])
    return low + (high - low) * part
