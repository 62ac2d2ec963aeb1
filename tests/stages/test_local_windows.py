"""Windows and grids in a time zone: against pandas, and against minutes that are counted one by one."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.lang.diagnostics import FlowError
from flowedge.operators import zones
from flowedge.runtime.plan import compile_flow

ROWS = "source s (time, k: key i32, v: f64) from given() time time\n"
PLACE = "Europe/Brussels"
CHANGES = {"spring": "2023-03-24 13:00", "autumn": "2023-10-27 13:00"}


def recorded(start, *, days=5, step="7min", keys=3):
    """Rows of a few keys around a change of the clocks."""
    time = pd.date_range(
        start, periods=int(pd.Timedelta(days=days) / pd.Timedelta(step)), freq=step
    )
    rng = np.random.default_rng(len(time))
    return pa.table({
        "time": pa.array(time.as_unit("ns").asi8).cast(pa.timestamp("ns", "UTC")),
        "k": pa.array(rng.integers(0, keys, len(time)), pa.int32()),
        "v": pa.array(np.where(rng.random(len(time)) < 0.1, np.nan, rng.normal(size=len(time)))),
    })  # fmt: skip


def run(text, table):
    """The rows of a pipeline: whole; in pieces, taken down and restored after each; and unfused."""
    plan = compile_flow(text=text, catalog=CATALOG)
    (whole,) = plan.run({"s": table}).values()
    session, parts = plan.open(), []
    for k, batch in enumerate(table.to_batches(max_chunksize=97)):
        parts += session.push("s", batch).values()
        session = plan.restore(session.snapshot()) if k % 3 == 0 else session
    parts += [*session.end("s").values(), *session.finish().values()]
    pieces = pa.Table.from_batches(parts, whole.schema).to_pandas()
    pd.testing.assert_frame_equal(pieces, whole.to_pandas(), check_exact=True)
    (apart,) = compile_flow(text=text, catalog=CATALOG, fuse=False).run({"s": table}).values()
    pd.testing.assert_frame_equal(apart.to_pandas(), whole.to_pandas(), check_exact=True)
    return whole.to_pandas()


@pytest.mark.parametrize("season", CHANGES)
@pytest.mark.parametrize(("length", "freq"), [("1 d", "D"), ("1 h", "h")])
def test_windows_are_those_of_pandas(season, length, freq):
    table = recorded(CHANGES[season])
    got = run(ROWS + f'sink s | window {length} in "{PLACE}" | aggregate count() as n, sum(v) as total, median(v) as middle to expected()',
              table)  # fmt: skip
    frame = table.to_pandas().set_index("time").tz_convert(PLACE)
    bins = frame.groupby("k").resample(freq)["v"]
    want = bins.agg(["size", "sum", "median"])[lambda x: x["size"] > 0].reset_index()
    ends = want["time"] + (pd.offsets.Day() if freq == "D" else pd.Timedelta(hours=1))
    want = want.assign(end=ends).sort_values(["end", "k"])
    assert got["start"].tolist() == want["time"].tolist()
    assert got["time"].tolist() == want["end"].tolist()
    assert got["k"].tolist() == want["k"].tolist()
    assert got["n"].tolist() == want["size"].tolist()
    np.testing.assert_allclose(got["total"], want["sum"], atol=1e-12)
    np.testing.assert_allclose(got["middle"], want["median"], atol=1e-12)


def shown(zone, times, size, hop):
    """The clock of the grid at each minute of `times` (UTC): as the page on windows in a zone says."""
    local = times.tz_convert(zone)
    offsets = [x.utcoffset() // pd.Timedelta(minutes=1) for x in local]
    clock, again, out = None, 0, []
    for minute, (now, before) in enumerate(zip(offsets, [offsets[0], *offsets], strict=False)):
        back = before - now
        if back > 0 and back % size == 0 and back % hop == 0:
            again += back
        reading = minute + now + again
        clock = reading if clock is None else max(clock, reading)
        if back > 0 and clock > reading:
            clock -= 0.5  # it waits just before the multiple that it has not reached
        out.append(clock)
    return out


def expected(table, zone, size, hop):
    """Windows by brute force: (start, end, key, count), for each end the longest window."""
    first = pd.Timestamp(table["time"][0].as_py()).floor("D") - pd.Timedelta(days=9)
    times = pd.date_range(first, periods=60 * 24 * 24, freq="min")
    clock = np.array(shown(zone, times, size, hop), dtype=float)
    # Readings count from the first minute: move them onto the multiples of local time since 1970.
    clock += first.value // (60 * 10**9)
    rows = table.to_pandas()
    minute = ((rows["time"] - first) // pd.Timedelta(minutes=1)).to_numpy()
    reads = clock[minute]
    out, ends = [], set()
    for start in np.arange(clock[0] // hop * hop, clock[-1] - size, hop):
        begin, end = (int(np.argmax(clock >= x)) for x in (start, start + size))
        if end in ends or begin == 0:
            continue
        ends.add(end)
        inside = rows[(reads >= start) & (reads < start + size)]
        for key, held in inside.groupby("k"):
            out.append((times[begin], times[end], key, len(held)))
    return sorted(out, key=lambda x: (x[1], x[2]))


@pytest.mark.parametrize(
    ("zone", "start", "size", "hop"),
    [
        (PLACE, "2023-10-27 13:00", "1 d", "6 h"),
        (PLACE, "2023-10-27 13:00", "1 h", "15 min"),
        pytest.param(PLACE, "2023-03-24 13:00", "1 h", "30 min", marks=pytest.mark.slow),
        (PLACE, "2023-03-24 13:00", "45 min", "45 min"),
        pytest.param(PLACE, "2023-10-27 13:00", "2 h", "2 h", marks=pytest.mark.slow),
        (PLACE, "2023-10-27 13:00", "1 h", "1 d"),
        ("America/Havana", "2023-11-03 13:00", "1 d", "1 d"),
        ("Australia/Lord_Howe", "2023-04-01 01:00", "1 h", "1 h"),
        ("Pacific/Apia", "2011-12-27 13:00", "2 d", "1 d"),
    ],
)
def test_windows_are_those_that_a_slow_clock_counts(zone, start, size, hop):
    table = recorded(pd.Timestamp(start), step="11min", days=6)
    minutes = [
        int(pd.Timedelta(x.replace(" d", " D")) / pd.Timedelta(minutes=1)) for x in (size, hop)
    ]
    got = run(ROWS + f'sink s | window {size} every {hop} in "{zone}" | aggregate count() as n to expected()',
              table)  # fmt: skip
    want = expected(table, zone, *minutes)
    assert list(zip(got["start"], got["time"], got["k"], got["n"], strict=True)) == want


def test_days_of_hours_have_23_or_25():
    text = (
        ROWS
        + f'stream hours = s | key none | window 1 h | aggregate count() as n\nsink hours | window 1 d in "{PLACE}" | aggregate count() as hours to expected()'
    )
    for season, odd in (("spring", 23), ("autumn", 25)):
        assert run(text, recorded(CHANGES[season]))["hours"].tolist()[1:4] == [24, odd, 24]


def test_the_watermark_closes_a_local_day_at_its_midnight():
    plan = compile_flow(
        text=ROWS + f'sink s | window 1 d in "{PLACE}" | aggregate count() as n to expected()',
        catalog=CATALOG,
    )
    session = plan.open()
    table = recorded("2023-10-28 22:01", days=1)  # a minute after the midnight of a day of 25 hours
    assert not any(b.num_rows for b in session.push("s", table.to_batches()[0]).values())
    midnight = pd.Timestamp("2023-10-30", tz=PLACE).value
    assert not any(b.num_rows for b in session.mark("s", midnight - 1).values())
    (batch,) = session.mark("s", midnight).values()
    assert set(batch["time"].cast(pa.int64()).to_pylist()) == {midnight}


def test_a_grid_of_days_stands_at_local_midnights():
    table = recorded(CHANGES["autumn"])
    got = run(ROWS + f'sink s | resample 1 d hold in "{PLACE}" to expected()', table)
    rows = table.to_pandas()
    for key, held in got.groupby("k"):
        own = rows[rows["k"] == key].set_index("time")["v"]
        midnights = pd.date_range("2023-10-28", "2023-11-01", tz=PLACE)
        assert held["time"].tolist() == midnights.tolist()
        want = [own[own.index <= m].iloc[-1] for m in midnights]
        np.testing.assert_array_equal(held["v"], want)


@pytest.mark.parametrize("season", CHANGES)
def test_a_grid_of_hours_has_each_hour_that_passes(season):
    got = run(ROWS + f'sink s | where v == v | key none | resample 1 h linear in "{PLACE}" to expected()',
              recorded(CHANGES[season]))  # fmt: skip
    assert set(got["time"].diff().dropna()) == {pd.Timedelta(hours=1)}


def test_a_grid_that_skips_with_the_clocks_is_no_signal():
    signal = f'sink s | resample 1 h hold in "{PLACE}" | filter lowpass(0.1 mHz) on v to expected()'
    compile_flow(text=ROWS + signal, catalog=CATALOG)
    with pytest.raises(FlowError) as raised:
        compile_flow(text=ROWS + signal.replace("1 h", "1 d"), catalog=CATALOG)
    assert [d.code for d in raised.value.diagnostics] == ["FE402"]


@pytest.mark.parametrize(
    ("stage", "wanted"),
    [
        ("window 5 h in ZONE | aggregate count() as n", "take `4 h` or `6 h`"),
        ("window 36 h in ZONE | aggregate count() as n", "take `1 d` or `2 d`"),
        ("window 1 d every 7 min in ZONE | aggregate count() as n", "take `6 min` or `10 min`"),
        ("resample 3 Hz hold in ZONE", "take `250 ms` or `500 ms`"),
    ],
)
def test_a_step_that_does_not_divide_a_day_is_refused(stage, wanted):
    text = ROWS + f"sink s | {stage} to expected()".replace("ZONE", f'"{PLACE}"')
    with pytest.raises(FlowError) as raised:
        compile_flow(text=text, catalog=CATALOG)
    (problem,) = raised.value.diagnostics
    assert problem.code == "FE510"
    assert problem.fix.startswith(wanted)


def test_explain_names_the_zone_and_promises_the_longest_day():
    text = (
        ROWS + f'sink s | window 1 d in "{PLACE}" | aggregate count() as n to expected() as days\n'
        f'sink s | resample 1 d hold in "{PLACE}" to expected() as grid'
    )
    said = compile_flow(text=text, catalog=CATALOG).explain()
    assert f"window 1 d in {PLACE}" in said
    assert f"hold in {PLACE}" in said
    assert "deadline 25 h or more can be promised" in said


def test_utc_by_name_is_no_zone_at_all():
    table = recorded(CHANGES["autumn"])
    stage = "window 1 h every 30 min IN | aggregate mean(v) as m to expected()"
    plain = run(ROWS + f"sink s | {stage}".replace("IN ", ""), table)
    named = run(ROWS + f"sink s | {stage}".replace("IN", 'in "UTC"'), table)
    pd.testing.assert_frame_equal(plain, named)


def test_the_version_of_the_zones_is_in_the_digest(monkeypatch):
    def digest(zone):
        text = ROWS + f"sink s | window 1 d {zone} | aggregate count() as n to expected()"
        return compile_flow(text=text, catalog=CATALOG).program.digest

    before = digest(f'in "{PLACE}"'), digest("")
    monkeypatch.setattr(zones, "version", lambda: "1999.1")
    assert digest(f'in "{PLACE}"') != before[0]
    assert digest("") == before[1]
