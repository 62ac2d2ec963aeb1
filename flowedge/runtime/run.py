"""A run from files to files: sources read in turn, one session, sinks that show all or nothing."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.lang.errors import FlowEdgeError, RunError, SinkError
from flowedge.runtime.models import load_models
from flowedge.runtime.plan import Plan
from flowedge.runtime.quarantine import Quarantine, turned_away
from flowedge.runtime.report import Report, SinkReport, SourceReport
from flowedge.sinks.catalog import get as find_sink
from flowedge.sinks.contract import Sink
from flowedge.sources.catalog import get as find_source
from flowedge.sources.contract import Comparison, Position, Predicate, Source

Progress = Callable[[Report], None]


class Interrupted(FlowEdgeError):  # noqa: N818  # it is what happened, not a mistake
    """The user or the system asked the run to stop."""

    exit_code = 130


@dataclass
class _Feed:
    """One source being read: its next batch is taken when its turn comes.

    Attributes
    ----------
    quarantine : the file for its bad rows, empty where none is wanted
    pushed : rows that the session has been given
    """

    name: str
    source: Source
    report: SourceReport
    rows: Iterator[Any]
    quarantine: str = ""
    pushed: int = 0
    done: bool = False
    newest: int = p.NEVER


@dataclass
class Run:
    """Everything of one run that is open.

    Parameters
    ----------
    plan : what to run
    trusted : sha256 of model programs that the user trusts
    progress : called after each batch, at most a few times a second
    speed : how many times as fast as life a replay goes; None: as fast as it can
    """

    plan: Plan
    trusted: frozenset[str] = frozenset()
    progress: Progress | None = None
    report: Report = field(default_factory=Report)
    speed: float | None = None
    _quarantines: dict[str, Quarantine] = field(default_factory=dict)

    def __call__(self) -> Report:
        """Read all, write all; raises RunError, or Interrupted after the state is consistent."""
        started = time.perf_counter()
        self.report.compile_s = self.plan.compile_s
        self.report.plan_from_cache = self.plan.from_cache
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(_signals())
            models = load_models(self.plan.program, self.trusted)
            session = self.plan.open(models)
            sinks = self._open_sinks(session)
            try:
                self._read(session, sinks, stop)
                for kept in self._quarantines.values():
                    kept.close()
                self._close(sinks)
                self.report.streams = session.ledger()
                self.report.is_complete = True
            except BaseException:
                for sink in sinks.values():
                    sink.abort()
                for kept in self._quarantines.values():
                    kept.abort()
                with contextlib.suppress(
                    FlowEdgeError
                ):  # the counts of a run cut short need not add up
                    self.report.streams = session.ledger()
                raise
            finally:
                self.report.wall_s = time.perf_counter() - started
                self.report.finish()
        return self.report

    # ---- parts

    def _open_sinks(self, session: Any) -> dict[str, Sink]:  # noqa: ANN401
        sinks: dict[str, Sink] = {}
        schemas = session.schemas
        try:
            for node in self.plan.program.nodes:
                if not isinstance(node, p.SinkSpec):
                    continue
                found = find_sink(node.connector)
                if found is None:
                    raise SinkError(f"this version has no sink `{node.connector}`")
                sink = found(node.address, **node.options)
                sink.open(schemas[node.name])
                sinks[node.name] = sink
                self.report.sinks[node.name] = SinkReport(node.connector, node.address)
        except BaseException:
            for sink in sinks.values():
                sink.abort()
            raise
        return sinks

    def _feeds(self) -> list[_Feed]:
        feeds = []
        for name, connector, address, options, columns in self.plan.program.connectors:
            found = find_source(connector)
            if found is None:
                raise RunError(f"this version has no source `{connector}`")
            known = {
                k: _tupled(v) for k, v in options.items() if found.options.option(k) is not None
            }
            spec = next(
                n for n in self.plan.program.nodes if isinstance(n, p.SourceSpec) and n.name == name
            )
            source = found(
                address, declared=declared_schema(spec), captures=_tupled(options.get("captures")) or None,
                on_error=options.get("on_error", "stop"), **known,
            )  # fmt: skip
            report = SourceReport(connector, address)
            self.report.sources[name] = report
            rows = source.batches(
                columns=list(columns), predicate=_predicate(spec, options.get("predicate"))
            )
            feeds.append(
                _Feed(name, source, report, iter(rows), str(options.get("quarantine") or ""))
            )
        return feeds

    def _read(self, session: Any, sinks: Mapping[str, Sink], stop: Callable[[], bool]) -> None:  # noqa: ANN401
        feeds = self._feeds()
        clock = _Pace(self.speed)
        while any(not f.done for f in feeds):
            if stop():
                raise Interrupted(
                    "interrupted; unfinished output was removed, finished output stays"
                )
            # The source that is furthest behind in event time reads next, so that joins hold little.
            feed = min((f for f in feeds if not f.done), key=lambda f: f.newest)
            try:
                batch, position = next(feed.rows)
            except StopIteration:
                feed.done = True
                self._reject(feed)
                self._write(session.end(feed.name), sinks)
                continue
            feed.report.rows_in += batch.num_rows
            self._reject(feed)
            for piece in clock.pieces(batch):
                out = session.push(feed.name, piece)
                feed.newest = session.sources[feed.name].watermark
                clock.wait(feed.newest, stop)
                self._write(out, sinks)
                if self.progress is not None:
                    self.progress(self.report)
                if stop():
                    break
            self._turned_away(feed, session.rejected(feed.name), batch, position)
        self._write(session.finish(), sinks)

    def _reject(self, feed: _Feed) -> None:
        rejected = feed.source.rejects.take()
        if rejected is None:
            return
        feed.report.rows_in += rejected.num_rows
        feed.report.rows_unreadable += rejected.num_rows
        self._keep(feed, rejected)

    def _turned_away(
        self,
        feed: _Feed,
        found: list[tuple[str, int, str]],
        batch: pa.RecordBatch,
        position: Position,
    ) -> None:
        """Keep what the session would not have, such as rows without a time."""
        first = feed.pushed
        feed.pushed += batch.num_rows
        if not found or not feed.quarantine:
            return
        paths = feed.source.paths()
        file, behind = feed.report.address, feed.pushed
        if position.file < len(paths) and position.row >= batch.num_rows:
            file, behind = paths[position.file], position.row
        self._keep(feed, turned_away(found, batch, first, file, behind))

    def _keep(self, feed: _Feed, rejected: pa.RecordBatch) -> None:
        if not feed.quarantine:
            return
        if feed.quarantine not in self._quarantines:
            self._quarantines[feed.quarantine] = Quarantine(feed.quarantine)
        feed.report.quarantine = feed.quarantine
        self._quarantines[feed.quarantine].add(rejected)

    def _write(self, out: Mapping[str, pa.RecordBatch], sinks: Mapping[str, Sink]) -> None:
        for name, batch in out.items():
            if batch is not None and batch.num_rows:
                self.report.sinks[name].rows += batch.num_rows
                sinks[name].write(batch)

    def _close(self, sinks: Mapping[str, Sink]) -> None:
        for name, sink in sinks.items():
            for written in sink.close():
                self.report.sinks[name].files.append(written.path)
                self.report.sinks[name].bytes += written.size_bytes


def declared_schema(spec: p.SourceSpec) -> pa.Schema:
    """The raw columns of a source as the pipeline declares them."""
    kinds = {
        "f64": pa.float64(), "f32": pa.float32(), "i64": pa.int64(), "i32": pa.int32(), "i16": pa.int16(), "i8": pa.int8(),
        "u64": pa.uint64(), "u32": pa.uint32(), "u16": pa.uint16(), "u8": pa.uint8(), "bool": pa.bool_(),
        "string": pa.string(), "binary": pa.binary(), "time": pa.timestamp("ns", "UTC"),
    }  # fmt: skip
    fields = []
    for f in spec.raw:
        kind = kinds[f.store]
        for length in reversed(f.shape):
            kind = pa.list_(kind, length)
        fields.append(pa.field(f.name, kind))
    return pa.schema(fields)


def _predicate(spec: p.SourceSpec, wanted: Any) -> Predicate | None:  # noqa: ANN401
    """What every row that matters satisfies; time and keys are read for the others too.

    Only where they are raw fields: an expression over fields needs them all.
    """
    if not wanted or spec.prepare is not None:
        return None
    always = (spec.time, *(raw for _, raw in spec.keys))
    return Predicate(tuple(Comparison(*test) for test in wanted), tuple(n for n in always if n))


def _tupled(value: Any) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


@dataclass
class _Pace:
    """Holds a replay back to a multiple of real time.

    Only the session knows the event time of a row, so rows are pushed in pieces that grow while
    the replay is behind and shrink while it has to wait: about ten pieces a second.
    """

    speed: float | None
    _first: tuple[int, float] | None = None
    _rows: int = 1

    def pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """A batch, whole or cut so that its rows can come when they are due."""
        if self.speed is None:
            yield batch
            return
        at = 0
        while at < batch.num_rows:
            piece = batch.slice(at, self._rows)
            yield piece
            at += piece.num_rows

    def wait(self, newest_ns: int, stop: Callable[[], bool]) -> None:
        """Sleep until the time at which this event time is due, or the run shall stop."""
        if self.speed is None or newest_ns == p.NEVER:
            return
        if self._first is None:
            self._first = (newest_ns, time.monotonic())
            return
        due = self._first[1] + (newest_ns - self._first[0]) * 1e-9 / self.speed
        ahead = due - time.monotonic()
        self._rows = max(1, self._rows // 2) if ahead > 0.1 else min(2 * self._rows, 1 << 20)
        while not stop() and (left := due - time.monotonic()) > 0:
            time.sleep(min(0.1, left))  # a signal does not end a sleep


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM ask the run to stop after the batch at hand; a second one stops at once."""
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: the caller stops runs its own way
        pass
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
