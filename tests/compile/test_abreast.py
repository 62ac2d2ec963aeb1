"""Keys whose rows come in turn, eight at a time, give the bits of rows one by one."""

import importlib

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

import flowedge
from flowedge.compile import memory, native
from flowedge.compile import program as p
from flowedge.compile.kernels.rounds import round_of, turns_until
from flowedge.session.abreast import Abreast

CHAINS = [
    "filter bandpass(5 Hz .. 15 Hz, order=4) on v | derive p = mean((45 * (v + 2 * lag(v, 1) - 2 * lag(v, 3) - lag(v, 4))) ^ 2) over 54 samples",
    "filter lowpass(9 Hz, order=3) on v, w | derive e = ema(v, 1 s) - ema(w, 0.5 s)",
    "derive a = mean(v) over 7 samples - mean(v) over 30 samples, b = rms(w) over 7 samples",
    "filter highpass(1 Hz) on v | derive d = diff(v), q = abs(v) / 3 - v",
    "filter bandpass(5 Hz .. 15 Hz, order=4) on v | where v > 0",
    "filter bandpass(5 Hz .. 15 Hz, order=4) on v | window 0.1 s | aggregate max(v) as m, sum(w) as s",
]
ONE_BY_ONE = [
    "filter lowpass(9 Hz) on v | derive y = if(v > 0, v, 0 - v)",
    "filter lowpass(9 Hz) on v | derive m = max(v) over 9 samples",
    "derive a = mean(v) over 5 samples | derive b = mean(a) over 5 samples",
    "derive c = v + w",
    "derive e = ema(v, 1 s), l = [v, w]",
]


def plan_of(chain):
    return flowedge.compile(
        text=f"source s (time, k: key i64, v: f64, w: f32) at 200 Hz from given()\nsink s | {chain} to expected() as o",
        catalog=CATALOG,
    )


