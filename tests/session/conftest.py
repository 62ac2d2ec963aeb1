"""Programs by hand: small sources, kernels and sinks, so that the session is tested without a compiler."""

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from flowedge.compile import program as p
from flowedge.compile.native import compiled
from flowedge.session.session import Session

UTC = pa.timestamp("ns", "UTC")
SECOND = 1_000_000_000
F64 = p.Field("v", "f64")

DOUBLE = f"""
def kernel(ctx):
    n = i64(ctx, {p.ROWS})
    x = i64(ctx, {p.COLUMNS})
    y = i64(ctx, {p.COLUMNS + 1})
    for i in range(i64(ctx, {p.ROW}), n):
        set_f64(y, i, 2.0 * f64(x, i))
    set_i64(ctx, {p.ROW}, n)
    set_i64(ctx, {p.OUT_WATERMARK}, i64(ctx, {p.WATERMARK}))
    return 0
"""

RUNNING = f"""
def kernel(ctx):
    # A running sum per key; a gap restarts it.
    n = i64(ctx, {p.ROWS})
    x = i64(ctx, {p.COLUMNS})
    y = i64(ctx, {p.COLUMNS + 1})
    slots = i64(ctx, {p.SLOT})
    gaps = i64(ctx, {p.GAP})
    records = i64(ctx, {p.RECORDS})
    for i in range(i64(ctx, {p.ROW}), n):
        slot = 0 if slots == 0 else i32(slots, i)
        r = records + 8 * slot
        if gaps != 0 and u8(gaps, i) != 0:
            set_f64(r, 0, 0.0)
        total = f64(r, 0) + f64(x, i)
        set_f64(r, 0, total)
        set_f64(y, i, total)
    set_i64(ctx, {p.ROW}, n)
    set_i64(ctx, {p.OUT_WATERMARK}, i64(ctx, {p.WATERMARK}))
    return 0
"""

WINDOW = f"""
def kernel(ctx):
    # Sum of each key's rows in windows of SIZE; keys in order at a window's end. Two words a key.
    i = i64(ctx, {p.ROW})
    n = i64(ctx, {p.ROWS})
    m = i64(ctx, {p.OUT})
    room = i64(ctx, {p.OUT_ROOM})
    time = i64(ctx, {p.TIME})
    slots = i64(ctx, {p.SLOT})
    x = i64(ctx, {p.COLUMNS})
    out = i64(ctx, {p.COLUMNS + 1})
    records = i64(ctx, {p.RECORDS})
    order = i64(ctx, {p.ORDER})
    keys = i64(ctx, {p.KEYS})
    g = i64(ctx, {p.GLOBALS})
    while i <= n:
        now = i64(time, i) if i < n else i64(ctx, {p.WATERMARK})
        if i64(g, 0) != 0 and i64(g, 1) <= now:
            for q in range(keys):
                slot = i32(order, q)
                r = records + 16 * slot
                if i64(r, 1) != 0:
                    if m >= room:
                        set_i64(ctx, {p.ROW}, i)
                        set_i64(ctx, {p.OUT}, m)
                        return 1
                    set_i64(i64(ctx, {p.OUT_TIME}), m, i64(g, 1))
                    if slots != 0 or i64(ctx, {p.OUT_SLOT}) != 0:
                        set_i32(i64(ctx, {p.OUT_SLOT}), m, slot)
                    set_f64(out, m, f64(r, 0))
                    set_f64(r, 0, 0.0)
                    set_i64(r, 1, 0)
                    m += 1
            set_i64(g, 0, 0)
        if i == n:
            break
        if i64(g, 0) == 0:
            set_i64(g, 0, 1)
            set_i64(g, 1, (now // SIZE + 1) * SIZE)
        r = records + 16 * (0 if slots == 0 else i32(slots, i))
        set_f64(r, 0, f64(r, 0) + f64(x, i))
        set_i64(r, 1, 1)
        i += 1
    set_i64(ctx, {p.ROW}, i)
    set_i64(ctx, {p.OUT}, m)
    set_i64(ctx, {p.OUT_WATERMARK}, i64(ctx, {p.WATERMARK}))
    return 0
"""

