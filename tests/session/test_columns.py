"""Section 2 of the language, sentence by sentence: times and columns as they come."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.compile import program as p
from flowedge.lang.errors import SourceError

# ---- times


def read(plan, h, values, kind=None, **options):
    plan.sink(plan.source(**options))
    batch = pa.RecordBatch.from_pydict({"time": pa.array(values, kind), "v": np.zeros(len(values))})
    session = plan.session()
    out = h.Out(session)
    out += session.push("s", batch)
    out += session.finish()
    return out.columns("time"), session


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Brussels"])
def test_timestamps_of_any_unit_and_zone_are_instants(plan, h, unit, zone):
    got, _ = read(plan, h, [1, 2], pa.timestamp(unit, zone))
    scale = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    assert got == pytest.approx([1 * scale, 2 * scale])


@pytest.mark.parametrize("store", ["f64", "i64", "u32"])
def test_a_number_with_a_time_unit_counts_from_1970(plan, h, store):
    kind = {"f64": pa.float64(), "i64": pa.int64(), "u32": pa.uint32()}[store]
    got, _ = read(plan, h, [1500, 2500], kind, time_store=store, time_scale_ns=1e6)
    assert got == [1.5, 2.5]


def test_a_text_is_iso_8601(plan, h):
    texts = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02.5Z"]
    assert read(plan, h, texts, time_store="string")[0] == [1.0, 2.5]


def test_a_text_without_a_zone_is_utc(plan, h):
    assert read(plan, h, ["1970-01-01 00:00:01"], time_store="string")[0] == [1.0]


def test_a_text_is_read_by_a_layout_in_a_zone(plan, h):
    got, _ = read(
        plan, h, ["01.07.2024 12:00:00"], time_store="string", time_parse=("%d.%m.%Y %H:%M:%S", "Europe/Brussels")
    )  # fmt: skip
    assert got == [1719828000.0]


def test_a_layout_may_have_fractions_and_zones(plan, h):
    got, _ = read(
        plan, h, ["1970-01-01 01:00:00.25 +0100"], time_store="string", time_parse=("%Y-%m-%d %H:%M:%S.%f %z", "")
    )  # fmt: skip
    assert got == [0.25]


def test_a_text_that_is_no_time_stops_with_its_row(plan, h):
    with pytest.raises(SourceError, match="row 2 has `soon`, which is no time in `time`"):
        read(plan, h, ["1970-01-01", "soon"], time_store="string")


def test_a_row_without_a_time_stops(plan, h):
    with pytest.raises(SourceError, match="`s`: row 2 has no time in `time`"):
        read(plan, h, [0, None], h.UTC)


def test_the_last_row_of_many_may_lack_a_time(plan, h):
    times = pa.array([*(16 * 10**17 + k for k in range(100)), None], pa.int64())
    got, session = read(plan, h, times, h.UTC, on_error="skip")
    assert len(got) == 100
    assert session.ledger()["s"]["leaps"] == 0
    assert session.rejected("s") == [("", 100, "no time")]


@pytest.mark.parametrize("time", [2**63 - 1, 2**63 - 2**58 + 1])
def test_a_time_that_no_window_could_end_behind_is_none(plan, h, time):
    with pytest.raises(SourceError, match="`s`: row 2 has no time in `time`"):
        read(plan, h, pa.array([0, time]), h.UTC)
    got, _ = read(plan, h, pa.array([2**63 - 2**58 - 1, time]), h.UTC, on_error="skip")
    assert len(got) == 1


def test_rows_without_a_time_are_skipped_if_the_user_says_so(plan, h):
    got, session = read(plan, h, ["1970-01-01", "soon", None], time_store="string", on_error="skip")
    assert got == [0.0]
    assert session.ledger()["s"]["rejected"] == 2
    assert session.rejected("s") == [("", 1, "`soon` is no time"), ("", 2, "no time")]


def test_a_table_without_time_is_there_from_the_start(plan, h):
    left = plan.source("left", keys=("i64",))
    right = plan.source("limits", keys=("i64",), time="", always=True, table=left.table)
    plan.sink(plan.latest(left, right))
    session = plan.session()
    out = h.Out(session)
    out += session.push("left", h.rows([-5, 1], k0=[1, 2]))
    limits = pa.RecordBatch.from_pydict({"v": [10.0, 20.0], "k0": [1, 2]})
    out += session.push("limits", limits)
    assert out.batches["out"] == []
    out += session.end("limits")
    out += session.finish()
    assert out.columns("right") == [10.0, 20.0]


# ---- columns


STORES = {
    "f64": (pa.float64(), [1.5, None]), "f32": (pa.float32(), [1.5, None]), "i64": (pa.int64(), [2**60, None]),
    "i32": (pa.int32(), [-7, None]), "i16": (pa.int16(), [-7, None]), "i8": (pa.int8(), [-7, None]),
    "u64": (pa.uint64(), [7, 8]), "u32": (pa.uint32(), [7, 8]), "u16": (pa.uint16(), [7, 8]), "u8": (pa.uint8(), [7, 255]),
    "bool": (pa.bool_(), [True, None]), "string": (pa.string(), ["ä", None]), "binary": (pa.binary(), [b"\xff", None]),
    "time": (pa.timestamp("ns", "UTC"), [5, None]),
}  # fmt: skip


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_every_type_goes_in_and_comes_out(plan, h, store, shape):
    kind, values = STORES[store]
    array = pa.array(values, kind)
    size = int(np.prod(shape))
    if shape:
        array = pa.array([x for x in array.to_pylist() for _ in range(size)], kind)
        for length in shape[::-1]:
            array = pa.FixedSizeListArray.from_arrays(array, length)
    plan.sink(plan.source(fields=(p.Field("v", store, shape),)))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0, 1], h.UTC), "v": array})
    for part in (batch, pa.concat_batches([batch, batch]).slice(2, 2)):
        out = plan.session().push("s", part)["out"]
        out.validate(full=True)
        got = out["v"].to_pylist()
        want = array.to_pylist()
        if store in ("f64", "f32"):  # a missing float is NaN
            got, want = str(got).replace("nan", "None"), str(want)
        assert got == want


def test_a_column_of_another_type_is_cast_where_nothing_is_lost(plan, h):
    plan.sink(plan.source(fields=(p.Field("v", "f64"), p.Field("n", "i64"))))
    batch = pa.RecordBatch.from_pydict({
        "time": pa.array([0], h.UTC), "v": pa.array([7], pa.int16()), "n": pa.array([3.0], pa.float32()),
    })  # fmt: skip
    out = plan.session().push("s", batch)["out"]
    assert out["v"].to_pylist() == [7.0]
    assert out["n"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("store", "values", "says"),
    [
        ("i64", [1.5], "declared i64, but holds double that does not fit"),
        ("u8", [300], "declared u8, but holds int64 that does not fit"),
        ("f64", ["x"], "declared f64, but the rows hold string"),
        ("string", [1], "declared string, but the rows hold int64"),
        ("bool", [1], "declared bool, but the rows hold int64"),
    ],
)
def test_a_column_that_does_not_fit_is_refused_in_one_sentence(plan, h, store, values, says):
    plan.sink(plan.source(fields=(p.Field("v", store),)))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0], h.UTC), "v": values})
    with pytest.raises(SourceError, match=says) as error:
        plan.session().push("s", batch)
    assert "\n" not in str(error.value)


def test_lists_of_one_length_are_taken_and_others_refused(plan, h):
    plan.sink(plan.source(fields=(p.Field("v", "f32", (2,)),)))
    good = pa.array([[1.0, 2.0], None], pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0, 1], h.UTC), "v": good})
    got = plan.session().push("s", batch)["out"]["v"].to_pylist()
    assert got[0] == [1.0, 2.0]
    assert np.isnan(got[1]).all()
    bad = pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0, 1], h.UTC), "v": bad})
    with pytest.raises(SourceError, match="lists of 2, but one of 1 came"):
        plan.session().push("s", batch)


def test_a_missing_column_is_named(plan, h):
    plan.sink(plan.source())
    with pytest.raises(SourceError, match="no column `v`; they have time, w"):
        plan.session().push(
            "s", pa.RecordBatch.from_pydict({"time": pa.array([0], h.UTC), "w": [1.0]})
        )


def test_damaged_rows_are_refused(plan, h):
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    )
    plan.sink(plan.source(fields=(p.Field("v", "string"),)))
    batch = pa.RecordBatch.from_arrays([pa.array([0], h.UTC), broken], names=["time", "v"])
    with pytest.raises(SourceError, match="rows that came are damaged"):
        plan.session().push("s", batch)


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("wrong", ["index", "entry"])
def test_damaged_dictionaries_are_refused(plan, h, wrong, is_read):
    """Those that are read entry by entry where a damaged one occurs, all others as a whole."""
    texts = pa.array([b"a", b"\xff" if wrong == "entry" else b"b", b"c"]).view(pa.string())
    plan.sink(plan.source(fields=(p.Field("v", "string"),)))
    session = plan.session()

    def push(time, places):
        column = pa.DictionaryArray.from_arrays(pa.array(places, pa.int8()), texts, safe=False)
        other = pa.array(["x"] * len(places)).dictionary_encode()
        columns = (column, other) if is_read else (other, column)
        times = pa.array([time] * len(places), h.UTC)
        return session.push("s", pa.RecordBatch.from_arrays([times, *columns], ["time", "v", "w"]))

    if is_read:
        push(0, [0, 2, None])
    with pytest.raises(SourceError, match="rows that came are damaged"):
        push(1, [0, 3] if wrong == "index" else [0, 1])
    if is_read:
        assert push(2, [2])["out"]["v"].to_pylist() == ["c"]


def test_labels_leave_as_a_dictionary(plan, h):
    field = p.Field("v", "string", labels=("cold", "ok"))
    plan.literals = ("ok",)
    plan.sink(plan.source(fields=(field,)))
    batch = pa.RecordBatch.from_pydict(
        {"time": pa.array([0, 1, 2], h.UTC), "v": ["ok", None, "cold"]}
    )
    out = plan.session().push("s", batch)["out"]
    assert out["v"].type == pa.dictionary(pa.int32(), pa.string())
    assert out["v"].to_pylist() == ["ok", None, "cold"]
    assert out["v"].dictionary.to_pylist() == ["cold", "ok"]


def test_columns_that_are_expressions_are_prepared_by_a_kernel(plan, h):
    plan.objects["prep"] = h.code(
        f"""
