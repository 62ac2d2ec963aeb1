"""Whole numbers of every width: missing ones are missing, and the smallest value is a value."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.session.session import Session
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
WIDTHS = {
    "i8": pa.int8(), "i16": pa.int16(), "i32": pa.int32(), "i64": pa.int64(),
    "u8": pa.uint8(), "u16": pa.uint16(), "u32": pa.uint32(),
}  # fmt: skip
INSTANT = pa.timestamp("ns", "UTC")


def run(text, columns):
    plan = flowedge.compile(text=text, catalog=PLAIN)
    n = len(next(iter(columns.values())))
    time = pa.array(np.arange(n) * 10**9, pa.int64()).cast(INSTANT)
    return plan.run({"s": pa.table({"time": time, **columns})})


def limits(store):
    info = np.iinfo({"i": f"int{store[1:]}", "u": f"uint{store[1:]}"}[store[0]])
    low = int(info.min) + (store == "i64")  # of i64 the smallest stands for missing
    return low, int(info.max)


@pytest.mark.parametrize("store", WIDTHS)
@pytest.mark.parametrize("key", ["", ", k: key i64"])
def test_missing_is_missing_and_limits_are_values(store, key):
    low, high = limits(store)
    given = [low, None, high, 0, None, 5]
    columns = {"x": pa.array(given, WIDTHS[store])}
    if key:
        columns["k"] = np.zeros(6, np.int64)
    out = run(
        f"source s (time, x: {store}{key}) from given()\n"
        "sink s | derive plus = x + 1 - 1, gone = missing(x), less = if(x < 1, 1, 0), none = coalesce(x, 7),"
        " before = lag(x, 1), is = x in [0, 5] to kept() as o\n"
        "sink s | where x != 0 | select x to kept() as w\n"
        "sink s | window 100 s | aggregate count() as n, count(x) as c, min(x) as low, max(x) as high, first(x) as f to kept() as a\n",
        columns,
    )
    o = out["o"].to_pydict()
    assert out["o"].schema.field("x").type == WIDTHS[store]
    assert o["x"] == given
    if store != "i64":
        assert o["plus"] == given
    assert o["gone"] == [False, True, False, False, True, False]
    assert o["less"] == [1 if low < 1 else 0, 0, 0, 1, 0, 0]
    assert o["none"] == [float(x) for x in (low, 7, high, 0, 7, 5)]  # computed numbers are floats
    wanted = [np.nan if x is None else float(x) for x in (None, *given[:-1])]
    np.testing.assert_array_equal(o["before"], wanted)
    assert out["w"]["x"].to_pylist() == [x for x in given if x not in (None, 0)]
    (row,) = out["a"].to_pylist()
    assert (row["n"], row["c"]) == (6, 4)
    assert (row["low"], row["high"], row["f"]) == (float(min(low, 0)), float(high), float(low))


def test_unsigned_words_are_missing_too():
    given = [0, None, 2**63 - 1, 5]
    out = run(
        "source s (time, x: u64) from given()\nsink s | derive g = missing(x) to kept() as o",
        {"x": pa.array(given, pa.uint64())},
    )
    assert out["o"]["x"].to_pylist() == given
    assert out["o"]["g"].to_pylist() == [False, True, False, False]


@pytest.mark.parametrize("store", ["i8", "u16", "i32"])
def test_missing_keys_lists_and_unions_stay_missing(store):
    kind = WIDTHS[store]
    out = run(
        f"source s (time, k: key {store}, v: {store}<2>) from given()\n"
        "sink s to kept() as o\n"
        "stream both = s, s\n"
        "sink both to kept() as u\n"
        "sink s | unnest v at 2 Hz to kept() as e\n",
        {
            "k": pa.array([1, None, 1], kind),
            "v": pa.array([[1, None], [3, 4], [None, None]], pa.list_(kind, 2)),
        },
    )
    assert out["o"]["k"].to_pylist() == [1, None, 1]
    assert out["o"].schema.field("k").type == kind
    assert out["o"]["v"].to_pylist() == [[1, None], [3, 4], [None, None]]
    assert out["u"]["v"].to_pylist()[:2] == [[1, None], [1, None]]
    assert sorted(out["e"]["v"].to_pylist(), key=str) == sorted(
        [1, None, 3, 4, None, None], key=str
    )


@pytest.mark.parametrize("says", ["", "late 3 s", "late 3 s per key", "expire key after 5 s"])
@pytest.mark.parametrize("store", ["i32", "i16", "u32"])
def test_keys_of_few_bits_are_the_same_keys(says, store):
    """Read as they come or widened, with missing ones, far out, out of order, late, cut in two places and restarted there."""
    text = "source s (time, k: key {}, v: i64) from given() time time {}\nsink s | window 2 s | aggregate sum(v) as v to kept()"
    draw = np.random.default_rng(3)
    n, high = 300, limits(store)[1]
    seconds = np.arange(n) // 20 * 10**9 - (draw.integers(0, 9, n) * 10**9 if says else 0)
    keys = draw.choice([1, 2, 3, 70, 71, high, high - 1], n)
    time = pa.array(seconds + 10**12, pa.int64()).cast(INSTANT)
    made = []
    for kind, cuts in (("i64", ()), (store, ()), (store, (7, 150)), (store, (140, 141))):
        session = flowedge.compile(text=text.format(kind, says), catalog=PLAIN).open()
        column = pa.array(keys, pa.int64(), mask=np.arange(n) % 50 == 45).cast(WIDTHS[kind])
        rows = pa.record_batch({"time": time, "k": column, "v": np.arange(n)})
        out = []
        for a, b in zip((0, *cuts), (*cuts, n), strict=True):
            out += session.push("s", rows.slice(a, b - a)).values()
            session = Session.restore(session.program, session.snapshot()) if cuts else session
        out += session.finish().values()
        made.append([row for batch in out for row in batch.to_pylist()])
    assert made[0]
    assert made[1] == made[2] == made[3] == made[0]