def rows(keys, rounds, *, odd=0.0, dropped=0, turned=0, seed=1):
    """Rounds of keys, with odd values, rows that lack, and rounds from which on the keys come in another order."""
    rng = np.random.default_rng(seed)
    n = keys * rounds
    v = rng.normal(size=n)
    v[rng.random(n) < odd] = np.nan
    v[rng.random(n) < odd / 4] = -np.inf
    names = rng.permutation(keys).astype(np.int64) * 7
    k = np.tile(names, rounds)
    if turned:
        k = np.concatenate([np.tile(rng.permutation(names), rounds // turned + 1) for _ in range(turned)])[:n]  # fmt: skip
        k = k.reshape(-1, keys)[:rounds].ravel()
    time = np.repeat(np.arange(rounds) * 5_000_000, keys)
    stays = np.ones(n, bool)
    stays[rng.integers(0, n, dropped)] = False
    w = rng.normal(size=n).astype("f4")
    table = pa.table({"time": pa.array(time, pa.timestamp("ns", "UTC")), "k": k, "v": v, "w": w})
    return table.filter(pa.array(stays))


def pushed(session, table, cut):
    parts = []
    for batch in table.combine_chunks().to_batches(max_chunksize=cut):
        parts += session.push("s", batch).values()
    return parts


def same(found, wanted):
    assert found.num_rows == wanted.num_rows
    for name in wanted.schema.names:
        a, b = (t[name].combine_chunks() for t in (found, wanted))
        if not pa.types.is_floating(a.type):
            assert a.equals(b), name
            continue
        a, b = a.to_numpy(zero_copy_only=False), b.to_numpy(zero_copy_only=False)
        assert np.array_equal(np.isnan(a), np.isnan(b)), name
        assert np.array_equal(
            a.view(f"i{a.itemsize}")[~np.isnan(a)], b.view(f"i{b.itemsize}")[~np.isnan(b)]
        ), name


@pytest.fixture
def done(monkeypatch):
    """Rows that were done eight keys at a time, with their rests; and all that were looked at."""
    counted = [0, 0]
    plain = Abreast.run

    def run(self, runner, made):
        plain(self, runner, made)
        counted[0] += runner.ctx[p.ROW]
        counted[1] += runner.ctx[p.ROWS]

    monkeypatch.setattr(Abreast, "run", run)
    return counted


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(
    ("keys", "rounds", "given", "least"),
    [
        (3, 400, {}, 0.5),
        (8, 400, {}, 0.5),
        (9, 900, {"odd": 1e-4}, 0.3),
        (21, 400, {"odd": 0.01}, 0.0),
        (8, 900, {"dropped": 2}, 0.2),
        (12, 900, {"turned": 3}, 0.3),
    ],
)  # fmt: skip
def test_rows_in_turn_have_the_bits_of_rows_one_by_one(chain, keys, rounds, given, least, done):
    plan, table = plan_of(chain), rows(keys, rounds, **given)
    slow = plan.open()
    wanted = pa.Table.from_batches([*pushed(slow, table, 40), *slow.finish().values()])
    assert done[0] == 0
    for cut in (table.num_rows, keys * 100 + 1):
        done[:] = [0, 0]
        session = plan.open()
        parts = [*pushed(session, table, cut), *session.finish().values()]
        same(pa.Table.from_batches(parts), wanted)
        if cut == table.num_rows:
            assert done[0] >= least * done[1]


@pytest.mark.parametrize("chain", CHAINS)
def test_what_is_remembered_is_the_same(chain):
    """A snapshot made after either way is gone on from by the other."""
    plan, table = plan_of(chain), rows(10, 600, odd=1e-4)
    slow = plan.open()
    wanted = pa.Table.from_batches([*pushed(slow, table, 40), *slow.finish().values()])
    first, second = table.slice(0, 3333), table.slice(3333)
    for cuts in ((3333, 40), (40, 3333)):
        session = plan.open()
        parts = pushed(session, first, cuts[0])
        later = plan.restore(session.snapshot())
        parts += [*pushed(later, second, cuts[1]), *later.finish().values()]
        same(pa.Table.from_batches(parts), wanted)


def test_a_mean_that_overflows_begins_anew_as_it_does_row_by_row():
    """What is infinite in between is odd, too, although all values are finite."""
    plan, table = plan_of("derive e = ema(v, 0.01 s)"), rows(8, 400)
    v = table["v"].to_numpy().copy()
    v[1600:1608], v[1608:1616] = 1.7e308, -1.7e308
    table = table.set_column(2, "v", pa.array(v))
    slow, fast = plan.open(), plan.open()
    wanted = pa.Table.from_batches([*pushed(slow, table, 40), *slow.finish().values()])
    found = pa.Table.from_batches([*pushed(fast, table, 3200), *fast.finish().values()])
    assert np.isinf(wanted["e"].to_numpy()).any()
    same(found, wanted)


@pytest.mark.parametrize("chain", ONE_BY_ONE)
def test_what_branches_goes_row_by_row(chain):
    assert not any(getattr(node, "abreast", "") for node in plan_of(chain).program.nodes)


@pytest.mark.parametrize(
    "chain", CHAINS[:2]
)  # in the others `math` is called, which knows no arrays
def test_the_kernel_is_the_same_in_plain_python(chain, monkeypatch, tmp_path):
    """The twins of the intrinsics do to arrays of eight what vectors do."""
    emit = importlib.import_module("flowedge.compile.emit.abreast")
    builds = importlib.import_module("flowedge.compile.builds")
    sources, asked = [], builds.Builds.ask
    write = emit._Writer.source

    def source(self):
        sources.append(write(self))
        return sources[-1]

    def ask(self, text, names):
        if sources and text == sources[-1]:
            sources.append(dict(names))
        return asked(self, text, names)

    monkeypatch.setattr(emit._Writer, "source", source)
    monkeypatch.setattr(builds.Builds, "ask", ask)
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path))
    plan, table = plan_of(chain), rows(10, 120)
    slow = plan.open()
    wanted = pa.Table.from_batches([*pushed(slow, table, 40), *slow.finish().values()])
    text, names = sources[:2]
    kernel = native.interpreted(text, names)
    session = plan.open()
    for node in session.nodes.values():
        runner = getattr(node, "runner", None)
        if runner is not None and runner._abreast is not None:
            at = runner.ctx.buffer_info()[0]
            runner._abreast = Abreast(lambda at=at: kernel(at))
    parts = [*pushed(session, table, 600), *session.finish().values()]
    same(pa.Table.from_batches(parts), wanted)


@pytest.mark.parametrize(
    ("slots", "around", "until"),
    [
        ([4, 2, 7] * 4, 3, 12),
        ([4, 2, 7] * 3 + [2, 4], 3, 9),
        ([1, 1, 1], 0, 0),
        ([1, 2, 1, 2], 0, 0),
        ([1, 2, 2, 3, 1, 2, 2, 3], 0, 0),
        ([*range(128)] * 2 + [5], 128, 256),
        ([*range(129)] * 2, 0, 0),
        ([3], 0, 0),
        ([1, 2, 3], 0, 0),
    ],
)
def test_rounds_are_found(slots, around, until):
    given = np.array(slots, np.int32)
    at = memory.address(given)
    scope = {"round_of": round_of, "turns_until": turns_until}
    for name, wanted in (("round_of", around), ("turns_until", until)):
        more = f", {around}" if name == "turns_until" else ""
        if name == "turns_until" and not around:
            continue
        text = f"def kernel(ctx):\n    return {name}(i64(ctx, 0), 0, {len(slots)}{more})\n"
        ctx = np.array([at])
        run = native.load(native.build(text, scope))
        assert run(memory.address(ctx)) == native.interpreted(text, scope)(memory.address(ctx)) == wanted  # fmt: skip
