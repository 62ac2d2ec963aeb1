"""The power spectrum of one window, inside kernels: no recursion, no memory of its own.

A real signal of even length n is read as a complex one of length n/2 (Press et al., Numerical
Recipes, section 12.3.2), which is transformed by the Stockham algorithm for any factors (Van Loan,
Computational Frameworks for the Fast Fourier Transform, 1992, section 1.7), from one buffer to the
other and back. An odd length is summed term by term. All angles come from one table, so that errors
do not grow along a recurrence.
"""

import math
from typing import Any


def squares(values: Any, n: int, work: Any) -> None:  # noqa: ANN401
    """Put ``|X[k]|^2`` of the first n values into places 0 … n//2, X being their Fourier transform.

    Parameters
    ----------
    values : float64 array, at least n long; overwritten
    n : how many values, at least 1
    work : float64 array of scratch, at least 2 n long
    """
    if n % 2 == 1:
        squares_odd(values, n, work)
    else:
        squares_even(values, n, work)


def squares_odd(values: Any, n: int, work: Any) -> None:  # noqa: ANN401
    """Sum term by term.

    `work` holds cosines in places 0 … h (h = n//2), sines in h+1 … n, results behind: half the
    angles are enough, as ``cos(2 pi (n-k) / n) = cos(2 pi k / n)``.
    """
    if n == 1:
        values[0] *= values[0]
        return
    half = n // 2
    for k in range(half + 1):
        angle = 2.0 * math.pi * k / n
        work[k] = math.cos(angle)
        work[half + 1 + k] = math.sin(angle)
    for k in range(half + 1):
        re, im = 0.0, 0.0
        at = 0
        for j in range(n):
            if at <= half:
                re += values[j] * work[at]
                im += values[j] * work[half + 1 + at]
            else:
                re += values[j] * work[n - at]
                im -= values[j] * work[half + 1 + n - at]
            at += k
            if at >= n:
                at -= n
        work[n + 1 + k] = re * re + im * im
    for k in range(half + 1):
        values[k] = work[n + 1 + k]


def squares_even(values: Any, n: int, work: Any) -> None:  # noqa: ANN401
    """Half the length by Stockham, then the two halves told apart.

    Pairs (values[2j], values[2j+1]) are one complex number; `work` holds the other buffer in its
    first n places and ``exp(-2 pi i k / n)`` for k < n/2 in the other n.
    """
    half = n // 2
    for k in range(half):
        angle = 2.0 * math.pi * k / n
        work[n + 2 * k] = math.cos(angle)
        work[n + 2 * k + 1] = -math.sin(angle)
    length, stride = half, 1
    flipped = 0
    while length > 1:
        radix = smallest_factor(length)
        if flipped == 0:
            stage(values, work, work, n, length, stride, radix)
        else:
            stage(work, values, work, n, length, stride, radix)
        flipped = 1 - flipped
        length //= radix
        stride *= radix
    if flipped == 1:
        untangle(work, work, n)
        for k in range(half + 1):
            values[k] = work[k]
    else:
        untangle(values, work, n)


def smallest_factor(n: int) -> int:
    """The smallest prime factor of n > 1."""
    if n % 2 == 0:
        return 2
    p = 3
    while p * p <= n:
        if n % p == 0:
            return p
        p += 2
    return n


def stage(x: Any, y: Any, table: Any, n: int, length: int, stride: int, radix: int) -> None:  # noqa: ANN401
    """One pass of Stockham's algorithm, decimation in frequency, from x to y.

    With l the length and s the stride, ``y[q + s (r p + u)] = w_l^(p u) sum_v x[q + s (p + m v)] w_r^(u v)``,
    m = l / r, for p < m, q < s, u < r; all w are powers of ``exp(-2 pi i 2 / n)``.
    """
    m = length // radix
    full = n // 2
    for p in range(m):
        for u in range(radix):
            turn = (p * u * stride) % full
            tr, ti = root(table, n, turn)
            for q in range(stride):
                re, im = 0.0, 0.0
                for v in range(radix):
                    at = 2 * (q + stride * (p + m * v))
                    if u == 0 or v == 0:
                        re += x[at]
                        im += x[at + 1]
                    elif radix == 2:
                        re -= x[at]
                        im -= x[at + 1]
                    else:
                        wr, wi = root(table, n, (full // radix) * ((u * v) % radix))
                        re += x[at] * wr - x[at + 1] * wi
                        im += x[at] * wi + x[at + 1] * wr
                to = 2 * (q + stride * (radix * p + u))
                y[to] = re * tr - im * ti
                y[to + 1] = re * ti + im * tr


def root(table: Any, n: int, k: int) -> tuple[float, float]:  # noqa: ANN401
    """``exp(-2 pi i k / (n/2))`` for k < n/2, from a table of ``exp(-2 pi i k / n)``."""
    if 4 * k < n:
        return table[n + 4 * k], table[n + 4 * k + 1]
    return -table[4 * k], -table[4 * k + 1]


def untangle(z: Any, table: Any, n: int) -> None:  # noqa: ANN401
    """Square the spectrum of the real signal that `z` was packed from, in place: 0 … n/2.

    ``X[k] = E + w^k O`` with ``E = (Z[k] + Z*[h-k]) / 2``, ``O = (Z[k] - Z*[h-k]) / 2i``, h = n/2.
    Places are filled from the outside in pairs (k, h-k); their four numbers are read before.
    """
    half = n // 2
    first = z[0] + z[1]
    last = z[0] - z[1]
    # A square takes half the room of a complex number: that of X[k] waits in the real part of Z[k].
    for k in range(1, half // 2 + 1):
        j = half - k
        ar, ai, br, bi = z[2 * k], z[2 * k + 1], z[2 * j], -z[2 * j + 1]
        er, ei = (ar + br) / 2.0, (ai + bi) / 2.0
        pr, pi = (ai - bi) / 2.0, (br - ar) / 2.0
        wr, wi = table[n + 2 * k], table[n + 2 * k + 1]
        tr, ti = wr * pr - wi * pi, wr * pi + wi * pr
        z[2 * k] = (er + tr) * (er + tr) + (ei + ti) * (ei + ti)
        z[2 * j] = (er - tr) * (er - tr) + (ei - ti) * (ei - ti)
    z[0] = first * first
    for k in range(1, half):
        z[k] = z[2 * k]
    z[half] = last * last


def one_sided(values: Any, n: int, work: Any) -> None:  # noqa: ANN401
    """Put the mean square that lies at each frequency k rate / n into places 0 … n//2.

    Their sum is the mean square of the values (Parseval); the frequencies below 0 Hz are counted
    with those above.
    """
    squares(values, n, work)
    scale = 1.0 / (float(n) * float(n))
    for k in range(n // 2 + 1):
        twice = 1.0 if k == 0 or 2 * k == n else 2.0
        values[k] = values[k] * scale * twice
