"""Y2: the query of the Yahoo streaming benchmark: views per campaign in windows of 10 s, beside a C loop, DuckDB and Polars.

Events come in order of time, 100,000 a second, with 1000 ads by chance; a third are views. A table of ads gives the campaign, one
of 100. A row is its time [µs], the ad and the type: 16 bytes.

In memory both get the events in pushes of 65,536 rows. From file to file both map an Arrow file and write one.

Run:  python benchmarks/yahoo.py [--rows 20000000] [--rounds 5]
"""

import argparse
import ctypes
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import Apart, compiled, here, machine, rounds, table
from ecg_chain import PLAIN

import flowedge
from flowedge.runtime.run import Run

ADS, CAMPAIGNS, TYPES = 1000, 100, 3
START_US, STEP_US, WINDOW_US = 1_436_918_400 * 10**6, 10, 10 * 10**6
CHUNK, PUSH = 500_000, 65_536
TEXT = """
source ads (ad: key i32, campaign: i32) from {ads}
    time always
source events (ts: i64 [us], ad: key i32, event_type: i32) from {events}
    time ts
sink events
    | where event_type == 0
    | join ads latest
    | key campaign
    | window 10 s
    | aggregate count() as n, max(ts) as last
    to {out}
"""
COLUMNS = ("time", "start", "campaign", "n", "last")
SCALE = "For scale, on another machine: LightSaber was published with 296 M events/s on 32 cores, 9.25 M/s a core."


def generate(folder: Path, rows: int, step_us: int = STEP_US) -> None:
    """`ads.arrow`, ten ads to a campaign, and `events.arrow`."""
    draw = np.random.default_rng(13)
    campaigns = (draw.permutation(ADS) % CAMPAIGNS).astype(np.int32)
    ads = pa.record_batch({"ad": np.arange(ADS, dtype=np.int32), "campaign": campaigns})
    _write(folder / "ads.arrow", iter([ads]))
    _write(folder / "events.arrow", _events(draw, rows, step_us))


