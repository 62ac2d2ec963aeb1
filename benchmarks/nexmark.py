"""N1, N2, N5, N8: queries 1, 2, 5 and 8 of NEXMark, from Arrow files to an Arrow file, beside C loops, DuckDB and Polars.

The generator is that of Apache Beam and of Flink's NEXMark in its default setting, without texts: of 50 events the first is a person, three are
auctions and 46 bids; 10,000 events a second from 2015-07-15, each at a time of its own; half of the bids go to the newest hot auction (one of 100)
and the others to one of the last 100, or to one of ten that are still to come; of the sellers three in four are the newest hot person.

* Q1 puts the price of each bid into another currency.
* Q2 keeps the bids on auctions whose number is a multiple of 123.
* Q5 finds the auctions with the most bids in windows of 10 s, one each 2 s, as Flink's NEXMark has it (60 min each minute in the paper).
* Q8 finds the persons who open an auction in the window of 10 s in which they registered, with its tumbling windows.

Rows are those of the streams that a query reads: bids, or persons and auctions.

Run:  python benchmarks/nexmark.py [--query q5] [--events 20000000] [--rounds 5]
"""

import argparse
import ctypes
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from common import Apart, compiled, here, machine, rounds, table

import flowedge
from flowedge.runtime.run import Run

START_NS, STEP_NS, PANE_NS, WINDOW_NS = 1_436_918_400 * 10**9, 100_000, 2 * 10**9, 10 * 10**9
CHUNK, FIRST_ID = 500_000, 1000
HOT, ACTIVE_PERSONS, OPEN_AUCTIONS, AHEAD = 100, 1000, 100, 10
Q1 = """
source bids (time, auction: i64, bidder: i64, price: i64) from arrow("{folder}/bids.arrow")
    time time
sink bids | derive price = 0.908 * price to arrow("{out}")
"""
Q2 = """
source bids (time, auction: i64, price: i64) from arrow("{folder}/bids.arrow")
    time time
sink bids | where auction % 123 == 0 to arrow("{out}")
"""
Q5 = """
source bids (time, auction: key i64) from arrow("{folder}/bids.arrow")
    time time
stream counts = bids | window 10 s every 2 s | aggregate count() as n
stream most = counts | key none | window 2 s | aggregate max(n) as most
sink counts | join most latest | where n >= most | select n to arrow("{out}")
"""
Q8 = """
source persons (time, id: key i64) from arrow("{folder}/persons.arrow")
    time time
source auctions (time, id: key i64 = seller) from arrow("{folder}/auctions.arrow")
    time time
stream sellers = auctions | window 10 s | aggregate count() as opened
sink persons
    | window 10 s
    | aggregate count() as registered
    | join sellers within 1 s
    | where opened > 0
    | select start
    to arrow("{out}")
"""
Arrays = dict[str, np.ndarray]


def generate(folder: Path, events: int, step_ns: int = STEP_NS) -> None:
    """`persons.arrow`, `auctions.arrow` and `bids.arrow`."""
    draw = np.random.default_rng(11)
    with ExitStack() as stack:
        writers: dict[str, Any] = {}
        for start in range(0, events, CHUNK):
            number = np.arange(start, min(events, start + CHUNK))
            for name, columns in _made(draw, number).items():
                columns["time"] = pa.array(START_NS + columns["time"] * step_ns).cast(
                    pa.timestamp("ns", "UTC")
                )
                batch = pa.record_batch(columns)
                if name not in writers:
                    file = stack.enter_context(pa.OSFile(str(folder / f"{name}.arrow"), "wb"))
                    writers[name] = stack.enter_context(pa.ipc.new_file(file, batch.schema))
                writers[name].write_batch(batch)


