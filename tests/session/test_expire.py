"""Keys that come and go take the memory of those that live at a time, and nobody sees when it is given back."""

import os

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow
from flowedge.session.kernel import KernelNode

SECOND = 10**9
SOURCE = "source s (time, k: key string, v: f64) from given() late 2 s expire key after 20 s\n"
SIGNAL = (
    "source s (time, k: key string, v: f64) at 1 Hz from given() late 2 s expire key after 20 s\n"
)
CHAINS = {
    "rows": SOURCE + "sink s to expected()",
    "past": SOURCE + "sink s | derive a = cumsum(v), b = prev(v, -1), c = mean(v) over 5 s, d = median(v) over 4 s to expected()",
    "latch": SOURCE + "sink s | derive a = latch(v > 1, v < -1), b = held(v > 0, 2 s), c = since(v > 0) to expected()",
    "filter": SIGNAL + "sink s | filter lowpass(0.1 Hz, order=2) on v to expected()",
    "window": SOURCE + "sink s | window 10 s every 5 s | aggregate sum(v) as m, count() as n to expected()",
    "window long": SOURCE + "sink s | window 60 s | aggregate sum(v) as m, median(v) as q to expected()",
    "gaps long": SOURCE + "sink s | split gap 40 s | aggregate sum(v) as m, median(v) as q to expected()",
    "medians": SOURCE + "sink s | window 10 s | aggregate median(v) as m, p90(v) as q to expected()",
    "counted": SOURCE + "sink s | window 4 samples | aggregate sum(v) as m to expected()",
    "gaps": SOURCE + "sink s | split gap 5 s | aggregate sum(v) as m, median(v) as q to expected()",
    "changes": SOURCE + "sink s | split on v > 0 up to 6 s | aggregate sum(v) as m to expected()",
    "detect": SIGNAL + "sink s | detect peaks(v, threshold=0.5, apart=2 s) to expected()",
    "around": SIGNAL + "stream hot = s | where v > 1\nsink s | split at hot from -2 s to 2 s to expected()",
    "lead": SOURCE + "sink s | derive a = lead(v, 2) to expected()",
    "swing": SIGNAL + "sink s | compress swing(0.5) to expected()",
    "pieces": SOURCE + "sink s | split while v > 0 | aggregate sum(v) as m, median(v) as q to expected()",
    "turns": SOURCE + "sink s | split on v > 0 | aggregate sum(v) as m, last(v) as q to expected()",
    "to next": SOURCE + "stream hot = s | where v > 1\nsink s | split at hot to next | aggregate sum(v) as m to expected()",
    "past lead": SIGNAL + "sink s | where v > 0.5 | derive a = lead(v, 1) to expected()",
    "windowed lead": SOURCE + "sink s | window 30 s | aggregate sum(v) as m | derive a = lead(m, 1) to expected()",
    "lead on a grid": SOURCE + "sink s | resample 1 s hold up to 50 s | derive a = lead(v, 2) to expected()",
    "hold on": SOURCE + "sink s | where v > 0.5 | resample 1 s hold to expected()",
    "hold": SOURCE + "sink s | resample 1 s hold up to 5 s to expected()",
    "grid": SOURCE + "sink s | resample 1 s linear to expected()",
    "rules": SOURCE + 'sink s | classify rules { "hot" when v > 0 for 2 s otherwise "ok" } to expected()',
    "join": SOURCE + "stream hot = s | where v > 0.5 | select told = v\nsink s | join hot latest to expected()",
    "near": SOURCE + "stream hot = s | where v > 0.5 | select told = v\nsink s | join hot within 3 s nearest to expected()",
    "union": SOURCE + "stream hot = s | where v > 0.5\nstream cold = s | where v < 0\nstream both = hot, cold\nsink both to expected()",
    "rekey": SOURCE + "sink s | derive even = v > 0 | key even | derive a = cumsum(v) to expected()",
    "same": SOURCE + "sink s | key k | derive a = cumsum(v) to expected()",
    "late": SOURCE + "sink s.late | derive a = cumsum(v) to expected()",
    "silent": SOURCE.replace("expire", "on silence 3 s expire") + "sink s.silent to expected()",
    "silent long": SOURCE.replace("expire", "on silence 40 s expire") + "sink s.silent to expected()",
    "filled": SIGNAL.replace("late 2 s", "late 2 s gaps hold up to 5 s") + "sink s | derive a = cumsum(v) to expected()",
    "last": SIGNAL.replace("late 2 s", "late 2 s duplicates last") + "sink s | derive a = cumsum(v) to expected()",
    "few": SOURCE + "    max keys 8\nsink s | derive a = cumsum(v) to expected()",
}  # fmt: skip


def rows(first, seconds, rng):
    """Keys with a row a second, most of the time; the keys move on, and old ones come back now and then."""
    time, key = [], []
    for t in range(first, first + seconds):
        low = t // 3
        for k in range(4):
            if rng.random() < 0.9:
                time.append(t + rng.choice([0, -1, -9], p=[0.9, 0.08, 0.02]))
                key.append(f"key {low + k}")
        if rng.random() < 0.05:
            time.append(t)
            key.append(f"key {rng.integers(30, low)}")
    n = len(time)
    return pa.record_batch({
        "time": pa.array(np.array(time) * SECOND, pa.timestamp("ns", "UTC")), "k": key, "v": rng.normal(size=n),
    })  # fmt: skip


