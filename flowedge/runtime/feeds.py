"""The sources of a run, each read when its turn comes, or ahead on a thread of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.lang.errors import RunError
from flowedge.runtime.places import Places
from flowedge.runtime.report import SourceReport
from flowedge.runtime.skew import ClockWatch
from flowedge.runtime.threads import MOST_BYTES, SYSTEM, Ahead, Workers
from flowedge.sources.contract import Comparison, Position, Predicate, Source
from flowedge.sources.live import LiveSource

Piece = tuple[pa.RecordBatch | None, Position, pa.RecordBatch | None]
"""Rows, the position behind them, and the rows that could not be read on the way there."""
_Read = tuple[pa.RecordBatch | None, Position, pa.RecordBatch | None, dict[str, tuple[int, int]]]


@dataclass
class Feed:
    """One source being read.

    Attributes
    ----------
    quarantine : the file for its bad rows, empty where none is wanted
    position : behind the last row taken
    pushed : rows that the session has been given
    newest : the source's watermark [ns]
    altered : by raw field the values that the connector made missing, and put to the nearest
    places : where the rows stand that the session was given
    idle_ns : a live partition without a row for so long is taken to have moved on; -1: never
    kept : what a live source said of itself in the checkpoint that the run goes on from
    listens : a live source has begun
    watch : estimates how far the clocks are off that give its times; None where this machine's gives them
    """

    name: str
    source: Source
    report: SourceReport
    columns: tuple[str, ...]
    predicate: Predicate | None
    quarantine: str = ""
    position: Position | None = None
    pushed: int = 0
    done: bool = False
    newest: int = p.NEVER
    altered: dict[str, list[int]] = field(default_factory=dict)
    places: Places = field(default_factory=Places)
    idle_ns: int = -1
    kept: dict[str, Any] | None = None
    listens: bool = False
    watch: ClockWatch | None = None
    _pieces: Iterator[_Read] | None = None
    _ahead: Ahead | None = None

    def __post_init__(self) -> None:
        """Look once what the source is: the class of an abstract one is slow to ask, and this is asked all the time."""
        self._is_live = isinstance(self.source, LiveSource)

    @property
    def live(self) -> LiveSource | None:
        """The source, if its rows come by themselves."""
        return cast("LiveSource", self.source) if self._is_live else None

    def start(
        self, *, ahead: bool, most_bytes: int = MOST_BYTES, workers: Workers = SYSTEM
    ) -> None:
        """Begin to read behind `position`; `ahead`: on a thread of its own, so many bytes at most."""
        pieces = self._read()
        if ahead:
            self._ahead = Ahead(pieces, _size, most_bytes, workers)
            pieces = iter(self._ahead)
        self._pieces = pieces

    def next(self) -> Piece:
        """What comes next; without rows at the end."""
        assert self._pieces is not None, "start before next"
        rows, position, rejected, altered = next(self._pieces)
        self.note_altered(altered)
        self.position = position
        self.done = rows is None
        return rows, position, rejected

    def note_live(self) -> None:
        """Take what a live source counts into the report."""
        live = self.live
        if live is not None and self.listens:
            self.report.live = {what: n for what, n in live.told().items() if n}
        if self.watch is not None:
            self.report.clocks = self.watch.told()

    def note_altered(self, altered: Mapping[str, tuple[int, int]]) -> None:
        """Count values that the connector made missing, and put to the nearest."""
        for name, counts in altered.items():
            before = self.altered.get(name, [0, 0])
            self.altered[name] = [a + b for a, b in zip(before, counts, strict=True)]

    def file(self, number: int) -> str:
        """What the file of this number is called, or what is no file."""
        paths = self.source.paths()
        return paths[number] if number < len(paths) else self.report.address

    @property
    def nbytes(self) -> int:
        """Bytes that are read and not taken."""
        live = self.live
        if live is not None:
            return live.nbytes if self.listens else 0
        return 0 if self._ahead is None else self._ahead.nbytes

    def close(self) -> None:
        """End the threads, if there are any."""
        live = self.live
        if live is not None:
            live.close()
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _read(self) -> Iterator[_Read]:
        position = self.position or Position()
        found = self.source.batches(
            columns=list(self.columns), predicate=self.predicate, start=self.position
        )
        for rows, behind in found:
            position = behind
            yield rows, behind, self.source.rejects.take(), self.source.rejects.take_altered()
        rejects = self.source.rejects
        yield None, position, rejects.take(), rejects.take_altered()


def _size(piece: _Read) -> int:
    rows, _, rejected, _ = piece
    return sum(batch.nbytes for batch in (rows, rejected) if batch is not None)


@dataclass
class Feeds:
    """All sources of a run."""

    by_name: dict[str, Feed] = field(default_factory=dict)

    @property
    def live(self) -> list[Feed]:
        """Those whose rows come by themselves."""
        return [f for f in self.by_name.values() if f.live is not None]

    def next(self) -> Feed | None:
        """The recording whose turn it is: furthest behind in event time, so that joins hold little.

        None while all of them are further than a live source is: their rows would only wait for its own.
        """
        found = min(
            (f for f in self.by_name.values() if not f.done and f.live is None),
            key=lambda f: f.newest,
            default=None,
        )
        live = [f.newest for f in self.live if not f.done]
        if found is None or (live and found.newest > min(live)):
            return None
        return found

    @property
    def are_done(self) -> bool:
        """Whether nothing will come any more."""
        return all(f.done for f in self.by_name.values())

    def close(self) -> None:
        """End all threads."""
        for feed in self.by_name.values():
            feed.close()


def open_feeds(program: p.Program) -> Feeds:
    """The sources of a program, not yet started; raises SourceError, RunError."""
    from flowedge.sources.catalog import get  # noqa: PLC0415

    out = Feeds()
    specs = {n.name: n for n in program.nodes if isinstance(n, p.SourceSpec)}
    for name, connector, address, options, columns in program.connectors:
        found = get(connector)
        if found is None:
            raise RunError(f"this version has no source `{connector}`")
        known = {k: _tupled(v) for k, v in options.items() if found.options.option(k) is not None}
        source = found(
            address, declared=declared_schema(specs[name]), captures=_tupled(options.get("captures")) or None,
            on_error=options.get("on_error", "stop"),
            fitting={raw: policy for raw, policy, _ in specs[name].fitting}, **known,
        )  # fmt: skip
        out.by_name[name] = Feed(
            name, source, SourceReport(connector, address), tuple(columns),
            _predicate(specs[name], options.get("predicate"), keeps_rejected=bool(options.get("quarantine"))),
            str(options.get("quarantine") or ""), idle_ns=specs[name].idle_ns,
        )  # fmt: skip
    return out


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


def _predicate(spec: p.SourceSpec, wanted: Any, *, keeps_rejected: bool) -> Predicate | None:  # noqa: ANN401
    """What every row that matters satisfies; time and keys are read for the others too.

    Only where they are raw fields: an expression over fields needs them all. And only where no file
    keeps the rejected rows: it would say of a value that was not read that it is missing.
    """
    if not wanted or spec.prepare is not None or keeps_rejected:
        return None
    looked_at = {name for name, *_ in spec.valid}
    judged = (raw for column, raw in spec.columns if column in looked_at)
    always = (spec.time, *(raw for _, raw in spec.keys), *judged)
    return Predicate(tuple(Comparison(*test) for test in wanted), tuple(n for n in always if n))


def _tupled(value: Any) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value
