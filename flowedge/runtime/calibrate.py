"""What a pipeline costs on this machine: how long a push takes, stage by stage, so that a deadline can be promised."""

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pyarrow as pa

from flowedge import __version__
from flowedge.cache import default_cache
from flowedge.compile import program as p
from flowedge.lang.errors import RunError
from flowedge.runtime.feeds import declared_schema, open_feeds
from flowedge.runtime.meter import Meter, label_of
from flowedge.runtime.realtime import Collector
from flowedge.runtime.recording import Player

if TYPE_CHECKING:
    from flowedge.runtime.plan import Plan
    from flowedge.session.session import Session

SIZES = (1, 64, 4096)
"""Rows of the pushes that are measured."""
SMALL = 64
"""Pushes of up to so many rows are what a run makes that keeps up."""
_KIND = "costs"
_MOST_ROWS = 200_000
_DEVICES = 8
_FIRST_NS = 1_700_000_000 * 10**9
_STEP_NS = 10**7
_WARM_UP = 0.2
"""This part of the pushes is not counted: the first ones meet cold memory."""

Pieces = Mapping[str, Sequence[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class PushCost:
    """How long pushes of so many rows take, from the call until the rows of all sinks are there [µs]."""

    rows: int
    pushes: int
    p50_us: float
    p99_us: float
    p99_9_us: float
    max_us: float


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage takes by itself, in pushes of many rows."""

    stage: str
    rows: int
    ns_a_row: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Attributes
    ----------
    machine : its processor
    made : when, ISO 8601
    is_made_up : a live source had no recording, and got rows of random numbers
    rows_a_s : rows of the sources that one core takes, reading and writing apart
    """

    machine: str
    made: str
    is_made_up: bool
    rows_a_s: float
    pushes: tuple[PushCost, ...]
    stages: tuple[StageCost, ...]

    def promise_s(self, floor_ns: int) -> float | None:
        """What was enough [s] for a sink behind waits of `floor_ns` for the longest of all pushes of up to 64 rows; None: no bound is known."""
        if floor_ns < 0:
            return None
        return floor_ns * 1e-9 + max(c.max_us for c in self.pushes if c.rows <= SMALL) * 1e-6


def machine() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def kept(program: p.Program) -> Calibration | None:
    """What was measured of a program on this machine, by this version; None: nothing yet."""
    found = default_cache().get(_KIND, _key(program))
    if found is None:
        return None
    told = msgpack.unpackb(found)
    told["pushes"] = tuple(PushCost(**x) for x in told["pushes"])
    told["stages"] = tuple(StageCost(**x) for x in told["stages"])
    return Calibration(**told)


def _key(program: p.Program) -> str:
    told = [program.digest, machine(), __version__]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def calibrate(
    plan: "Plan",
    models: Mapping[str, Any],
    recorded: Path | None = None,
    most_s: float = 4.0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Calibration:
    """Measure a pipeline, and keep what was found for `kept`.

    Parameters
    ----------
    models : that it asks, by name
    recorded : of a live run, whose rows are pushed; None: recordings are read, and live sources get made-up rows
    most_s : for each size of a push

    Raises
    ------
    RunError, SourceError : there are no rows to measure with
    """
    rows, is_made_up = _rows_of(plan.program, recorded)
    pushes, rows_a_s = [], 0.0
    for size in SIZES:
        with Collector().aside():  # as in a live run
            spans = np.array(_timed(plan, models, rows, size, most_s, clock), np.int64)
        spans = spans[int(len(spans) * _WARM_UP) :]
        p50, p99, p99_9 = (float(np.quantile(spans, q)) / 1e3 for q in (0.5, 0.99, 0.999))
        pushes.append(PushCost(size, len(spans), p50, p99, p99_9, float(spans.max()) / 1e3))
        rows_a_s = max(rows_a_s, size * len(spans) / (float(spans.sum()) * 1e-9))
    stages = _by_stage(plan, models, rows, most_s, clock)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    found = Calibration(machine(), made, is_made_up, rows_a_s, tuple(pushes), tuple(stages))
    default_cache().put(_KIND, _key(plan.program), msgpack.packb(asdict(found)))
    return found


# ---- rows


def _rows_of(program: p.Program, recorded: Path | None) -> tuple[Pieces, bool]:
    """Rows for each source, and whether some are made up."""
    if recorded is not None:
        held: dict[str, list[pa.RecordBatch]] = {}
        for _, (kind, name, *more) in Player(recorded).play():
            if kind == "rows":
                held.setdefault(name, []).append(more[-1])
        return held, False
    out: dict[str, list[pa.RecordBatch]] = {}
    is_made_up = False
    feeds = open_feeds(program)
    try:
        for name, feed in feeds.by_name.items():
            if feed.live is not None:
                out[name], is_made_up = [_made_up(program, name)], True
                continue
            out[name], count = [], 0
            for batch, _ in feed.source.batches(feed.columns or None):
                if isinstance(batch, pa.RecordBatch) and batch.num_rows:
                    out[name].append(batch)
                    count += batch.num_rows
                if count >= _MOST_ROWS:
                    break
    finally:
        feeds.close()
    return out, is_made_up


def _made_up(program: p.Program, name: str) -> pa.RecordBatch:
    """Rows of random numbers, eight devices in turn, 10 ms apart or as the rate says."""
    spec = next(n for n in program.nodes if isinstance(n, p.SourceSpec) and n.name == name)
    draw, n = np.random.default_rng(1), _MOST_ROWS
    step = round(1e9 / spec.rate_hz) if spec.rate_hz else _STEP_NS // _DEVICES
    keys = {raw for _, raw in spec.keys}
    each = _DEVICES if keys and spec.rate_hz else 1
    columns = []
    for field in declared_schema(spec):
        kind, length = field.type, 1
        while pa.types.is_fixed_size_list(kind):
            length, kind = length * kind.list_size, kind.value_type
        if pa.types.is_timestamp(kind):
            values: Any = pa.array(_FIRST_NS + np.arange(n) // each * step).cast(kind)
        elif field.name in keys or pa.types.is_string(kind) or pa.types.is_binary(kind):
            devices = np.arange(n * length) % _DEVICES
            text = pa.types.is_string(kind) or pa.types.is_binary(kind)
            values = pa.array([f"d{k}" for k in devices] if text else devices).cast(kind)
        elif pa.types.is_boolean(kind):
            values = pa.array(draw.random(n * length) < 0.5)
        elif pa.types.is_integer(kind):
            values = pa.array(draw.integers(0, 100, n * length)).cast(kind)
        else:
            values = pa.array(draw.standard_normal(n * length)).cast(kind)
        columns.append(_shaped(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=declared_schema(spec))


def _shaped(values: Any, kind: Any) -> Any:  # noqa: ANN401
    """Plain values as lists of a fixed length, and lists of these."""
    lengths = []
    while pa.types.is_fixed_size_list(kind):
        lengths.append(kind.list_size)
        kind = kind.value_type
    for length in reversed(lengths):
        values = pa.FixedSizeListArray.from_arrays(values, length)
    return values


def _pushes(session: "Session", rows: Pieces, size: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Pieces of so many rows, next of the source that is furthest behind in event time."""
    left = {name: _cut(batches, size) for name, batches in rows.items()}
    while left:
        name = min(left, key=lambda n: session.sources[n].watermark)
        piece = next(left[name], None)
        if piece is None:
            del left[name]
        else:
            yield name, piece


def _cut(batches: Sequence[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for at in range(0, batch.num_rows, size):
            yield batch.slice(at, size)


# ---- the clock


def _timed(
    plan: "Plan",
    models: Mapping[str, Any],
    rows: Pieces,
    size: int,
    most_s: float,
    clock: Callable[[], int],
) -> list[int]:
    """How long each push took [ns]."""
    session = plan.open(models)
    session.warm_up()
    out = []
    end = clock() + most_s * 1e9
    for name, piece in _pushes(session, rows, size):
        began = clock()
        session.push(name, piece)
        now = clock()
        out.append(now - began)
        if now > end:
            break
    if not out:
        raise RunError("there are no rows to measure with; the sources are empty")
    return out


def _by_stage(
    plan: "Plan",
    models: Mapping[str, Any],
    rows: Pieces,
    most_s: float,
    clock: Callable[[], int],
) -> Iterator[StageCost]:
    """What each stage costs, in pushes of the largest size, from node to node."""
    session = plan.open(models)
    session.warm_up()
    session.go_the_long_way()
    meter = Meter(clock)
    for node in session.nodes.values():
        meter.attach(node)
    end = clock() + most_s * 1e9
    for name, piece in _pushes(session, rows, SIZES[-1]):
        session.push(name, piece)
        if clock() > end:
            break
    for number, node in session.nodes.items():
        count = node.counts.rows_in
        own = meter.spent[number].wall_ns if number in meter.spent else 0
        yield StageCost(label_of(node), count, own / count if count else 0.0)
