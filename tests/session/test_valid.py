"""What a session does with values that do not fit, or that no one takes."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.lang.errors import SourceError
from flowedge.runtime.plan import compile_flow
from flowedge.session.valid import LOST, NEAREST, fitted

UTC = pa.timestamp("ns", "UTC")


def plan_of(schema, valid, more=""):
    return compile_flow(
        text=f"source s (time, {schema}) from given() valid {valid} {more}\nsink s to expected()",
        catalog=CATALOG,
    )


def rows_of(**columns):
    n = len(next(iter(columns.values())))
    time = pa.array(range(n), pa.int64()).cast(UTC)
    return pa.RecordBatch.from_arrays([time, *columns.values()], names=["time", *columns])


def outcome(plan, batch):
    session = plan.open()
    out = [b for _, b in session.push("s", batch).items()]
    out += [b for _, b in session.finish().items()]
    return pa.Table.from_batches(out), session


WHOLE = pa.array([1.0, 2.5, 300.0, -7.0, None, float("nan"), float("inf")])


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("null", [1, None, None, None, None, None, None]),
        ("clamp", [1, 2, 255, 0, None, None, 255]),
        ("reject", [1, None, None]),
    ],
)
def test_floats_in_a_column_of_whole_numbers_fit_where_they_are_whole(policy, kept):
    table, session = outcome(plan_of("n: u8", f"n else {policy}"), rows_of(n=WHOLE))
    assert table["n"].to_pylist() == kept
    page = session.ledger()["s"]
    assert page["rejected"] == 7 - len(kept)
    assert page["nulled"] + page["clamped"] == (0 if policy == "reject" else 4)


def test_without_a_policy_such_a_value_stops_the_run_as_before():
    plan = compile_flow(
        text="source s (time, n: u8) from given()\nsink s to expected()", catalog=CATALOG
    )
    with pytest.raises(SourceError, match="does not fit"):
        outcome(plan, rows_of(n=WHOLE))


def test_text_in_a_column_of_numbers_is_not_valid():
    texts = pa.array(["1", None, "x"])
    table, session = outcome(plan_of("v: f64", "v else clamp"), rows_of(v=texts))
    assert np.isnan(table["v"].to_numpy()).all()
    assert session.ledger()["s"]["nulled"] == 2


def test_a_list_of_another_length_is_not_valid():
    lists = pa.array([[1.0, 2.0], [3.0], None, [4.0, 5.0]])
    table, session = outcome(plan_of("a: f64<2>", "a else reject"), rows_of(a=lists))
    assert table["a"].to_pylist()[0] == [1.0, 2.0]
    assert table.num_rows == 3
    assert session.rejected("s") == [("", 1, "`a` is f64, which `[3.0]` does not fit")]


def test_a_reason_names_value_unit_and_range():
    plan = plan_of("t: f64 [degC]", "t in -40 degC .. 85 degC else reject")
    _, session = outcome(plan, rows_of(t=pa.array([20.0, 999.0])))
    assert session.rejected("s") == [("", 1, "`t` is 999 degC, outside -40 … 85 degC")]


def test_a_bound_is_that_of_the_column_so_that_a_tenth_is_not_above_a_tenth():
    plan = plan_of("v: f32", "v in 0 .. 0.1 else reject")
    table, _ = outcome(plan, rows_of(v=pa.array([0.1, 0.0, -0.0, 1e-45], pa.float32())))
    assert table.num_rows == 4


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_nothing_depends_on_the_cut_and_a_restored_session_goes_on_counting(cut):
    plan = plan_of(
        "n: u8, v: f64", "n else clamp, v in 0 .. 5 else reject", 'on error quarantine "x.arrow"'
    )
    batch = rows_of(n=WHOLE, v=pa.array([1.0, 9.0, 2.0, 3.0, float("nan"), -1.0, 0.0]))
    whole, truth = outcome(plan, batch)
    session, parts, noted = plan.open(), [], []
    for at in range(0, 7, cut):
        parts += session.push("s", batch.slice(at, cut)).values()
        noted += session.rejected("s")
        session = plan.restore(session.snapshot())
    parts += session.finish().values()
    assert pa.Table.from_batches(parts).to_pydict().__repr__() == whole.to_pydict().__repr__()
    assert session.ledger()["s"] == truth.ledger()["s"]
    assert noted == truth.rejected("s")
    assert session.sources["s"].validity.counts == truth.sources["s"].validity.counts


@pytest.mark.parametrize("store", ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"])
def test_every_whole_type_takes_just_what_it_holds(store):
    high = np.iinfo(("int" if store[0] == "i" else "uint") + store[1:]).max
    values, misfits = fitted(store, pa.array([0, None], pa.int64()))
    assert misfits.tolist() == [0, 0]
    values, misfits = fitted(store, pa.array([-np.inf, np.inf, 2.0**70, -0.0, 5e-324, np.nan]))
    assert misfits.tolist() == [NEAREST, NEAREST, NEAREST, 0, NEAREST, 0]
    assert int(values[1]) == int(high)
    assert int(values[3]) == int(values[4]) == 0


def test_a_flag_takes_no_number():
    _, misfits = fitted("bool", pa.array([1, None]))
    assert misfits.tolist() == [LOST, 0]


def test_a_rejected_row_leaves_a_gap_also_where_times_are_counted():
    plan = compile_flow(
        text="source s (v: f64) at 10 Hz from given() valid v in 0 .. 10 else reject\n"
        "sink s | derive d = diff(v) to expected()\n",
        catalog=CATALOG,
    )
    rows = pa.record_batch({"v": [1.0, 2.0, 99.0, 4.0, 5.0]})
    (whole,) = plan.run({"s": pa.table(rows)}).values()
    session = plan.open()
    pieces = [b for k in range(5) for b in session.push("s", rows.slice(k, 1)).values()]
    pieces += session.finish().values()
    one_by_one = pa.Table.from_batches(pieces)
    found, wanted = (np.array(t["d"].to_pylist(), float) for t in (one_by_one, whole))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(wanted, [np.nan, 1, np.nan, 1])
