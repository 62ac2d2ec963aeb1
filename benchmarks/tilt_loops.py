"""The queries of `tilt.py` as plain Numba loops over dense columns: no engine, no pieces, results into memory that is there.

Windows are sliced first, sums over them may be added in any order (so that they are vectorised), and sliding sums are
running sums that drift. Each function takes the sources of its query and gives a job that does the work once.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

Columns = dict[str, np.ndarray]
Sources = dict[str, Columns]
Job = Callable[[], Columns]
TICK = 1_000_000
"""One tick [ns]."""
ANY_ORDER = {"reassoc", "nsz", "contract", "arcp"}


def select(given: Sources) -> Job:
    """T1: x + 3."""
    x = given["s"]["x"]
    y = np.zeros(len(x))

    def job() -> Columns:
        _select(x, y)
        return {"y": y}

    return job


@njit(cache=True)
def _select(x, y):  # noqa: ANN001, ANN202
    for i in range(len(x)):
        y[i] = x[i] + 3.0


def where(given: Sources) -> Job:
    """T2: x > 0, with the times."""
    s = given["s"]
    t, v = np.zeros_like(s["time"]), np.zeros_like(s["x"])

    def job() -> Columns:
        n = _where(s["time"], s["x"], t, v)
        return {"time": t[:n], "x": v[:n]}

    return job


@njit(cache=True)
def _where(time, x, t, v):  # noqa: ANN001, ANN202
    n = 0
    for i in range(
        len(x)
    ):  # without a branch: half the rows pass, in no order that a processor could foresee
        t[n] = time[i]
        v[n] = x[i]
        n += x[i] > 0
    return n


def window_sum(given: Sources) -> Job:
    """T3: the sums of each 1000."""
    x = given["s"]["x"]
    y = np.zeros(len(x) // 1000)

    def job() -> Columns:
        _window_sum(x, y, 1000)
        return {"y": y}

    return job


@njit(cache=True, fastmath=ANY_ORDER)
def _window_sum(x, y, w):  # noqa: ANN001, ANN202
    for k in range(len(y)):
        g = x[k * w : k * w + w]
        total = 0.0
        for i in range(w):
            total += g[i]
        y[k] = total


def lifetime(given: Sources) -> Job:
    """T4: from three ticks before the sample to two ticks later; the values are the source's."""
    s = given["s"]
    begin, end = np.zeros_like(s["time"]), np.zeros_like(s["time"])

    def job() -> Columns:
        _lifetime(s["time"], begin, end)
        return {"x": s["x"], "begin": begin, "end": end}

    return job


@njit(cache=True)
def _lifetime(time, begin, end):  # noqa: ANN001, ANN202
    for i in range(len(time)):
        begin[i] = time[i] - 3 * TICK
        end[i] = time[i] - TICK


def inner(given: Sources) -> Job:
    """T5: a merge of two columns of times; those of both."""
    return _merged(given, is_outer=False)


def outer(given: Sources) -> Job:
    """T6: a merge of two columns of times; those of either, a missing side is 0."""
    return _merged(given, is_outer=True)


def _merged(given: Sources, *, is_outer: bool) -> Job:
    s, r = given["s"], given["r"]
    room = len(s["time"]) + len(r["time"])
    t, y = np.zeros(room, np.int64), np.zeros(room)

    def job() -> Columns:
        n = _merge(s["time"], s["x"], r["time"], r["z"], is_outer, t, y)
        return {"time": t[:n], "y": y[:n]}

    return job


@njit(cache=True)
def _merge(ts, x, tr, z, is_outer, t, y):  # noqa: ANN001, ANN202
    i = j = n = 0
    while i < len(ts) and j < len(tr):
        if ts[i] == tr[j]:
            t[n], y[n] = ts[i], np.float64(x[i]) + z[j]
            i, j, n = i + 1, j + 1, n + 1
        elif ts[i] < tr[j]:
            if is_outer:
                t[n], y[n] = ts[i], x[i]
                n += 1
            i += 1
        else:
            if is_outer:
                t[n], y[n] = tr[j], z[j]
                n += 1
            j += 1
    if is_outer:
        for k in range(i, len(ts)):
            t[n], y[n] = ts[k], x[k]
            n += 1
        for k in range(j, len(tr)):
            t[n], y[n] = tr[k], z[k]
            n += 1
    return n


