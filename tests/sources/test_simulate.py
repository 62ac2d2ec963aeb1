"""The simulators: seeded, the same however they are read, and with the features that they name."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.lang.errors import SourceError
from flowedge.sources import catalog

EVERY = {
    "simulate.ecg": {"seconds": 60.0, "ectopic": 0.1},
    "simulate.temperature": {"seconds": 1500.0, "devices": 100},
    "simulate.imu": {"seconds": 400.0},
    "simulate.vibration": {"seconds": 1.0},
}


def made(name, start=None, columns=None, **options):
    """All rows of a simulator, as one table."""
    source = catalog.get(name)(**options)
    return pa.Table.from_batches([b for b, _ in source.batches(columns, start=start)])


def numbers(table, column):
    return table[column].to_numpy()


@pytest.mark.parametrize("name", EVERY)
def test_the_same_call_gives_the_same_rows_and_another_seed_others(name):
    assert made(name, **EVERY[name]).equals(made(name, **EVERY[name]))
    assert not made(name, **EVERY[name]).equals(made(name, **EVERY[name], seed=1))


@pytest.mark.parametrize("name", EVERY)
def test_reading_may_begin_at_every_position(name):
    source = catalog.get(name)(**EVERY[name])
    whole, row = made(name, **EVERY[name]), 0
    positions = []
    for batch, position in source.batches():
        row += batch.num_rows
        positions.append((row, position))
    assert len(positions) > 1
    assert row == whole.num_rows
    for row, position in positions[-2::-1]:  # backwards, so that a simulator must go back
        assert pa.Table.from_batches([b for b, _ in source.batches(start=position)]).equals(
            whole.slice(row)
        )


@pytest.mark.parametrize("name", ["simulate.ecg", "simulate.temperature", "simulate.imu"])
def test_a_longer_run_begins_with_the_rows_of_a_shorter_one(name):
    short = made(name, **EVERY[name])
    long = made(name, **EVERY[name] | {"seconds": 2.3 * EVERY[name]["seconds"]})
    assert long.slice(0, short.num_rows).equals(short)


@pytest.mark.parametrize("name", EVERY)
def test_columns_may_be_chosen_and_the_schema_is_kept(name):
    source = catalog.get(name)(**EVERY[name])
    whole = made(name, **EVERY[name])
    assert whole.schema.equals(source.schema(), check_metadata=True)
    last = source.schema().names[-1]
    assert made(name, columns=[last], **EVERY[name])[last].equals(whole[last])


@pytest.mark.parametrize(("name", "wrong"), [
    ("simulate.ecg", {"rate": 0.0}), ("simulate.ecg", {"heart_rate": -1.0}), ("simulate.temperature", {"devices": 0}),
    ("simulate.temperature", {"every": 0.0}), ("simulate.vibration", {"seconds": float("inf")}),
])  # fmt: skip
def test_what_means_nothing_is_refused(name, wrong):
    with pytest.raises(SourceError, match="take a number above zero"):
        catalog.get(name)(**wrong)


def test_not_more_than_every_other_beat_is_ectopic():
    with pytest.raises(SourceError, match=r"ectopic=0\.6"):
        catalog.get("simulate.ecg")(ectopic=0.6)


def beats(table, rate=360.0):
    """Times of the R waves [s], by height: half a second apart at these rates."""
    x = numbers(table, "mlii")
    top = (x[1:-1] > x[:-2]) & (x[1:-1] >= x[2:]) & (x[1:-1] > 0.5)
    at = np.flatnonzero(top) + 1
    return at[np.diff(at, prepend=-1000) > 0.3 * rate] / rate


def test_the_heart_beats_at_the_rate_asked_for():
    table = made("simulate.ecg", seconds=300.0, heart_rate=75.0, variation=3.0, noise=0.0)
    rr = np.diff(beats(table))
    assert 60 / rr.mean() == pytest.approx(75, rel=0.02)
    assert 1.5 < (60 / rr).std() < 4.5
    x = numbers(table, "mlii")
    assert 0.8 < np.quantile(x, 0.999) < 1.6


def test_ectopic_beats_come_early_and_the_pause_makes_up_for_them():
    table = made("simulate.ecg", seconds=300.0, variation=0.5, noise=0.0, wander=0.0, ectopic=0.1)
    rr = np.diff(beats(table)) * 65 / 60
    early = np.flatnonzero(rr < 0.85)
    assert 0.03 < len(early) / len(rr) < 0.2
    np.testing.assert_allclose(rr[early], 0.7, atol=0.08)
    np.testing.assert_allclose(rr[early[:-1]] + rr[early[:-1] + 1], 2.0, atol=0.08)


def test_thermometers_follow_the_day_and_fail_now_and_then():
    day = made("simulate.temperature", seconds=86400.0, every=300.0, devices=50, faults=False)
    t = numbers(day, "temperature").reshape(-1, 50).mean(axis=1)
    assert np.ptp(t) == pytest.approx(12, rel=0.15)
    assert 13 < np.argmax(t) / 12 < 17
    table = made("simulate.temperature", seconds=1200.0, every=10.0, devices=2000)
    time, device, value = (numbers(table, c) for c in ("time", "device", "temperature"))
    assert (np.diff(time.astype(np.int64)) > 0).all()
    assert set(device) <= set(range(2000))
    assert table.num_rows < 2000 * 120
    assert (value == 85.0).sum() > 60
    assert ((value > 60) & (value != 85.0)).sum() > 60


def test_the_motion_sensor_feels_gravity_and_steps():
    table = made("simulate.imu", seconds=600.0)
    acc = np.asarray(table["acc"].combine_chunks().flatten()).reshape(-1, 3)
    level = acc[: len(acc) // 500 * 500].reshape(-1, 500, 3)[..., 2]
    assert level.mean() == pytest.approx(9.81, abs=0.1)
    kinds = np.digitize(level.std(axis=1), [1.0, 4.0])
    assert set(kinds) == {0, 1, 2}


def test_the_pump_turns_and_its_bearing_wears():
    a = numbers(made("simulate.vibration", seconds=4.0), "a")
    power = np.abs(np.fft.rfft(a)) ** 2
    power[np.arange(len(power)) > 4 * 1000] = 0  # below 1 kHz
    assert np.argmax(power) / 4.0 == pytest.approx(29.5, abs=0.3)
    first, last = a[:25600], a[-25600:]
    kurtosis = [np.mean((x - x.mean()) ** 4) / x.var() ** 2 for x in (first, last)]
    assert kurtosis[1] > 2 * kurtosis[0]


def test_memory_is_that_of_a_block():
    source = catalog.get("simulate.temperature")(seconds=3600.0, devices=200_000, every=60.0)
    for k, (batch, _) in enumerate(source.batches()):
        assert batch.num_rows <= 65_536
        if k == 5:
            break