def pieces(seconds=600, step=20):
    rng = np.random.default_rng(7)
    return [rows(first, step, rng) for first in range(100, 100 + seconds, step)]


@pytest.mark.parametrize("chain", CHAINS)
def test_rows_do_not_depend_on_when_memory_goes(chain):
    plan = compile_flow(text=CHAINS[chain], catalog=CATALOG)
    found, ledgers, slots = [], [], []
    given = pieces()
    whole = pa.Table.from_batches(given).combine_chunks()
    fine = [whole[at : at + 11].to_batches()[0] for at in range(0, len(whole), 11)]
    for batches, slack, restored in (
        (given, 2**40, False),
        (given, 0, False),
        (given, 0, True),
        (fine, 0, False),
        (whole.to_batches(), 2**40, False),
    ):
        session = plan.open()
        session.key_slack = slack
        out = []
        for number, batch in enumerate(batches):
            out += session.push("s", batch).values()
            if restored and number % 7 == 3:
                session = plan.restore(session.snapshot())
                session.key_slack = slack
        out += session.finish().values()
        found.append(pa.Table.from_batches(out).combine_chunks())
        ledgers.append(session.ledger())
        slots.append(session.tables[0].count)
    assert found[0].num_rows > 10
    assert len({repr(table.to_pydict()) for table in found}) == 1
    assert all(ledger == ledgers[0] for ledger in ledgers)
    assert slots[0] > 190
    assert max(slots[1:-1]) < 120, slots


def test_what_is_lost_with_a_key_is_counted_once():
    session = compile_flow(text=CHAINS["counted"], catalog=CATALOG, use_cache=False).open()
    out = 0
    for piece in pieces():
        out += sum(b.num_rows for b in session.push("s", piece).values())
    session.key_slack = 0  # the keys are looked at after the end
    for found in (session.end("s"), session.finish()):
        out += sum(b.num_rows for b in found.values())
    assert session.ledger()["window 4 samples"]["used"] == 4 * out


def test_a_slot_given_away_too_early_is_seen(monkeypatch):
    """The outlaw: what kernels and rows that wait hold is not asked for."""
    plan = compile_flow(text=CHAINS["window long"], catalog=CATALOG)
    found = []
    for is_lawful in (True, False):
        if not is_lawful:
            monkeypatch.setattr(KernelNode, "mark_held", lambda *_: None)
        session = plan.open()
        session.key_slack = 0
        out = [b for batch in pieces() for b in session.push("s", batch).values()]
        out += session.finish().values()
        found.append(pa.Table.from_batches(out).to_pydict())
    assert found[0] != found[1]


EVER_NEW = {
    "filter": 'source s (time, k: key i64, v: f64) at 1 Hz from given() expire key after 10 s\nsink s | filter lowpass(0.1 Hz, order=2) on v to expected()',
    "window": 'source s (time, k: key i64, v: f64) from given() late 2 s expire key after 10 s\nsink s | window 5 s | aggregate mean(v) as m, median(v) as q to expected()',
    "latch": 'source s (time, k: key i64, v: f64) from given() expire key after 10 s\nsink s | derive a = latch(v > 1, v < -1), b = held(v > 0, 2 s), c = mean(v) over 5 s to expected()',
    "join": 'source s (time, k: key i64, v: f64) from given() expire key after 10 s\nstream hot = s | where v > 0 | select told = v\nsink s | join hot latest to expected()',
    "detect": 'source s (time, k: key i64, v: f64) at 1 Hz from given() expire key after 10 s\nsink s | detect peaks(v, threshold=0.5, apart=2 s) to expected()',
    "split": 'source s (time, k: key i64, v: f64) from given() expire key after 10 s\nsink s | split gap 5 s | aggregate sum(v) as m, median(v) as q to expected()',
    "silence": 'source s (time, k: key i64, v: f64) from given() on silence 3 s expire key after 10 s\nsink s.silent to expected()',
    "limit": 'source s (time, k: key i64, v: f64) from given() expire key after 10 s max keys 1000000\nsink s | derive a = cumsum(v) to expected()',
}  # fmt: skip
KEYS = int(os.environ.get("FLOWEDGE_KEYS", "2_000_000"))


@pytest.mark.parametrize("chain", EVER_NEW)
def test_ever_new_keys_take_no_more_memory(chain):
    """A key has two rows, a second apart; 5,000 new ones come each second."""
    plan = compile_flow(text=EVER_NEW[chain], catalog=CATALOG)
    session = plan.open()
    session.key_slack = 20_000
    block, sizes = 50_000, []
    v = np.random.default_rng(1).normal(size=2 * block)
    for first in range(0, KEYS, block):
        key = np.arange(first, first + block)
        time = key // 5_000 * SECOND
        time = np.concatenate([time, time + SECOND])
        order = np.argsort(time, kind="stable")
        columns = [
            pa.array(time[order]).cast(pa.timestamp("ns", "UTC")),
            pa.array(np.concatenate([key, key])[order]), pa.array(v),
        ]  # fmt: skip
        session.push("s", pa.RecordBatch.from_arrays(columns, ["time", "k", "v"]))
        sizes.append(session.nbytes)
    quarter = len(sizes) // 4
    assert max(sizes[-quarter:]) <= 1.05 * max(sizes[quarter : 2 * quarter]), sizes
    assert session.tables[0].count < 300_000