def normalise(given: Sources) -> Job:
    """T7: each 10,000 less their mean, by their deviation."""
    x = given["s"]["x"]
    y = np.zeros(len(x))

    def job() -> Columns:
        _normalise(x, y, 10_000)
        return {"y": y}

    return job


@njit(cache=True, fastmath=ANY_ORDER)
def _normalise(x, y, w):  # noqa: ANN001, ANN202
    for k in range(len(x) // w):
        g, out = x[k * w : k * w + w], y[k * w : k * w + w]
        total = 0.0
        for i in range(w):
            total += g[i]
        mean = total / w
        square = 0.0
        for i in range(w):
            square += (g[i] - mean) * (g[i] - mean)
        by = 1 / np.sqrt(square / w)
        for i in range(w):
            out[i] = (g[i] - mean) * by


def impute(given: Sources) -> Job:
    """T8: NaN becomes the mean of each 10,000; the dense column is laid out before."""
    s = given["s"]
    at = s["time"] // TICK - 1
    x = np.full(at[-1] + 1, np.nan, np.float32)
    x[at] = s["x"]
    y = np.zeros(len(x))

    def job() -> Columns:
        _impute(x, y, 10_000)
        return {"y": y}

    return job


@njit(cache=True, fastmath=ANY_ORDER)
def _impute(x, y, w):  # noqa: ANN001, ANN202
    for k in range(len(x) // w):
        g, out = x[k * w : k * w + w], y[k * w : k * w + w]
        total, count = 0.0, 0
        for i in range(w):
            is_there = g[i] == g[i]  # not NaN
            total += g[i] if is_there else 0.0
            count += is_there
        mean = total / count
        for i in range(w):
            out[i] = g[i] if g[i] == g[i] else mean


def resample(given: Sources) -> Job:
    """T9: from every 4 ticks to every 5, on the line between neighbours: four of five."""
    x = given["s"]["x"]
    y = np.zeros(len(x) // 5 * 4)

    def job() -> Columns:
        _resample(x, y)
        return {"x": y}

    return job


@njit(cache=True)
def _resample(x, y):  # noqa: ANN001, ANN202
    for k in range(len(x) // 5):
        a, b, c, d, e = x[5 * k : 5 * k + 5]
        y[4 * k] = a + 0.25 * (b - np.float64(a))
        y[4 * k + 1] = b + 0.5 * (c - np.float64(b))
        y[4 * k + 2] = c + 0.75 * (d - np.float64(c))
        y[4 * k + 3] = e


def trading(given: Sources) -> Job:
    """T10: the mean of the last 20 is above that of the last 50."""
    x = given["s"]["x"]
    y = np.zeros(len(x), np.bool_)

    def job() -> Columns:
        _trading(x, y)
        return {"y": y}

    return job


@njit(cache=True)
def _trading(x, y):  # noqa: ANN001, ANN202
    short = long = 0.0
    for i in range(min(50, len(x))):
        short += x[i]
        long += x[i]
        if i >= 20:
            short -= x[i - 20]
        y[i] = short / min(i + 1, 20) > long / (i + 1)
    for i in range(50, len(x)):
        short += x[i] - np.float64(x[i - 20])
        long += x[i] - np.float64(x[i - 50])
        y[i] = short * (1 / 20) > long * (1 / 50)


def strength(given: Sources) -> Job:
    """T11: the relative strength index of the last 14 changes."""
    x = given["s"]["x"]
    y = np.zeros(len(x))

    def job() -> Columns:
        _strength(x, y)
        return {"y": y}

    return job


@njit(cache=True, error_model="numpy")
def _strength(x, y):  # noqa: ANN001, ANN202
    up = down = 0.0
    y[0] = np.nan
    for i in range(1, len(x)):
        d = x[i] - np.float64(x[i - 1])
        up += max(d, 0.0)
        down += max(-d, 0.0)
        if i > 14:
            d = x[i - 14] - np.float64(x[i - 15])
            up -= max(d, 0.0)
            down -= max(-d, 0.0)
        y[i] = 100 - 100 / (1 + up / down)


def fraud(given: Sources) -> Job:
    """T12: above the mean of the 10 before by more than three deviations."""
    x = given["s"]["x"]
    y = np.zeros(len(x), np.bool_)

    def job() -> Columns:
        _fraud(x, y)
        return {"y": y}

    return job


@njit(cache=True)
def _fraud(x, y):  # noqa: ANN001, ANN202
    total = square = 0.0
    y[0] = False
    for i in range(1, min(11, len(x))):
        v = np.float64(x[i - 1])
        total += v
        square += v * v
        mean = total / i
        y[i] = x[i] > mean + 3 * np.sqrt(max(square / i - mean * mean, 0.0))
    for i in range(11, len(x)):
        v, w = np.float64(x[i - 1]), np.float64(x[i - 11])
        total += v - w
        square += v * v - w * w
        mean = total * 0.1
        y[i] = x[i] > mean + 3 * np.sqrt(max(square * 0.1 - mean * mean, 0.0))


def pan_tompkins(given: Sources) -> Job:
    """T13: two recursive filters, a derivative, a square, the mean of the last 30."""
    x = given["s"]["x"]
    y = np.zeros(len(x))

    def job() -> Columns:
        _pan_tompkins(x, y)
        return {"y": y}

    return job


@njit(cache=True)
def _pan_tompkins(x, y):  # noqa: ANN001, ANN202
    lows, highs, squares = np.zeros(64), np.zeros(64), np.zeros(64)  # rings
    total = 0.0
    for i in range(len(x)):
        low = 2 * lows[(i - 1) & 63] - lows[(i - 2) & 63] + x[i]
        if i >= 6:
            low -= 2 * np.float64(x[i - 6])
        if i >= 12:
            low += x[i - 12]
        high = 32 * lows[(i - 16) & 63] - (highs[(i - 1) & 63] + low - lows[(i - 32) & 63])
        lows[i & 63] = low
        d = (high + 2 * highs[(i - 1) & 63] - 2 * highs[(i - 3) & 63] - highs[(i - 4) & 63]) / 8
        highs[i & 63] = high
        square = d * d
        total += square - squares[(i - 30) & 63]
        squares[i & 63] = square
        y[i] = total / (i + 1) if i < 30 else total * (1 / 30)


def vibration(given: Sources) -> Job:
    """T14: kurtosis, root of the mean square and crest factor of each 100."""
    x = given["s"]["x"]
    kurtosis, rms, crest = np.zeros((3, len(x) // 100))

    def job() -> Columns:
        _vibration(x, kurtosis, rms, crest, 100)
        return {"kurtosis": kurtosis, "rms": rms, "crest": crest}

    return job


@njit(cache=True, fastmath=ANY_ORDER)
def _vibration(x, kurtosis, rms, crest, w):  # noqa: ANN001, ANN202
    for k in range(len(rms)):
        g = x[k * w : k * w + w]
        total, energy, most = 0.0, 0.0, g[0]
        for i in range(w):
            v = np.float64(g[i])
            total += v
            energy += v * v
            most = max(most, g[i])
        mean = total / w
        second, fourth = 0.0, 0.0
        for i in range(w):
            d = (g[i] - mean) * (g[i] - mean)
            second += d
            fourth += d * d
        kurtosis[k] = w * fourth / (second * second)
        rms[k] = np.sqrt(energy / w)
        crest[k] = most / rms[k]


def yahoo(given: Sources) -> Job:
    """Y1: how many of each 100 are of type 1."""
    kind = given["s"]["event_type"]
    n = np.zeros(len(kind) // 100, np.int64)

    def job() -> Columns:
        _yahoo(kind, n, 100)
        return {"n": n}

    return job


@njit(cache=True)
def _yahoo(kind, n, w):  # noqa: ANN001, ANN202
    for k in range(len(n)):
        g = kind[k * w : k * w + w]
        count = 0
        for i in range(w):
            count += g[i] == 1
        n[k] = count