LATEST = f"""
def kernel(ctx):
    # Each left row (port 0) with the newest right value (port 1) of its key.
    i = i64(ctx, {p.ROW})
    n = i64(ctx, {p.ROWS})
    m = i64(ctx, {p.OUT})
    room = i64(ctx, {p.OUT_ROOM})
    slots = i64(ctx, {p.SLOT})
    records = i64(ctx, {p.RECORDS})
    maps = i64(ctx, {p.MAPS})
    while i < n:
        port = u8(i64(ctx, {p.PORT}), i)
        j = i64(i64(ctx, {p.SOURCE_ROW}), i)
        slot = 0 if slots == 0 else i32(slots, i)
        to = 0 if maps == 0 else i64(maps, port)
        r = records + 8 * (slot if to == 0 else i32(to, slot))
        if port == 1:
            set_f64(r, 0, f64(i64(ctx, {p.COLUMNS + 1}), j))
        else:
            if m >= room:
                set_i64(ctx, {p.ROW}, i)
                set_i64(ctx, {p.OUT}, m)
                return 1
            set_i64(i64(ctx, {p.OUT_TIME}), m, i64(i64(ctx, {p.TIME}), i))
            if slots != 0:
                set_i32(i64(ctx, {p.OUT_SLOT}), m, slot)
            set_f64(i64(ctx, {p.COLUMNS + 2}), m, f64(i64(ctx, {p.COLUMNS}), j))
            set_f64(i64(ctx, {p.COLUMNS + 3}), m, f64(r, 0))
            m += 1
        i += 1
    set_i64(ctx, {p.ROW}, i)
    set_i64(ctx, {p.OUT}, m)
    set_i64(ctx, {p.OUT_WATERMARK}, i64(ctx, {p.WATERMARK}))
    return 0
"""

REMEMBER = f"""
def kernel(ctx):
    # Keeps every value in the arena; at the watermark FOREVER gives them all, newest first.
    i = i64(ctx, {p.ROW})
    n = i64(ctx, {p.ROWS})
    m = i64(ctx, {p.OUT})
    arena = i64(ctx, {p.ARENA})
    x = i64(ctx, {p.COLUMNS})
    while i < n:
        top = i64(arena, 0)
        if top >= i64(ctx, {p.ARENA_WORDS}):
            set_i64(ctx, {p.ROW}, i)
            set_i64(ctx, {p.NEED}, 1)
            return 2
        set_f64(arena, top, f64(x, i))
        set_i64(arena, 0, top + 1)
        i += 1
    set_i64(ctx, {p.ROW}, i)
    if i64(ctx, {p.FINISH}) != 0:
        while i64(arena, 0) > 1:
            if m >= i64(ctx, {p.OUT_ROOM}):
                set_i64(ctx, {p.OUT}, m)
                return 1
            top = i64(arena, 0) - 1
            set_i64(arena, 0, top)
            set_i64(i64(ctx, {p.OUT_TIME}), m, 0)
            set_f64(i64(ctx, {p.COLUMNS + 1}), m, f64(arena, top))
            m += 1
    set_i64(ctx, {p.OUT}, m)
    set_i64(ctx, {p.OUT_WATERMARK}, i64(ctx, {p.WATERMARK}))
    return 0
"""


@cache
def code(source, size=SECOND):
    return compiled(source, {"SIZE": size})