def _made(draw: np.random.Generator, number: np.ndarray) -> dict[str, Any]:
    """The events with these numbers; ids from FIRST_ID, of each kind in the order in which they come."""
    turn, place = number // 50, number % 50
    newest_auction = turn * 3 + np.minimum(place, 3) - 1
    is_person, is_auction, is_bid = place == 0, (place > 0) & (place < 4), place > 3

    def person(newest: np.ndarray, hot: int) -> np.ndarray:
        """Three in four the newest hot person, and else an active one, or one who is still to come."""
        active = np.minimum(newest + 1, ACTIVE_PERSONS)
        other = newest + 1 - active + draw.integers(0, active + AHEAD)
        return np.where(draw.integers(0, 4, len(newest)) > 0, newest // HOT * HOT + hot, other)

    newest = newest_auction[is_bid]
    oldest = np.maximum(newest - OPEN_AUCTIONS, 0)
    other = oldest + draw.integers(0, newest - oldest + 1 + AHEAD)
    is_hot = draw.integers(0, 2, len(newest)) > 0
    return {
        "persons": {"time": number[is_person], "id": FIRST_ID + turn[is_person]},
        "auctions": {
            "time": number[is_auction], "id": FIRST_ID + newest_auction[is_auction], "seller": FIRST_ID + person(turn[is_auction], 0),
        },
        "bids": {
            "time": number[is_bid], "auction": FIRST_ID + np.where(is_hot, newest // HOT * HOT, other),
            "bidder": FIRST_ID + person(turn[is_bid], 1), "price": np.round(10 ** draw.uniform(2, 8, len(newest))).astype(np.int64),
        },
    }  # fmt: skip


def read(path: Path) -> pa.Table:
    """A whole Arrow file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def columns(table: pa.Table | pa.RecordBatch) -> Arrays:
    """By name; times in ns."""
    return {
        n: (table[n].cast(pa.int64()) if pa.types.is_timestamp(table[n].type) else table[n]).to_numpy()
        for n in table.schema.names
    }  # fmt: skip


def reference_q1(folder: Path) -> Arrays:
    """Column by column, with NumPy."""
    bids = columns(read(folder / "bids.arrow"))
    return {**bids, "price": bids["price"] * 0.908}


def reference_q2(folder: Path) -> Arrays:
    """The same."""
    bids = columns(read(folder / "bids.arrow"))
    kept = np.flatnonzero(bids["auction"] % 123 == 0)
    return {n: bids[n][kept] for n in ("time", "auction", "price")}


def reference_q5(folder: Path) -> Arrays:
    """Window by window, of all bids that lie in it."""
    bids = columns(read(folder / "bids.arrow"))
    time, rows = bids["time"], []
    for end in range(time[0] // PANE_NS * PANE_NS + PANE_NS, time[-1] + WINDOW_NS + 1, PANE_NS) if len(time) else ():  # fmt: skip
        a, b = np.searchsorted(time, [end - WINDOW_NS, end])
        auctions, counts = np.unique(bids["auction"][a:b], return_counts=True)
        rows += [
            (end, k, end - WINDOW_NS, n)
            for k, n in zip(auctions, counts, strict=True)
            if n == counts.max()
        ]
    return _arrays(("time", "auction", "start", "n"), rows)


def reference_q8(folder: Path) -> Arrays:
    """Row by row, with sets."""
    persons, auctions = (columns(read(folder / f"{n}.arrow")) for n in ("persons", "auctions"))
    opened = set(zip((auctions["time"] // WINDOW_NS).tolist(), auctions["seller"].tolist(), strict=True))  # fmt: skip
    registered = set(zip((persons["time"] // WINDOW_NS).tolist(), persons["id"].tolist(), strict=True))  # fmt: skip
    rows = [((k + 1) * WINDOW_NS, p, k * WINDOW_NS) for k, p in sorted(registered & opened)]
    return _arrays(("time", "id", "start"), rows)


def _arrays(names: tuple[str, ...], rows: list[tuple[int, ...]]) -> Arrays:
    found = np.array(rows, np.int64).reshape(-1, len(names))
    return {n: found[:, k].copy() for k, n in enumerate(names)}


def loaded() -> ctypes.CDLL:
    """The C loops."""
    library = compiled("nexmark")
    library.q2.restype = library.q5.restype = ctypes.c_long
    return library


def by_hand_q1(library: ctypes.CDLL, folder: Path, out: Path) -> None:
    """The C loop over the batches of the file; the other columns are written as they are."""

    def made(batch: pa.RecordBatch, last: bool) -> pa.RecordBatch:
        price, new = batch["price"].to_numpy(), np.empty(batch.num_rows)
        library.q1(_p(price), _p(new), _long(len(new)))
        return batch.set_column(3, "price", pa.array(new))

    _write(out, (made(*x) for x in _batches(folder / "bids.arrow")))


def by_hand_q2(library: ctypes.CDLL, folder: Path, out: Path) -> None:
    """The same, for the bids that are kept."""
    room = [np.empty(CHUNK, np.int64) for _ in range(3)]

    def made(batch: pa.RecordBatch, last: bool) -> pa.RecordBatch:
        c = columns(batch)
        m = library.q2(_p(c["time"]), _p(c["auction"]), _p(c["price"]), _long(batch.num_rows), *(_p(x) for x in room))  # fmt: skip
        return _rows(("time", "auction", "price"), room, m)

    _write(out, (made(*x) for x in _batches(folder / "bids.arrow")))


def by_hand_q5(library: ctypes.CDLL, folder: Path, out: Path) -> None:
    """Counts of all auctions side by side, for each of five panes."""
    count = np.zeros((5, _persons_and_auctions(folder)), np.int32)
    state = np.array([-1, *[2**63 - 1] * 5, *[-1] * 5])  # the open pane, spans
    most = 5 * (CHUNK + count.shape[1])  # each bid of a batch may be alone in five windows
    room = [np.empty(most, np.int64) for _ in range(3)]

    def made(batch: pa.RecordBatch, last: bool) -> pa.RecordBatch:
        c = columns(batch)
        m = library.q5(
            _p(c["time"]), _p(c["auction"]), _long(batch.num_rows), _p(count), _long(count.shape[1]), _p(state), int(last),
            *(_p(x) for x in room),
        )  # fmt: skip
        time, auction, n = (x[:m] for x in room)
        return _rows(("time", "auction", "start", "n"), [time, auction, time - WINDOW_NS, n], m)

    _write(out, (made(*x) for x in _batches(folder / "bids.arrow")))


def by_hand_q8(library: ctypes.CDLL, folder: Path, out: Path) -> None:
    """Two streams, taken window by window."""
    registered, opened = np.zeros((2, _persons_and_auctions(folder)), np.int64)
    state = np.array([0, 2**63 - 1, -1, 0, 0, 0])  # end, span, places in both batches, rows
    room = [np.empty(len(registered), np.int64) for _ in range(2)]

    def made() -> Iterator[pa.RecordBatch]:
        both = [_batches(folder / f"{n}.arrow") for n in ("persons", "auctions")]
        (persons, is_last), (auctions, is_end) = (next(x) for x in both)
        a, b = columns(persons), columns(auctions)
        while wanted := library.q8(
            _p(a["time"]), _p(a["id"]), _long(len(a["id"])), int(is_last), _p(b["time"]), _p(b["seller"]), _long(len(b["id"])), int(is_end),
            _p(registered), _p(opened), _p(state), *(_p(x) for x in room),
        ):  # fmt: skip
            yield out_of()
            if wanted == 1:
                persons, is_last = next(both[0])
                a, state[3] = columns(persons), 0
            else:
                auctions, is_end = next(both[1])
                b, state[4] = columns(auctions), 0
        yield out_of()

    def out_of() -> pa.RecordBatch:
        m, state[5] = state[5], 0
        return _rows(("time", "id", "start"), [*room, room[0][:m] - WINDOW_NS], m)

    _write(out, made())


def _persons_and_auctions(folder: Path) -> int:
    """As many ids as there may be, of either kind."""
    with pa.memory_map(str(folder / "auctions.arrow")) as file:
        reader = pa.ipc.open_file(file)
        newest = reader.get_batch(reader.num_record_batches - 1)["id"].to_numpy().max()
    return int(newest) + 1 - FIRST_ID + 2 * AHEAD


def _batches(path: Path) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """Each, and whether it is the last."""
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        count = reader.num_record_batches
        for k in range(count):
            yield reader.get_batch(k), k == count - 1


def _rows(names: tuple[str, ...], room: list[np.ndarray], count: int) -> pa.RecordBatch:
    """The first rows of what C has written."""
    arrays = [pa.array(x[:count].copy()) for x in room]
    times = [
        x.cast(pa.timestamp("ns", "UTC")) if n in {"time", "start"} else x
        for n, x in zip(names, arrays, strict=True)
    ]
    return pa.record_batch(times, names=list(names))


def _write(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    writer = None
    with pa.OSFile(str(path), "wb") as file:
        for batch in batches:
            writer = writer or pa.ipc.new_file(file, batch.schema)
            if batch.num_rows:
                writer.write_batch(batch)
        if writer is not None:
            writer.close()


def _p(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def _end(column: str, size: int) -> str:
    """SQL for the end of the window of a time."""
    return f"(epoch_ns({column}) // {size} + 1) * {size}"


SQL = {
    "q1": "SELECT time, auction, bidder, 0.908::DOUBLE * price AS price FROM bids",
    "q2": "SELECT time, auction, price FROM bids WHERE auction % 123 = 0",
    "q5": f"""
        WITH panes AS (SELECT {_end("time", PANE_NS)} AS pane, auction, count(*) AS n FROM bids GROUP BY 1, 2),
        counts AS (SELECT pane + k * {PANE_NS} AS time, auction, sum(n)::BIGINT AS n FROM panes, range(5) AS hop (k) GROUP BY 1, 2)
        SELECT time, auction, time - {WINDOW_NS} AS start, n FROM counts QUALIFY n = max(n) OVER (PARTITION BY time)
        """,
    "q8": f"""
        WITH sellers AS (SELECT DISTINCT {_end("time", WINDOW_NS)} AS time, seller AS id FROM auctions)
        SELECT time, id, time - {WINDOW_NS} AS start
        FROM (SELECT {_end("time", WINDOW_NS)} AS time, id FROM persons) JOIN sellers USING (time, id)
        """,
}


def by_duckdb(query: str, folder: Path, out: Path) -> None:
    """The same in SQL, on one thread; hops by panes."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as db:
        for name in ("persons", "auctions", "bids"):
            db.register(name, read(folder / f"{name}.arrow"))
        _write(out, iter(db.sql(SQL[query]).to_arrow_reader(100_000)))


def by_polars(query: str, folder: Path, out: Path) -> None:
    """The same, on one thread; hops by panes."""
    os.environ["POLARS_MAX_THREADS"] = "1"  # read when the package is first imported
    import polars as pl

    persons, auctions, bids = (pl.scan_ipc(folder / f"{n}.arrow") for n in ("persons", "auctions", "bids"))  # fmt: skip

    def end(size: int) -> pl.Expr:
        return (pl.col("time").to_physical() // size + 1) * size

    if query == "q1":
        made = bids.with_columns(price=pl.col("price") * 0.908)
    elif query == "q2":
        made = bids.filter(pl.col("auction") % 123 == 0).select("time", "auction", "price")
    elif query == "q5":
        panes = bids.group_by(end(PANE_NS).alias("pane"), "auction").agg(pl.len().cast(pl.Int64).alias("n"))  # fmt: skip
        hops = [panes.with_columns(time=pl.col("pane") + k * PANE_NS) for k in range(5)]
        counts = pl.concat(hops).group_by("time", "auction").agg(pl.col("n").sum())
        made = counts.filter(pl.col("n") == pl.col("n").max().over("time"))
        made = made.with_columns(start=pl.col("time") - WINDOW_NS)
    else:
        sellers = auctions.select(time=end(WINDOW_NS), id="seller").unique()
        made = persons.select("id", time=end(WINDOW_NS)).join(sellers, on=["time", "id"], how="semi")  # fmt: skip
        made = made.with_columns(start=pl.col("time") - WINDOW_NS)
    made.sink_ipc(out, engine="streaming")


class Query(NamedTuple):
    """What is asked, and of which streams."""

    what: str
    text: str
    streams: tuple[str, ...]
    order: tuple[str, ...]
    by_hand: Callable[[ctypes.CDLL, Path, Path], None]
    reference: Callable[[Path], Arrays]


QUERIES = {
    "q1": Query("currency conversion", Q1, ("bids",), ("time",), by_hand_q1, reference_q1),
    "q2": Query("selection of bids", Q2, ("bids",), ("time",), by_hand_q2, reference_q2),
    "q5": Query("hot items", Q5, ("bids",), ("time", "auction"), by_hand_q5, reference_q5),
    "q8": Query("new users", Q8, ("persons", "auctions"), ("time", "id"), by_hand_q8, reference_q8),
}


def result(query: Query, path: Path) -> Arrays:
    """What a system has made, whatever its order."""
    return columns(read(path).sort_by([(n, "ascending") for n in query.order]))


def equal(a: Arrays, b: Arrays) -> bool:
    """The same columns with the same bits."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in b
    )


def checksum(rows: Arrays) -> int:
    """Of all columns, in the order of their names."""
    found = 0
    for name in sorted(rows):
        found = zlib.crc32(np.ascontiguousarray(rows[name]), found)
    return found


def measured(name: str, folder: Path, count: int) -> list[str]:
    """The lines of a query."""
    query, library = QUERIES[name], loaded()
    peer = {p: (job, folder / f"{k}.arrow") for k, (p, job) in enumerate(here(duckdb=by_duckdb, polars=by_polars).items())}  # fmt: skip
    ours, theirs = folder / "ours.arrow", folder / "theirs.arrow"
    run = Run(flowedge.compile(text=query.text.format(folder=folder, out=ours)))
    found = rounds(
        {
            "FlowEdge": run.__call__,
            "C by hand": lambda: query.by_hand(library, folder, theirs),
            **{p: Apart(job, name, folder, out) for p, (job, out) in peer.items()},
        },
        count,
    )
    truth = query.reference(folder)
    outs = [ours, theirs, *(out for _, out in peer.values())]
    same = all(equal(result(query, out), truth) for out in outs)
    rows = sum(read(folder / f"{s}.arrow").num_rows for s in query.streams)
    what = f"{query.what}, {rows:,} {' and '.join(query.streams)}, Arrow files to Arrow file"
    out = f"{len(truth['time']):,} rows out, checksum {checksum(truth):08x}, {'equal' if same else 'DIFFERENT'}"
    return [
        f"N{name[1:]}, NEXMark {name.upper()}: {what}; {out}",
        "",
        *table(found, rows, "C by hand"),
    ]


def main(query: str | None = None) -> list[str]:
    """Print the tables, of all queries or of one; returns their lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--query", choices=QUERIES, default=query)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    lines: list[str] = []
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, given.events)
        for q in QUERIES if given.query is None else (given.query,):
            made = measured(q, folder, given.rounds)
            print(*made, "", sep="\n", flush=True)
            lines += [*([""] if lines else []), *made]
    return lines


if __name__ == "__main__":
    main()