def kernel(ctx):
    for i in range(i64(ctx, {p.ROW}), i64(ctx, {p.ROWS})):
        set_i64(i64(ctx, {p.COLUMNS + 2}), i, i64(i64(ctx, {p.COLUMNS + 1}), i) * 20000000)
        set_f64(i64(ctx, {p.COLUMNS + 3}), i, f64(i64(ctx, {p.COLUMNS}), i) / 720.0)
    set_i64(ctx, {p.ROW}, i64(ctx, {p.ROWS}))
    return 0
"""
    )
    fields = (p.Field("_time", "time"), p.Field("acc", "f64"))
    prepare = p.KernelSpec(
        id=-1,
        fields=fields,
        object="prep",
        reads=((0, "raw"), (0, "row")),
        writes=("_time", "acc"),
        is_dense=True,
    )
    source = plan.source(
        fields=(p.Field("acc", "f64"),), raw=(p.Field("raw", "f64"),), time="_time", prepare=prepare
    )
    plan.replace(source, raw=(p.Field("raw", "f64"),))
    plan.sink(source)
    batch = pa.RecordBatch.from_pydict({"raw": [720.0, 1440.0, 0.0]})
    got = h.whole(plan.session(), [("s", batch.slice(0, 2)), ("s", batch.slice(2))], "time", "acc")
    assert got == [[0.0, 0.02, 0.04], [1.0, 2.0, 0.0]]