def _events(draw: np.random.Generator, rows: int, step_us: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        yield pa.record_batch({
            "ts": START_US + (start + np.arange(n)) * step_us,
            "ad": draw.integers(0, ADS, n, np.int32), "event_type": draw.integers(0, TYPES, n, np.int32),
        })  # fmt: skip


def _write(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def read(path: Path) -> pa.Table:
    """A whole Arrow file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def reference(events: pa.Table, ads: pa.Table) -> np.ndarray:
    """The rows of the result, window by window and campaign by campaign, with NumPy: time and start [ns], campaign, n, last [µs]."""
    ts, kind = events["ts"].to_numpy(), events["event_type"].to_numpy()
    campaign = ads["campaign"].to_numpy()[events["ad"].to_numpy()]
    out = []
    for number in range(ts[0] // WINDOW_US, ts[-1] // WINDOW_US + 1) if len(ts) else ():
        a, b = np.searchsorted(ts, [number * WINDOW_US, (number + 1) * WINDOW_US])
        for c in range(CAMPAIGNS):
            views = ts[a:b][(kind[a:b] == 0) & (campaign[a:b] == c)]
            if len(views):
                start = number * WINDOW_US * 1000
                out.append([start + WINDOW_US * 1000, start, c, len(views), views.max()])
    return np.array(out, np.int64).reshape(-1, len(COLUMNS))


def result(made: pa.Table) -> np.ndarray:
    """The same of what a system has made, in whatever order."""
    made = made.sort_by([("time", "ascending"), ("campaign", "ascending")])
    return np.stack([made[c].cast(pa.int64()).to_numpy() for c in COLUMNS], axis=1)


class ByHand:
    """The C loop with its state, from batch to batch."""

    def __init__(self, library: ctypes.CDLL, ads: pa.Table) -> None:
        self._run, self._campaigns = library.yahoo, ads["campaign"].to_numpy()
        self._cells, self._end = np.zeros((CAMPAIGNS, 2), np.int64), np.zeros(1, np.int64)
        room = CHUNK + CAMPAIGNS  # a row has a view of the batch, or is of the window that it finds
        self._out = [np.zeros(room, t) for t in (np.int64, np.int32, np.int64, np.int64)]

    def __call__(self, batch: pa.RecordBatch, *, last: bool) -> pa.RecordBatch:
        """The rows that it makes final."""
        p, size = ctypes.c_void_p, ctypes.c_long
        columns = [batch[c].to_numpy() for c in ("ts", "ad", "event_type")]
        m = self._run(
            *(p(c.ctypes.data) for c in columns), size(batch.num_rows), p(self._campaigns.ctypes.data), size(CAMPAIGNS),
            p(self._cells.ctypes.data), p(self._end.ctypes.data), int(last), *(p(o.ctypes.data) for o in self._out),
        )  # fmt: skip
        end, *others = (o[:m].copy() for o in self._out)
        times = [pa.array(t * 1000).cast(pa.timestamp("ns", "UTC")) for t in (end, end - WINDOW_US)]
        return pa.record_batch([*times, *others], names=list(COLUMNS))


def by_hand(library: ctypes.CDLL, folder: Path, out: Path) -> None:
    """The C loop over the batches of the file, its rows written to an Arrow file."""
    job = ByHand(library, read(folder / "ads.arrow"))
    with pa.memory_map(str(folder / "events.arrow")) as file:
        reader = pa.ipc.open_file(file)
        count = reader.num_record_batches
        _write(out, (job(reader.get_batch(k), last=k == count - 1) for k in range(count)))


def by_duckdb(folder: Path, out: Path) -> None:
    """The same in SQL, on one thread."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as db:
        db.register("ads", read(folder / "ads.arrow"))
        db.register("events", read(folder / "events.arrow"))
        made = db.sql(
            f"""
            SELECT (ts // {WINDOW_US} + 1) * {WINDOW_US * 1000} AS time, (ts // {WINDOW_US}) * {WINDOW_US * 1000} AS start, campaign,
                count(*) AS n, max(ts) AS last
            FROM events JOIN ads USING (ad) WHERE event_type = 0 GROUP BY 1, 2, 3
            """
        ).to_arrow_table()
    _write(out, iter(made.to_batches()))


def by_polars(folder: Path, out: Path) -> None:
    """The same, on one thread."""
    os.environ["POLARS_MAX_THREADS"] = "1"  # read when the package is first imported
    import polars as pl

    (
        pl.scan_ipc(folder / "events.arrow")
        .filter(pl.col("event_type") == 0)
        .join(pl.scan_ipc(folder / "ads.arrow"), on="ad")
        .group_by(((pl.col("ts") // WINDOW_US + 1) * WINDOW_US * 1000).alias("time"), "campaign")
        .agg(pl.len().cast(pl.Int64).alias("n"), pl.col("ts").max().alias("last"))
        .with_columns(start=pl.col("time") - WINDOW_US * 1000)
        .sink_ipc(out, engine="streaming")
    )


def from_files(folder: Path) -> str:
    """The pipeline from `folder` to `ours.arrow` there."""
    return TEXT.format(
        ads=f'arrow("{folder}/ads.arrow")', events=f'arrow("{folder}/events.arrow")', out=f'arrow("{folder}/ours.arrow")',
    )  # fmt: skip


def in_pushes() -> flowedge.Plan:
    """The pipeline whose rows are handed over."""
    text = TEXT.format(ads="given()", events="given()", out="expected()")
    return flowedge.compile(text=text, catalog=PLAIN)


def pushed(plan: flowedge.Plan, ads: pa.Table, batches: list[pa.RecordBatch]) -> pa.Table:
    """What the pipeline makes of the events when it is handed them batch by batch."""
    session = plan.open()
    session.push("ads", ads.to_batches()[0])
    made = list(session.end("ads").values())  # until then all events wait for more ads
    for batch in batches:
        made += session.push("events", batch).values()
    made += session.finish().values()
    return pa.Table.from_batches(made)


def in_memory(
    given: argparse.Namespace, folder: Path
) -> tuple[str, dict[str, list], list[pa.Table]]:
    """In pushes: what it is, times, results."""
    plan, ads, library = in_pushes(), read(folder / "ads.arrow"), compiled("yahoo")
    whole = read(folder / "events.arrow").combine_chunks()  # a copy, no map of a file any more
    batches, made = whole.to_batches(max_chunksize=PUSH), {}

    def us() -> None:
        made["us"] = pushed(plan, ads, batches)

    def c() -> None:
        job = ByHand(library, ads)
        made["c"] = pa.Table.from_batches([job(b, last=b is batches[-1]) for b in batches])

    found = rounds({"FlowEdge": us, "C by hand": c}, given.rounds)
    return f"in pushes of {PUSH:,}", found, list(made.values())


def file_to_file(
    given: argparse.Namespace, folder: Path
) -> tuple[str, dict[str, list], list[pa.Table]]:
    """The same from Arrow files to Arrow files."""
    library = compiled("yahoo")
    jobs = {name: (job, folder / f"{k}.arrow") for k, (name, job) in enumerate(here(duckdb=by_duckdb, polars=by_polars).items())}  # fmt: skip
    run, theirs = Run(flowedge.compile(text=from_files(folder))), folder / "theirs.arrow"
    found = rounds(
        {
            "FlowEdge": run.__call__,
            "C by hand": lambda: by_hand(library, folder, theirs),
            **{name: Apart(job, folder, out) for name, (job, out) in jobs.items()},
        },
        given.rounds,
    )
    outs = [folder / "ours.arrow", theirs, *(out for _, out in jobs.values())]
    return "Arrow files to Arrow file", found, [read(out) for out in outs]


def main(way: str = "both") -> list[str]:
    """Print the tables; returns their lines.

    Parameters
    ----------
    way : `memory`, `files` or `both`
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    ways = {"memory": in_memory, "files": file_to_file}
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, given.rows)
        truth = reference(read(folder / "events.arrow"), read(folder / "ads.arrow"))
        for job in (ways[way],) if way in ways else ways.values():
            what, found, made = job(given, folder)
            same = all(np.array_equal(result(x), truth) for x in made)
            lines += [
                f"Y2, Yahoo query, {given.rows:,} events of {ADS:,} ads, {what}; {len(truth):,} rows out, checksum {zlib.crc32(truth):08x}, {'equal' if same else 'DIFFERENT'}",
                "",
                *table(found, given.rows, "C by hand"),
                "",
            ]
    lines += [SCALE]
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
