"""T1 to T14 and Y1: the queries of TiLT's benchmark [1]_ in canonical form, beside plain Numba loops over dense columns.

The stream is float32, uniform in [-50, 50); sample i comes at i + 1 ticks of 1 ms and stands for the time since the one
before it. FlowEdge gets rows with their times, in pushes, and looks at order, duplicates and gaps; the loops get whole
columns and know that there is nothing to look for. Both give float64 where something is computed, as FlowEdge does.

Every result of the full size is compared with the loop's, row by row, and both over 100,000 rows with a slow reference
(`tilt_reference.py`): of the joins over streams with holes, where inner and outer differ; of all others over the same kind of data.

A row here has an instant and no interval: T4 gives begin and end as columns. T6 is a union that is cut where the time changes. T8 has
10 M ticks of which nine in ten have a row, and counts ticks; T5 and T6 count the rows of one side.

.. [1] A. Jayarajan et al., TiLT: a time-centric approach for stream query optimization and parallelization, ASPLOS 2023.
   https://doi.org/10.1145/3575693.3575704

Run:  python benchmarks/tilt.py [--queries T3 T8] [--rows 10000000] [--push 65536] [--rounds 5]
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tilt_loops as loops
import tilt_reference as reference
from common import machine, rounds
from ecg_chain import PLAIN
from tilt_loops import TICK, Columns, Job, Sources

import flowedge

STREAM = "source s (time, x: f32) at 1 kHz from given() time time\n"
OTHER = "source r (time, z: f32) at 1 kHz from given() time time\n"
CHECKED, WINDOW = 100_000, 10_000


class Query(NamedTuple):
    """One query: as a pipeline, as a loop, as a reference."""

    what: str
    text: str
    loop: Callable[[Sources], Job]
    slow: Callable[[Sources], Columns]
    tilt: float
    """What TiLT did on one core of another machine (a Zen 4), M events per CPU second, the best of five."""
    given: Callable[[int], Sources]
    checked: Callable[[int], Sources] | None = None
    """What the reference sees, where it is not the same kind of data."""


def stream(rows: int, *, every: int = 1, name: str = "x", seed: int = 7) -> Columns:
    """Dense samples, one at the end of each `every` ticks."""
    x = np.random.default_rng(seed).random(rows, np.float32) * np.float32(100) - np.float32(50)
    return {"time": np.arange(1, rows + 1) * (every * TICK), name: x}


def holed(columns: Columns, seed: int) -> Columns:
    """Nine of ten rows, by chance; the first and the last stay."""
    stays = np.random.default_rng(seed).random(len(columns["time"])) >= 0.1
    stays[[0, -1]] = True
    return {name: v[stays] for name, v in columns.items()}


def one(rows: int) -> Sources:
    """The common stream."""
    return {"s": stream(rows)}


def two(rows: int) -> Sources:
    """Two streams with the same times."""
    return {"s": stream(rows), "r": stream(rows, name="z", seed=8)}


def two_holed(rows: int) -> Sources:
    """Two streams, each without a tenth of its rows."""
    return {name: holed(s, seed) for seed, (name, s) in enumerate(two(rows).items())}


def yahoo(rows: int) -> Sources:
    """Four columns of 64 bits, of which one is the time; three types of events."""
    draw = np.random.default_rng(7)
    return {
        "s": {
            "time": np.arange(1, rows + 1) * TICK,
            "user": draw.integers(0, 100_000, rows),
            "ad": draw.integers(0, 1000, rows),
            "event_type": draw.integers(0, 3, rows),
        }
    }


QUERIES = {
    "T1": Query(
        "select",
        STREAM + "sink s | select y = x + 3 to expected()",
        loops.select,
        reference.select,
        77,
        one,
    ),
    "T2": Query(
        "where",
        STREAM + "sink s | where x > 0 to expected()",
        loops.where,
        reference.where,
        91,
        one,
    ),
    "T3": Query(
        "window sum",
        STREAM + "sink s | window 1000 samples | aggregate sum(x) as y to expected()",
        loops.window_sum,
        reference.window_sum,
        281,
        one,
    ),
    "T4": Query(
        "lifetime",
        """
source s (time, x: f32) at 1 kHz / 3 from given() time time
sink s | select x, begin = time - 3 ms, end = time - 1 ms to expected()
""",
        loops.lifetime,
        reference.lifetime,
        54,
        lambda rows: {"s": stream(rows, every=3)},
    ),
    "T5": Query(
        "inner join",
        STREAM
        + OTHER
        + "sink s | join r within 0 ms | where not missing(z) | select y = x + z to expected()",
        loops.inner,
        reference.inner,
        58,
        two,
        two_holed,
    ),
    "T6": Query(
        "outer join",
        STREAM
        + OTHER
        + """