class Plan:
    """Collects nodes; `session()` opens them."""

    def __init__(self):
        self.nodes, self.tables, self.objects = [], [], {}
        self.literals, self.models, self.digest = (), (), "d1"

    def table(self, *stores):
        fields = tuple(p.Field(f"k{i}", s) for i, s in enumerate(stores))
        self.tables.append(p.TableSpec(fields=fields))
        return len(self.tables) - 1

    def source(
        self, name="s", *, keys=(), fields=(F64,), raw=None, time="time", table=None, **options
    ):
        number = -1
        if keys:
            number = self.table(*keys) if table is None else table
        key_fields = tuple(p.Field(f"k{i}", s) for i, s in enumerate(keys))
        raw_time = () if not time else (p.Field(time, options.pop("time_store", "time")),)
        spec = p.SourceSpec(
            id=len(self.nodes), name=name, label=name, fields=fields, table=number, raw=(*raw_time, *(raw or fields), *key_fields),
            columns=tuple((f.name, f.name) for f in fields), keys=tuple((f, f.name) for f in key_fields), time=time,
            gaps=options.get("is_signal", False), **options,
        )  # fmt: skip
        self.nodes.append(spec)
        return spec

    def add(self, cls, **values):
        spec = cls(id=len(self.nodes), **values)
        self.nodes.append(spec)
        return spec

    def kernel(self, source, inputs, *, fields=(F64,), size=SECOND, **values):
        key = f"o{len(self.objects)}"
        self.objects[key] = code(source, size)
        table = values.pop("table", inputs[0].table)
        return self.add(
            p.KernelSpec, inputs=tuple(i.id for i in inputs), fields=fields, object=key, table=table,
            writes=values.pop("writes", tuple(f.name for f in fields)), label=values.pop("label", f"k{len(self.nodes)}"), **values,
        )  # fmt: skip

    def double(self, given):
        return self.kernel(DOUBLE, [given], reads=((0, "v"),), is_dense=True, gaps=given.gaps)

    def running(self, given):
        return self.kernel(
            RUNNING, [given], reads=((0, "v"),), is_dense=True, record=8, record_init=bytes(8), gaps=given.gaps,
            fields=(p.Field("total", "f64"), F64), writes=("total",), passed=("v",),
        )  # fmt: skip

    def window(self, given, size=SECOND):
        return self.kernel(
            WINDOW, [given], reads=((0, "v"),), record=16, record_init=bytes(16), globals_init=bytes(16), size=size,
            has_touched=True,
        )  # fmt: skip

    def latest(self, left, right, join=None):
        return self.kernel(
            LATEST, [left, right], reads=((0, "v"), (1, "v")), record=8, record_init=np.float64(np.nan).tobytes(), join=join,
            fields=(F64, p.Field("right", "f64")),
        )  # fmt: skip

    def remember(self, given):
        return self.kernel(REMEMBER, [given], reads=((0, "v"),), has_arena=True, table=-1)

    def sink(self, given, name="out", **values):
        keys = () if given.table < 0 else self.tables[given.table].fields
        return self.add(
            p.SinkSpec, name=name, label=name, inputs=(given.id,), table=given.table, fields=values.pop("fields", given.fields),
            keys=keys, **values,
        )  # fmt: skip

    def program(self):
        return p.Program(
            nodes=tuple(self.nodes), tables=tuple(self.tables), objects=self.objects, literals=self.literals,
            models=self.models, digest=self.digest,
        )  # fmt: skip

    def session(self, models=None):
        return Session(p.unpack(p.pack(self.program())), models)

    def replace(self, spec, **values):
        self.nodes[spec.id] = replace(spec, **values)
        return self.nodes[spec.id]


def rows(time, v=None, types=None, **keys):
    """A record batch: times in seconds (or ns, if ints above 10⁹), values, key columns."""
    ns = [
        None if t is None else t if isinstance(t, int) and abs(t) >= SECOND else round(t * SECOND)
        for t in time
    ]
    columns = {"time": pa.array(ns, pa.int64()).cast(UTC)}
    columns["v"] = pa.array([float(i) for i in range(len(ns))] if v is None else v, pa.float64())
    for name, values in keys.items():
        columns[name] = pa.array(values)
    return pa.RecordBatch.from_pydict(columns)


class Out:
    """Gathers what the calls of a session gave."""

    def __init__(self, session):
        self.session = session
        self.batches = {name: [] for name in session.sinks}

    def __iadd__(self, out):
        for name, batch in out.items():
            self.batches[name].append(batch)
        return self

    def table(self, name="out"):
        return pa.Table.from_batches(self.batches[name], self.session.schemas[name])

    def columns(self, *names, sink="out"):
        """Lists of columns; times in seconds."""
        table = self.table(sink)
        out = []
        for name in names:
            column = table[name]
            if pa.types.is_timestamp(column.type):
                out.append(
                    [None if t is None else t / SECOND for t in column.cast(pa.int64()).to_pylist()]
                )
            else:
                out.append(column.to_pylist())
        return out[0] if len(out) == 1 else out


def whole(session, pushes, *names, sink="out"):
    """Push (source, rows[, partition]) one by one, finish, and give columns of a sink."""
    out = Out(session)
    for source, batch, *partition in pushes:
        out += session.push(source, batch, *partition)
    out += session.finish()
    return out.columns(*names, sink=sink)


@pytest.fixture
def plan():
    return Plan()


class Helpers:
    Plan, Out = Plan, Out
    rows, whole, code = staticmethod(rows), staticmethod(whole), staticmethod(code)
    SECOND, F64, UTC = SECOND, F64, UTC


@pytest.fixture
def h():
    return Helpers
