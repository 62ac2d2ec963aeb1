"""`derive` on frames of time windows and cuts: against pandas, in pieces, restored, unfused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.lang.diagnostics import FlowError
from flowedge.runtime.plan import compile_flow

ROWS = "source s (time, k: key i32, x: f64, b: bool, g: string) from given() time time\n"
SCALED = "derive x = (x - mean(x)) / std(x) | aggregate max(x) as top, median(x) as middle, slope(x) as rise, count() as n"


def recorded(rows=300, keys=3, seed=5):
    """Uneven rows of a few keys; a tenth of the values missing."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    return pa.table({
        "time": pa.array(np.cumsum(rng.integers(1, 4 * 10**8, rows))).cast(pa.timestamp("ns", "UTC")),
        "k": pa.array(rng.integers(0, keys, rows), pa.int32()), "x": x, "b": rng.random(rows) < 0.8,
        "g": rng.choice(["north", "south"], rows),
    })  # fmt: skip


def run(text, table):
    """The rows of a pipeline: whole; in pieces, taken down and restored after each; and unfused."""
    plan = compile_flow(text=text, catalog=CATALOG)
    (whole,) = plan.run({"s": table}).values()
    session, parts = plan.open(), []
    for batch in table.to_batches(max_chunksize=11):
        parts += session.push("s", batch).values()
        session = plan.restore(session.snapshot())
    parts += [*session.end("s").values(), *session.finish().values()]
    pieces = pa.Table.from_batches(parts, whole.schema).to_pandas()
    pd.testing.assert_frame_equal(pieces, whole.to_pandas(), check_exact=True)
    (apart,) = compile_flow(text=text, catalog=CATALOG, fuse=False).run({"s": table}).values()
    pd.testing.assert_frame_equal(apart.to_pandas(), whole.to_pandas(), check_exact=True)
    return whole.to_pandas()


def scaled(frame):
    """What `SCALED` makes of the rows of one frame."""
    x = (frame["x"] - frame["x"].mean()) / frame["x"].std(ddof=0)
    ok = x.notna()
    seconds = frame["time"][ok].astype("int64") / 1e9
    rise = np.polyfit(seconds - seconds.min(), x[ok], 1)[0] if ok.sum() > 1 else np.nan
    return {"top": x.max(), "middle": x.median(), "rise": rise, "n": len(frame)}


def agrees(got, want):
    """Rows as they are expected, in the order of (time, key)."""
    want = pd.DataFrame(want).sort_values(["time", "k"], kind="stable").reset_index(drop=True)
    assert got["time"].astype("int64").tolist() == want["time"].tolist()
    assert got["k"].tolist() == want["k"].tolist()
    for name in ("top", "middle", "rise", "n"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("stage", "size", "hop"), [("window 3 s", 3, 3), ("window 3 s every 1 s", 3, 1)]
)
def test_windows_of_time_scale_their_rows(stage, size, hop):
    table = recorded()
    rows = table.to_pandas()
    seconds = rows["time"].astype("int64") / 1e9
    want = []
    for start in range(-size, int(seconds.max()) + 1, hop):
        inside = rows[(seconds >= start) & (seconds < start + size)]
        for key, frame in inside.groupby("k"):
            want.append({"time": (start + size) * 10**9, "k": key, **scaled(frame)})
    agrees(run(ROWS + f"sink s | {stage} | {SCALED} to expected()", table), want)


@pytest.mark.parametrize(
    "stage", ["split on g up to 2 s", "split while b up to 2 s", "split gap 600 ms up to 2 s"]
)
def test_pieces_scale_their_rows(stage):
    table = recorded()
    want = []
    for key, rows in table.to_pandas().groupby("k"):
        pieces, last = [], None
        for row in rows.to_dict("records"):
            same = row["g"] == last if "on g" in stage else pieces and pieces[-1]
            if "gap" in stage and pieces:
                same = row["time"] - pieces[-1][-1]["time"] < pd.Timedelta("600ms")
            late = (
                pieces and pieces[-1] and row["time"] - pieces[-1][0]["time"] >= pd.Timedelta("2s")
            )
            if "while" in stage and not row["b"]:
                pieces.append([])
                continue
            if not pieces or not same or late:
                pieces.append([])
            pieces[-1].append(row)
            last = row["g"]
        for piece in pieces:
            if piece:
                frame = pd.DataFrame(piece)
                want.append({"time": frame["time"].iloc[-1].value, "k": key, **scaled(frame)})
    got = run(ROWS + f"sink s | {stage} | {SCALED} to expected()", table)
    agrees(got.sort_values(["time", "k"], kind="stable").reset_index(drop=True), want)


