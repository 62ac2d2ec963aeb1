"""The queries of `tilt.py` the slow and obvious way, in NumPy's float64 or Python's exact sums, for some rows of them.

Each takes the sources of its query and gives the columns of the result, times included.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from tilt_loops import TICK, Columns, Sources


def select(given: Sources) -> Columns:
    """T1."""
    s = given["s"]
    return {"time": s["time"], "y": s["x"].astype(float) + 3}


def where(given: Sources) -> Columns:
    """T2."""
    s = given["s"]
    return {"time": s["time"][s["x"] > 0], "x": s["x"][s["x"] > 0]}


def window_sum(given: Sources) -> Columns:
    """T3."""
    time, frames = _frames(given, 1000)
    return {"time": time, "y": np.array([math.fsum(f) for f in frames])}


def lifetime(given: Sources) -> Columns:
    """T4: the sample i, valid on (3i, 3i + 3], is so on (3i, 3i + 2]."""
    i = np.arange(len(given["s"]["x"]))
    return {
        "time": given["s"]["time"],
        "x": given["s"]["x"],
        "begin": 3 * i * TICK,
        "end": (3 * i + 2) * TICK,
    }


def inner(given: Sources) -> Columns:
    """T5."""
    left, right = _by_time(given)
    time = sorted(left.keys() & right.keys())
    return {"time": np.array(time), "y": np.array([left[t] + right[t] for t in time])}


def outer(given: Sources) -> Columns:
    """T6."""
    left, right = _by_time(given)
    time = sorted(left.keys() | right.keys())
    y = [left.get(t, 0.0) + right.get(t, 0.0) for t in time]
    return {"time": np.array(time), "y": np.array(y)}


def normalise(given: Sources) -> Columns:
    """T7."""
    _, frames = _frames(given, 10_000)
    y = (frames - frames.mean(1, keepdims=True)) / frames.std(1, keepdims=True)
    return {"time": given["s"]["time"], "y": y.ravel()}


def impute(given: Sources) -> Columns:
    """T8."""
    values = dict(zip(given["s"]["time"] // TICK, given["s"]["x"].tolist(), strict=True))
    y = []
    for first in range(1, max(values), 10_000):
        ticks = range(first, first + 10_000)
        present = [values[t] for t in ticks if t in values]
        mean = math.fsum(present) / len(present)
        y += [values.get(t, mean) for t in ticks]
    return {"time": TICK * np.arange(1, len(y) + 1), "y": np.array(y)}


def resample(given: Sources) -> Columns:
    """T9."""
    s = given["s"]
    time = np.arange(5 * TICK, s["time"][-1] + 1, 5 * TICK)
    return {"time": time, "x": np.interp(time, s["time"], s["x"].astype(float))}


def trading(given: Sources) -> Columns:
    """T10."""
    x = given["s"]["x"].tolist()
    means = [[math.fsum(p) / len(p) for p in _pasts(x, n)] for n in (20, 50)]
    return {"time": given["s"]["time"], "y": np.greater(*means)}


def strength(given: Sources) -> Columns:
    """T11."""
    d = np.diff(given["s"]["x"].astype(float)).tolist()
    y = [math.nan]
    for past in _pasts(d, 14):
        up, down = math.fsum(v for v in past if v > 0), -math.fsum(v for v in past if v < 0)
        y.append(100 - 100 / (1 + up / down) if down else 100.0)
    return {"time": given["s"]["time"], "y": np.array(y)}


def fraud(given: Sources) -> Columns:
    """T12."""
    x = given["s"]["x"].astype(float)
    before = sliding_window_view(np.concatenate([np.full(10, np.nan), x[:-1]]), 10)
    y = np.zeros(len(x), bool)  # the first sample has nothing before it
    y[1:] = x[1:] > np.nanmean(before[1:], 1) + 3 * np.nanstd(before[1:], 1)
    return {"time": given["s"]["time"], "y": y}


def pan_tompkins(given: Sources) -> Columns:
    """T13: both recursive filters together have a finite response in whole numbers, for their poles cancel."""
    z6, z16 = np.zeros(7), np.zeros(33)
    z6[[0, 6]] = 1, -1
    z16[[0, 16, 32]] = -1, 32, 1
    poles = np.convolve(np.convolve([1, -1], [1, -1]), [1, 1])
    response, rest = np.polydiv(np.convolve(np.convolve(z6, z6), z16), poles)
    assert not rest.any()
    x = given["s"]["x"].astype(float)
    slope = np.convolve(x, np.convolve(response, [1, 2, 0, -2, -1]) / 8)[: len(x)]
    padded = np.concatenate([np.zeros(29), slope**2])
    count = np.minimum(np.arange(len(x)) + 1, 30)
    return {"time": given["s"]["time"], "y": sliding_window_view(padded, 30).sum(1) / count}


def vibration(given: Sources) -> Columns:
    """T14."""
    time, frames = _frames(given, 100)
    away = frames - frames.mean(1, keepdims=True)
    rms = np.sqrt((frames**2).mean(1))
    kurtosis = (away**4).mean(1) / (away**2).mean(1) ** 2
    return {"time": time, "kurtosis": kurtosis, "rms": rms, "crest": frames.max(1) / rms}


def yahoo(given: Sources) -> Columns:
    """Y1."""
    s = given["s"]
    return {"time": s["time"][99::100], "n": (s["event_type"].reshape(-1, 100) == 1).sum(1)}


def _frames(given: Sources, length: int) -> tuple[np.ndarray, np.ndarray]:
    """When each frame ends, and its values; dense data, whole frames."""
    s = given["s"]
    return s["time"][length - 1 :: length], s["x"].astype(float).reshape(-1, length)


def _by_time(given: Sources) -> tuple[dict[int, float], dict[int, float]]:
    s, r = given["s"], given["r"]
    return (
        dict(zip(s["time"].tolist(), s["x"].tolist(), strict=True)),
        dict(zip(r["time"].tolist(), r["z"].tolist(), strict=True)),
    )


def _pasts(values: list[float], length: int) -> list[list[float]]:
    """The last values at each place, fewer at the start."""
    return [values[max(0, i + 1 - length) : i + 1] for i in range(len(values))]