stream both = s, r
sink both | split on time | aggregate sum(x) + sum(z) as y to expected()
""",
        loops.outer,
        reference.outer,
        58,
        two,
        two_holed,
    ),
    "T7": Query(
        "normalise",
        STREAM
        + """
sink s | window 10000 samples | derive y = (x - mean(x)) / std(x) | unnest y | select y to expected()
""",
        loops.normalise,
        reference.normalise,
        54,
        one,
    ),
    "T8": Query(
        "impute",
        """
source s (time, x: f32) at 1 kHz from given() time time gaps nan
sink s | window 10000 samples | derive y = coalesce(x, mean(x)) | unnest y | select y to expected()
""",
        loops.impute,
        reference.impute,
        64,
        lambda rows: {"s": holed(stream(rows), 9)},
    ),
    "T9": Query(
        "resample",
        """
source s (time, x: f32) at 250 Hz from given() time time
sink s | resample 5 ms linear to expected()
""",
        loops.resample,
        reference.resample,
        48,
        lambda rows: {"s": stream(rows, every=4)},
    ),
    "T10": Query(
        "trading",
        STREAM
        + "sink s | select y = mean(x) over 20 samples > mean(x) over 50 samples to expected()",
        loops.trading,
        reference.trading,
        37,
        one,
    ),
    "T11": Query(
        "RSI",
        STREAM
        + """
sink s
    | derive up = max(diff(x), 0), down = max(-diff(x), 0)
    | derive ratio = (sum(up) over 14 samples) / (sum(down) over 14 samples)
    | select y = 100 - 100 / (1 + ratio)
    to expected()
""",
        loops.strength,
        reference.strength,
        33,
        one,
    ),
    "T12": Query(
        "fraud",
        STREAM
        + """
sink s
    | derive m = mean(x) over 10 samples, sd = std(x) over 10 samples
    | select y = x > lag(m) + 3 * lag(sd)
    to expected()
""",
        loops.fraud,
        reference.fraud,
        40,
        one,
    ),
    "T13": Query(
        "Pan–Tompkins",
        STREAM
        + """
fn past(v, n) = coalesce(lag(v, n), 0)
sink s
    | derive low1 = prev(low, 0), low2 = prev(low1, 0), low = 2 * low1 - low2 + x - 2 * past(x, 6) + past(x, 12)
    | derive high = 32 * past(low, 16) - (prev(high, 0) + low - past(low, 32))
    | derive slope = (high + 2 * past(high, 1) - 2 * past(high, 3) - past(high, 4)) / 8
    | select y = mean(slope ^ 2) over 30 samples
    to expected()
""",
        loops.pan_tompkins,
        reference.pan_tompkins,
        16,
        one,
    ),
    "T14": Query(
        "vibration",
        STREAM
        + """
sink s
    | window 100 samples
    | aggregate kurtosis(x) as kurtosis, rms(x) as rms, max(x) / rms(x) as crest
    to expected()
""",
        loops.vibration,
        reference.vibration,
        34,
        one,
    ),
    "Y1": Query(
        "Yahoo, short form",
        """
source s (time, user: i64, ad: i64, event_type: i64) at up to 1 kHz from given() time time
sink s | window 100 samples | aggregate count(if(event_type == 1, 1, nan)) as n to expected()
""",
        loops.yahoo,
        reference.yahoo,
        283,
        yahoo,
    ),
}


class Ours:
    """A query in FlowEdge, over pushes that lie ready; what comes out is handed on in pieces."""

    def __init__(self, query: Query, given: Sources, push: int) -> None:
        self.plan = flowedge.compile(text=query.text, catalog=PLAIN)
        self.pushes = list(_pushes(given, push))

    def pieces(self) -> Iterator[pa.RecordBatch]:
        """Push all."""
        session = self.plan.open()
        for source, batch in self.pushes:
            yield from session.push(source, batch).values()
        yield from session.finish().values()

    def __call__(self) -> None:
        """Do it once, and let go what comes."""
        for _ in self.pieces():
            pass

    def columns(self) -> Columns:
        """Do it once, and keep what comes."""
        table = pa.Table.from_batches(list(self.pieces()))
        return {name: _plain(table[name]) for name in table.column_names}


def _pushes(given: Sources, push: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of all sources, by turns."""
    instant = pa.timestamp("ns", "UTC")
    tables = {
        name: pa.table({c: pa.array(v).cast(instant) if c == "time" else v for c, v in s.items()})
        for name, s in given.items()
    }
    for start in range(0, max(t.num_rows for t in tables.values()), push):
        for name, table in tables.items():
            for batch in table[start : start + push].to_batches():
                yield name, batch