def test_what_is_derived_may_use_keys_texts_and_the_frame_itself():
    table = recorded(rows=60)
    got = run(
        ROWS + "sink s | window 5 s | derive y = if(g == \"north\", x, 0) + k, long = time - start"
        " | derive z = y / max(y) | aggregate mean(z) as m, first(g) as g, mean(y) / mean(x) as r to expected()",
        table,
    )  # fmt: skip
    rows = table.to_pandas()
    rows["end"] = rows["time"].astype("int64") // (5 * 10**9) * 5 + 5
    for (end, key), frame in rows.groupby(["end", "k"]):
        y = frame["x"].where(frame["g"] == "north", 0) + key
        (row,) = got[(got["time"].astype("int64") == end * 10**9) & (got["k"] == key)].to_dict(
            "records"
        )
        np.testing.assert_allclose(row["m"], (y / y.max()).mean(), rtol=1e-9)
        np.testing.assert_allclose(row["r"], y.mean() / frame["x"].mean(), rtol=1e-9)
        assert row["g"] == frame["g"].iloc[0]


def test_spectra_inside_a_time_window_of_a_signal():
    rng = np.random.default_rng(1)
    x = rng.normal(size=256) + 5
    text = ("source s (time, x: f64) at 64 Hz from given() time time\n"
            "sink s | window 1 s | derive x = x - mean(x) | aggregate band(x, 0 Hz .. 32 Hz) as power, rms(x) as r to expected()")  # fmt: skip
    table = pa.table({"time": pa.array(np.arange(256) * 15_625_000).cast(pa.timestamp("ns", "UTC")), "x": x})  # fmt: skip
    got = run(text, table)
    want = x.reshape(4, 64).var(axis=1)
    np.testing.assert_allclose(got["power"], want)
    np.testing.assert_allclose(got["r"] ** 2, want)


def test_frames_that_are_kept_without_an_end_are_refused():
    for stage, code in (("window 5 s | derive y = x", "FE290"), ("split on g | derive y = x | aggregate max(y) as m", "FE502")):  # fmt: skip
        with pytest.raises(FlowError) as raised:
            compile_flow(text=ROWS + f"sink s | {stage} to expected()", catalog=CATALOG)
        assert code in {d.code for d in raised.value.diagnostics}


def test_what_is_derived_may_use_the_start_of_the_window():
    got = run(ROWS + "sink s | window 5 s | derive y = x * (time - start) | aggregate sum(y) as y, sum(x) as x to expected()",
              recorded(rows=60))  # fmt: skip
    np.testing.assert_allclose(got["y"], 5 * got["x"])


def test_pieces_between_events_scale_their_rows_and_know_their_event():
    text = (
        ROWS + "source e (time, k: key i32, q: f64) from given() time time\n"
        "sink s | split at e to next up to 4 s | derive y = x - mean(x) + q, long = end - start"
        " | aggregate mean(y) as y, max(y) as top, count() as n to expected()"
    )
    table, plan = recorded(), compile_flow(text=text, catalog=CATALOG)
    rng = np.random.default_rng(9)
    last = table["time"].cast(pa.int64())[-1].as_py()
    at = np.sort(rng.integers(0, last, 40))
    events = pa.table({"time": pa.array(at).cast(pa.timestamp("ns", "UTC")),
                       "k": pa.array(rng.integers(0, 3, 40), pa.int32()), "q": rng.normal(size=40)})  # fmt: skip
    (found,) = plan.run({"s": table, "e": events}).values()
    got, rows, marks = found.to_pandas(), table.to_pandas(), events.to_pandas()
    assert len(got) > 30
    for row in got.to_dict("records"):
        own = marks[marks["k"] == row["k"]]
        (q,) = own[own["time"] == row["time"]]["q"]
        later = own[own["time"] > row["time"]]["time"]
        end = row["time"] + pd.Timedelta("4s")
        end = min(end, later.iloc[0]) if len(later) else end
        inside = rows[
            (rows["k"] == row["k"]) & (rows["time"] >= row["time"]) & (rows["time"] < end)
        ]
        y = inside["x"] - inside["x"].mean() + q
        assert row["n"] == len(inside)
        np.testing.assert_allclose([row["y"], row["top"]], [y.mean(), y.max()])
        assert row["long"] == pytest.approx((row["end"] - row["start"]).total_seconds())
        assert row["q"] == q
