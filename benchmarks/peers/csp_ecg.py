"""The ECG chain in csp: what `streams_elsewhere.py` asks. `tick` has one tick for a sample, `batch` one for an array of 4,096.

A tick goes through nodes in Python, and the mean through `csp.stats`; a batch through nodes that call SciPy and keep its state.
"""

# ruff: noqa: RET503 - a node that returns nothing does not tick

from datetime import datetime, timedelta

import csp
import csp.stats
import numpy as np
from csp import ts
from csp.typing import Numpy1DArray
from scipy.signal import lfilter, sosfilt
from serving import ecg_checksum, serve, timed

SLOPE = [45.0, 90.0, 0.0, -90.0, -45.0]
SPAN, PUSH = 54, 4096
FIRST = datetime(2026, 1, 1)  # noqa: DTZ001 - csp takes no zone
STEP_NS = 2_777_777


@csp.node
def bandpass(x: ts[float], sos: list) -> ts[float]:
    """Second-order sections, one after the other."""
    with csp.state():
        s_delays = [[0.0, 0.0] for _ in sos]
    if csp.ticked(x):
        v = x
        for delay, (b0, b1, b2, _, a1, a2) in zip(s_delays, sos):  # noqa: B905 - csp parses no keyword here
            y = b0 * v + delay[0]
            delay[0] = b1 * v - a1 * y + delay[1]
            delay[1] = b2 * v - a2 * y
            v = y
        return v


@csp.node
def squared_slope(x: ts[float]) -> ts[float]:
    """The derivative over five samples, squared."""
    with csp.state():
        s_a, s_b, s_c, s_d = 0.0, 0.0, 0.0, 0.0
    if csp.ticked(x):
        slope = 45.0 * (x + 2 * s_a - 2 * s_c - s_d)
        s_d, s_c, s_b, s_a = s_c, s_b, s_a, x
        return slope * slope


@csp.graph(memoize=False)
def by_tick(times: object, samples: object, sos: list) -> None:
    """Samples to means."""
    x = csp.curve(float, (times, samples))
    y = squared_slope(bandpass(x, sos))
    csp.add_graph_output("p", csp.stats.mean(y, SPAN, min_window=1))


@csp.node
def chain(x: ts[Numpy1DArray[float]], sos: list) -> ts[Numpy1DArray[float]]:
    """The chain over an array."""
    with csp.state():
        s_sos, s_bands = np.array(sos), np.zeros((len(sos), 2))
        s_slopes = np.zeros(4)
        s_means = np.zeros(SPAN - 1)
    if csp.ticked(x):
        y, s_bands = sosfilt(s_sos, x, zi=s_bands)
        y, s_slopes = lfilter(SLOPE, [1.0], y, zi=s_slopes)
        y, s_means = lfilter(np.full(SPAN, 1 / SPAN), [1.0], y * y, zi=s_means)
        return y


@csp.graph(memoize=False)
def by_batch(times: object, arrays: object, sos: list) -> None:
    """Arrays of samples to arrays of means."""
    x = csp.curve(Numpy1DArray[float], (times, arrays))
    csp.add_graph_output("p", chain(x, sos))


def span(samples: int) -> tuple[np.ndarray, datetime]:
    """The time of each sample, and one after all of them."""
    times = np.datetime64(FIRST, "ns") + np.arange(samples) * np.timedelta64(STEP_NS, "ns")
    return times, FIRST + timedelta(microseconds=samples * STEP_NS // 1000 + 1)


def tick(x: np.ndarray, sos: list) -> tuple[dict, np.ndarray]:
    """Sample by sample; what it took, and the means."""
    times, end = span(len(x))
    spent, made = timed(lambda: csp.run(by_tick, times, x, sos, starttime=FIRST, endtime=end, output_numpy=True))  # fmt: skip
    return spent, made["p"][1]


def batch(x: np.ndarray, sos: list) -> tuple[dict, np.ndarray]:
    """Array by array."""
    starts = range(0, len(x), PUSH)
    arrays = np.empty(len(starts), object)  # else NumPy would make one array of them
    for k, a in enumerate(starts):
        arrays[k] = x[a : a + PUSH]
    times, end = span(len(x))
    spent, made = timed(lambda: csp.run(by_batch, times[::PUSH], arrays, sos, starttime=FIRST, endtime=end))  # fmt: skip
    return spent, np.concatenate([y for _, y in made["p"]])


def run(by: str, path: str, sos: list) -> dict:
    """From memory to memory."""
    spent, y = {"tick": tick, "batch": batch}[by](np.load(path), sos)
    return {**spent, "checksum": ecg_checksum(y)}


if __name__ == "__main__":
    serve({"run": run}, "csp", "scipy")