def _plain(column: pa.ChunkedArray) -> np.ndarray:
    is_time = pa.types.is_timestamp(column.type)
    return (column.cast(pa.int64()) if is_time else column).to_numpy()


def difference(found: Columns, truth: Columns) -> float:
    """The largest difference of all columns of the truth, beside its largest value; infinite where rows differ.

    Times, whole numbers, float32 and missing values have to be the same. Of conditions one in a million rows may differ,
    for two means that are equal in exact arithmetic may be either way round by their last bits; more are infinite.
    """
    return max(_apart(found[name], v) for name, v in truth.items())


def _apart(found: np.ndarray, truth: np.ndarray) -> float:
    if found.shape != truth.shape:
        return np.inf
    if truth.dtype == bool:
        return np.inf if np.count_nonzero(found != truth) > len(truth) // 1_000_000 else 0.0
    if truth.dtype != np.float64:
        return 0.0 if np.array_equal(found, truth) else np.inf
    gone = np.isnan(truth)
    if not np.array_equal(np.isnan(found), gone):
        return np.inf
    truth = np.where(gone, 0.0, truth)
    return float(np.abs(np.where(gone, 0.0, found) - truth).max() / np.abs(truth).max())


ALIKE = 1e-9
"""What `difference` may be: running sums drift, and the recursive filters of T13 add their roundings up."""


def checked(query: Query, rows: int, push: int) -> float:
    """How far FlowEdge is from the reference; the loop is held to it too."""
    given = (query.checked or query.given)(rows)
    truth = query.slow(given)
    return max(
        difference(Ours(query, given, push).columns(), truth),
        _loop_difference(query.loop(given)(), truth),
    )


def _loop_difference(found: Columns, truth: Columns) -> float:
    return difference(found, {name: v for name, v in truth.items() if name in found})


def main() -> list[str]:
    """Print the tables; returns their lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", nargs="+", choices=QUERIES, default=list(QUERIES))
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--push", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=5)
    options, _ = parser.parse_known_args()
    n = options.rows
    if n % WINDOW:
        parser.error(f"--rows: a multiple of {WINDOW:,}")
    title = (
        f"T1 to T14 and Y1, {n:,} events in pushes of {options.push:,}, one thread; the loop has whole columns and no times to look at."
        " TiLT ran on another machine (one core of a Zen 4): for scale."
    )
    lines = [
        title,
        "",
        "| query | FlowEdge, M events per CPU second | plain loop | ratio to the loop (median of rounds) | spread | TiLT | ratio to TiLT | results |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print(machine(), *lines, sep="\n")
    ratios = {}
    for name in options.queries:
        query = QUERIES[name]
        given = query.given(n)
        ours, loop = Ours(query, given, options.push), query.loop(given)
        worst = max(
            checked(query, min(n, CHECKED), options.push), difference(ours.columns(), loop())
        )
        found = rounds({"ours": ours, "loop": loop}, options.rounds)
        cpu = {k: statistics.median(c for _, c in times) for k, times in found.items()}
        each = [b[1] / a[1] for a, b in zip(found["ours"], found["loop"], strict=True)]
        speed = n / cpu["ours"] / 1e6
        ratios[name] = statistics.median(each)
        told = f"equal to {worst:.0e}" if worst else "equal"
        lines.append(
            f"| {name} {query.what} | {speed:.1f} | {n / cpu['loop'] / 1e6:.0f} | {ratios[name]:.3f} | {min(each):.3f} – {max(each):.3f}"
            f" | {query.tilt} | {speed / query.tilt:.2f} | {told if worst <= ALIKE else 'DIFFERENT'} |"
        )
        print(lines[-1], flush=True)
    least, most = min(ratios, key=ratios.get), max(ratios, key=ratios.get)
    mean = statistics.geometric_mean(ratios.values())
    span = f"least {ratios[least]:.2f}, {QUERIES[least].what}; most {ratios[most]:.2f}, {QUERIES[most].what}"
    figure = f"{len(ratios)} queries of TiLT's benchmark beside plain Numba loops, geometric mean"
    more = ["", "| | figure |", "|---|---|", f"| {figure} | {mean:.2f} × ({span}) |"]
    print(*more, sep="\n")
    return lines + more


if __name__ == "__main__":
    main()
