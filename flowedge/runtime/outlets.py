"""Where the rows of a run go: sinks and quarantine files, at once or with the checkpoints."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError, SinkError
from flowedge.runtime.checkpoint import Saved, State
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.keys import SigningKey
from flowedge.runtime.latency import Latencies, Receipts, first_times
from flowedge.runtime.outlet import Outlet
from flowedge.runtime.peer import PeerOutlet
from flowedge.runtime.punctual import Acts, Punctual
from flowedge.runtime.quarantine import quarantine_sink
from flowedge.runtime.report import PeerReport, Report, SinkReport
from flowedge.runtime.threads import MOST_BYTES, Behind, Workers
from flowedge.runtime.threads import SYSTEM as SYSTEM_THREADS
from flowedge.session.ledger import names_of
from flowedge.session.mapping import EVERYTHING
from flowedge.sinks.contract import Provenance, Sink
from flowedge.sinks.remote import RemoteSink
from flowedge.sources.contract import REJECTED
from flowedge.types.arrays import size_of
from flowedge.types.encryption import Cipher
from flowedge.types.metadata import UNIT

_BAD_ROWS = "quarantine "
"""A quarantine file is an output called this and its path."""
_BESIDE_ROWS = 1 << 14
"""Bytes that a record batch takes beside its rows: where these come one by one, nearly all."""
_LINGER_S = 3.0
"""A run that is asked to stop lets peers take rows until none was taken for so long."""
_LOOK_S = 0.1


class Outlets:
    """All outputs of a run.

    Parameters
    ----------
    program, schemas : the sinks, and what their rows look like
    report : where rows, bytes, files and latencies are told
    state : the state directory, if the run keeps checkpoints
    behind : write on a thread of its own
    most_bytes : of the rows that wait for that thread, and for each peer
    provenance : what the files tell of where they come from
    acts : what becomes of rows because of time
    clock : measures how long rows take
    workers : whose thread it is
    """

    def __init__(
        self,
        program: p.Program,
        schemas: Mapping[str, pa.Schema],
        report: Report,
        state: State | None,
        *,
        behind: bool,
        most_bytes: int = MOST_BYTES,
        provenance: Provenance | None = None,
        acts: Acts | None = None,
        clock: Clock = SYSTEM,
        workers: Workers = SYSTEM_THREADS,
    ) -> None:
        self._clock, self._workers = clock, workers
        self._schemas, self._report, self._state = schemas, report, state
        self._provenance = provenance or Provenance()
        self._acts = acts or Acts()
        self._punctual: dict[str, Punctual] = {}
        pages = names_of(program.nodes)
        self._pages = {n.name: pages[n.id] for n in program.nodes if isinstance(n, p.SinkSpec)}
        self._sinks: dict[str, Outlet] = {}
        self._quarantines: dict[str, Outlet] = {}
        self._sources = {name: _sources_of(program, name) for name in schemas}
        self._pipeline = program.digest
        self._top = max((n.priority for n in program.nodes if isinstance(n, p.SinkSpec)), default=0)
        self._gone = {
            name
            for name, connector, address, options, _ in program.connectors
            if not _comes_again(connector, options, address)
        }
        self.latencies = {name: Latencies() for name in schemas}
        self._behind: Behind | None = None
        self._wants_thread, self._most_bytes = behind, most_bytes
        self.receipts: dict[str, Receipts] = {}
        self.notes: list[str] = []
        for node in program.nodes:
            if isinstance(node, p.SinkSpec):
                report.sinks[node.name] = SinkReport(node.connector, node.address)
                ages, drops = partial(self._ages, node.name), node.otherwise == ("drop", "")
                punctual = self._acts.of(node.name, node.deadline_ns, ages, drops=drops)
                if punctual is not None:
                    self._punctual[node.name] = punctual
                self._sinks[node.name] = self._outlet(node.name, _sink(node), node)
        self._peers = [one for one in self._sinks.values() if isinstance(one, PeerOutlet)]

    def _outlet(self, name: str, sink: Sink, node: p.SinkSpec | None = None) -> Outlet:
        sink.provenance = self._provenance
        if node is not None and node.signed_by:
            sink.provenance = replace(self._provenance, sign=SigningKey.of(node.signed_by).sign)
        key = sink.encryption_key
        cipher = None if key is None else Cipher(key, "rows")
        every_s = 0.0
        if node is not None:
            sink.durability = node.durability  # type: ignore[assignment]  # checked by the language
            every_s = {"commit": 0.0, "interval": node.sync_ns / 1e9}.get(
                node.durability, float("inf")
            )
        mark = "" if node is None else _print(node, sink, self._schemas[name])
        if isinstance(sink, RemoteSink):
            assert node is not None
            return self._peer(name, sink, node, mark, every_s)
        if self._state is None or not sink.writes_files:
            return Outlet(name, sink, print=mark)
        sink.holds_back = True
        if sink.grows:
            return Outlet(name, sink, print=mark)
        return Outlet(name, sink, self._state.log(name, every_s, cipher), print=mark)

    def _peer(
        self, name: str, sink: RemoteSink, node: p.SinkSpec, mark: str, every_s: float
    ) -> PeerOutlet:
        sink.pipeline = self._pipeline
        told = self._report.sinks[name].peer = PeerReport(sink.promised)
        at_peer = None if sink.promised == "exactly once" else self._punctual.get(name)
        return PeerOutlet(
            name, sink, told, None if self._state is None else self._state.log(name, every_s), mark,
            may_shed=node.priority < self._top, buffer_bytes=node.buffer_bytes, memory_bytes=self._most_bytes, delivered=partial(self._measure, name),
            asks_again=not self._gone & set(self._sources[name]), punctual=at_peer, clock=self._clock, workers=self._workers,
        )  # fmt: skip

    @property
    def by_name(self) -> Mapping[str, Outlet]:
        """Those of the sinks."""
        return self._sinks

    @property
    def _all(self) -> list[Outlet]:
        return [*self._sinks.values(), *self._quarantines.values()]

    # ---- the beginning

    def holds(self, saved: Saved) -> bool:
        """Whether all rows that a checkpoint speaks of are there."""
        for name, kept in saved.outputs.items():
            outlet = self._sinks.get(name)
            if saved.is_finished and not isinstance(outlet, PeerOutlet):
                continue
            if name.startswith(_BAD_ROWS):
                path = name.removeprefix(_BAD_ROWS)
                outlet = self._outlet(name, quarantine_sink(path))
            if outlet is None or outlet.print != kept["print"]:
                continue  # told by `recover`
            if not outlet.holds(kept):
                return False
        return True

    def recover(self, saved: Saved, discard: Collection[str] = ()) -> None:
        """Finish what a checkpoint decided.

        Parameters
        ----------
        discard : outputs whose rows that are in no file yet are given up: ``sink NAME``

        Raises
        ------
        SinkError : what the checkpoint speaks of is not there
        CheckpointError : an output has changed, and has rows that are in no file yet
        """
        self.compare(saved, discard)
        for name, kept in saved.outputs.items():
            gone = EVERYTHING in discard and name not in self._sinks
            if _given_up(name) in discard or gone:
                continue
            if name.startswith(_BAD_ROWS):
                outlet = self._quarantine(name.removeprefix(_BAD_ROWS))
            else:
                found = self._sinks.get(name)
                if found is None:
                    continue
                outlet = found
            outlet.recover(kept, is_finished=saved.is_finished)
            self.notes += outlet.notes

    def compare(self, saved: Saved, discard: Collection[str] = ()) -> None:
        """Refuse to go on where an output of before has gone, or is another one; raises CheckpointError."""
        wrong = []
        for name, kept in saved.outputs.items():
            if name.startswith(_BAD_ROWS) or _given_up(name) in discard:
                continue
            outlet = self._sinks.get(name)
            if outlet is None and EVERYTHING not in discard:
                wrong.append((name, f"- sink {name}: is no longer there"))
            elif outlet is not None and outlet.print != kept["print"]:
                wrong.append((name, f"~ sink {name}: writes other columns, or elsewhere"))
        if wrong:
            lines = "".join(f"    {line}\n" for _, line in wrong)
            options = " ".join(f'--discard-state "{_given_up(name)}"' for name, _ in wrong)
            raise CheckpointError(
                f"the pipeline has changed since the checkpoint, and rows would be lost:\n{lines}"
                f"run the pipeline of before, or give up the rows that are in no file yet with {options}"
            )

    def open(self) -> None:
        """Get ready for rows: what is wrong with an output shows before the work. Raises SinkError."""
        try:
            for name, outlet in self._sinks.items():
                outlet.open(self._schemas[name])
            for outlet in self._quarantines.values():
                outlet.open(REJECTED)
        except BaseException:
            self.abort()
            raise
        self._behind = Behind(self._most_bytes, self._workers) if self._wants_thread else None

    def open_peers(self) -> None:
        """Deliver what a finished run has left; raises SinkError."""
        try:
            for outlet in self._peers:
                outlet.open(self._schemas[outlet.name])
        except BaseException:
            self.abort()
            raise

    # ---- rows

    def write(self, out: Mapping[str, pa.RecordBatch]) -> None:
        """Hand rows over; raises SinkError, with a thread for an earlier call."""
        for name, batch in out.items():
            if not batch.num_rows:
                continue
            first = self._report.sinks[name].rows
            self._report.sinks[name].rows += batch.num_rows
            size = size_of(batch)
            self._report.sinks[name].bytes_taken += size
            if self._behind is None:
                self._hand_over(name, batch, first)
            else:
                hand_over = partial(self._hand_over, name, batch, first)
                self._behind(hand_over, size + _BESIDE_ROWS)

    def _hand_over(self, name: str, batch: pa.RecordBatch, first: int) -> None:
        outlet = self._sinks[name]
        if isinstance(outlet, PeerOutlet) and outlet.peer.promised != "exactly once":
            outlet.write(batch)  # it may wait there, and its deadline is kept when it goes on
            return
        punctual = self._punctual.get(name)
        if punctual is not None:
            judged = punctual.judge(batch, first)
            punctual.settle(judged, first, batch.num_rows)
            batch = judged.rows
        if batch.num_rows:
            outlet.write(batch)
            if not isinstance(outlet, PeerOutlet):
                self._measure(name, batch)

    def _measure(self, name: str, batch: pa.RecordBatch) -> None:
        """Note how long rows took."""
        now, times = self._clock.ns(), first_times(batch)
        receipts = self._receipts_of(name, times, now)
        if receipts is None:
            return
        age = receipts.age_of_all(times, now)
        if age is None:
            self.latencies[name].record_all(receipts.ages(times, now))
        else:
            self.latencies[name].record(age, len(times))

    def _ages(self, name: str, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """How long ago [ns] the first source row of each row came; of several sources the one that came first. Of none: empty."""
        now, times = self._clock.ns(), first_times(batch)
        receipts = self._receipts_of(name, times, now)
        return np.empty(0, np.int64) if receipts is None else receipts.ages(times, now)

    def _receipts_of(self, name: str, times: NDArray[np.int64], now: int) -> Receipts | None:
        """Those of the source that the first row came of longest ago; None: there are none, or no rows."""
        known = [self.receipts[s] for s in self._sources[name] if s in self.receipts]
        if not known or not len(times):
            return None
        if len(known) == 1:
            return known[0]
        first = int(times[0])
        return max(known, key=lambda r: r.age(first, now))

    def keep_bad(self, path: str, rejected: pa.RecordBatch) -> None:
        """Add rows to a quarantine file, which is made when the first one comes."""
        if self._behind is None:
            self._keep_bad(path, rejected)
        else:
            self._behind(partial(self._keep_bad, path, rejected), rejected.nbytes)

    def _keep_bad(self, path: str, rejected: pa.RecordBatch) -> None:
        if path not in self._quarantines:
            self._quarantine(path).open(REJECTED)
        self._quarantines[path].write(rejected)

    def _quarantine(self, path: str) -> Outlet:
        outlet = self._outlet(_BAD_ROWS + path, quarantine_sink(path))
        self._quarantines[path] = outlet
        return outlet

    # ---- checkpoints

    def nbytes_by_name(self) -> dict[str, int]:
        """Bytes of the rows that wait: for the thread that writes, in each sink, and in its log."""
        out = {outlet.name: outlet.nbytes for outlet in self._all}
        if self._behind is not None:
            out["rows to be written"] = self._behind.nbytes
        return out

    def drain(self) -> None:
        """Wait until all that was handed over is written."""
        if self._behind is not None:
            self._behind.drain()

    def prepare(self) -> dict[str, dict[str, Any]]:
        """Make all rows so far last; for each output what the checkpoint says. Raises SinkError."""
        self.drain()
        return {outlet.name: outlet.prepare() for outlet in self._all}

    def commit(self) -> None:
        """Show the files that `prepare` made last; raises SinkError."""
        for outlet in self._all:
            outlet.commit()

    def forget(self, needed: Mapping[str, int]) -> None:
        """Rows before these are needed by no checkpoint."""
        for outlet in self._all:
            if outlet.name in needed:
                outlet.forget(needed[outlet.name])

    # ---- peers that may be away

    def check(self) -> None:
        """Raise what has gone wrong with a peer for good: SinkError, CheckpointError."""
        for outlet in self._peers:
            outlet.check()

    @property
    def are_full(self) -> bool:
        """Whether so many rows wait for a peer that no more should be made now."""
        return any(outlet.waiting.is_full for outlet in self._peers)

    @property
    def is_pressing(self) -> bool:
        """Whether rows that a peer has room for wait for a checkpoint, and the run for room."""
        return any(o.waiting.is_full and o.waiting.is_held for o in self._peers)

    def make_room(self, missing: int = 0) -> None:
        """Let the oldest rows go that wait for peers which are less important than others, where no more may wait.

        Parameters
        ----------
        missing : bytes that other things need, so that rows go although more might wait
        """
        for outlet in self._peers:
            waiting = outlet.waiting
            if outlet.may_shed and (waiting.is_full or missing):
                most = min(waiting.most_bytes // 2, max(0, waiting.waiting_bytes - missing))
                start, stop = waiting.shed(most)
                if stop > start:
                    self._report.sinks[outlet.name].shed += stop - start
                    self._acts.note("shed", outlet.name, [start, stop])

    def wait(self, most_s: float) -> None:
        """Wait until there may be room, so long at most."""
        for outlet in self._peers:
            if outlet.waiting.is_full:
                with outlet.waiting.changed:
                    outlet.waiting.changed.wait(most_s)
                return

    def undelivered(self) -> dict[str, int]:
        """For each peer how many rows it is not known to have; those without any are left out."""
        return {o.name: o.waiting.count for o in self._peers if o.waiting.count}

    def wait_for_peers(self, most_s: float) -> bool:
        """Wait until all rows are there, so long at most; whether they are. Raises SinkError, CheckpointError."""
        self.check()
        for outlet in self._peers:
            outlet.hurry()
        for outlet in self._peers:
            with outlet.waiting.changed:
                if outlet.waiting.count:
                    outlet.waiting.changed.wait(most_s)
                    break
        self.check()
        return not self.undelivered()

    def linger(self) -> None:
        """Let peers that are there have what is theirs, as long as they take rows; raises SinkError, CheckpointError."""
        moved_at, before = self._clock.s(), self.undelivered()
        while self._clock.s() - moved_at < _LINGER_S:
            self.wait_for_peers(_LOOK_S)
            now = self.undelivered()
            if not any(
                o.waiting.count and not o.is_away and not o.waiting.is_held for o in self._peers
            ):
                return
            if now != before:
                moved_at, before = self._clock.s(), now

    @property
    def have_moved(self) -> bool:
        """Whether peers that cannot say so themselves have more rows than the last checkpoint knows of."""
        return any(o.has_moved for o in self._peers)

    def rest(self) -> bool:
        """Deliver no more, though rows wait on; whether peers that cannot say so have more than the last checkpoint knows of."""
        for outlet in self._peers:
            outlet.rest()
        return self.have_moved

    def farewell(self) -> None:
        """All is done, and no state is left: peers may forget the place of their stream."""
        for outlet in self._peers:
            outlet.farewell()

    # ---- the end

    def finish(self, stop: Callable[[], bool]) -> bool:
        """Complete all files; False if it was asked to stop on the way. Raises SinkError."""
        self.drain()
        done = all(outlet.finish(stop) for outlet in self._all)
        self.tell()
        return done

    def settle(self) -> None:
        """The run is complete, its files are shown: tell of them, and remove what they replace."""
        read = {
            name: {"address": f"{s.connector} {s.address}".strip(), "rows": s.rows_in}
            for name, s in self._report.sources.items()
        }
        self._provenance.closing["sources"] = read
        for outlet in self._all:
            outlet.sink.settle()
        for name, outlet in self._sinks.items():
            for written in outlet.sink.files():
                self._report.sinks[name].files.append(written.path)
                self._report.sinks[name].bytes += written.size_bytes
        self._end_thread()

    def tell(self) -> None:
        """Put what is known of latencies and deadlines into the report."""
        for name, found in self.latencies.items():
            self._report.sinks[name].latency = found.as_dict()
        for name, punctual in self._punctual.items():
            sink = self._report.sinks[name]
            sink.late, sink.dropped = punctual.late, punctual.dropped
        for name, sink in self._report.sinks.items():
            counts = self._report.streams.get(self._pages[name])
            if counts is not None:
                counts["shed"] = sink.dropped + sink.shed
                counts["used"] = counts["rows_in"] - counts["shed"]

    def go_on(self, rows: Mapping[str, Mapping[str, int]]) -> None:
        """Count on from a checkpoint: by sink, its rows and what became of some."""
        for name, told in rows.items():
            sink = self._report.sinks[name]
            sink.rows, sink.late = told["rows"], told["late"]
            sink.dropped, sink.shed = told["dropped"], told["shed"]
            if name in self._punctual:
                self._punctual[name].late, self._punctual[name].dropped = sink.late, sink.dropped

    def abort(self) -> None:
        """Leave no trace of what is unfinished."""
        self._end_thread()
        for outlet in self._all:
            outlet.abort()

    def _end_thread(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.close()


def _given_up(name: str) -> str:
    """What the user says to give up the rows of an output."""
    return f"sink {name}"


def _print(node: p.SinkSpec, sink: Sink, schema: pa.Schema) -> str:
    """A digest of what a sink writes and where; how a peer is reached and who asks may change from life to life."""
    columns = [(f.name, str(f.type), (f.metadata or {}).get(UNIT)) for f in schema]
    ways = sink.ways if isinstance(sink, RemoteSink) else ()
    options = sorted((name, value) for name, value in node.options.items() if name not in ways)
    told = [node.connector, node.address, options, columns]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _sink(node: p.SinkSpec) -> Sink:
    from flowedge.sinks.catalog import get  # noqa: PLC0415

    found = get(node.connector)
    if found is None:
        raise SinkError(f"this version has no sink `{node.connector}`")
    return found(node.address, **node.options)


def _comes_again(connector: str, options: Mapping[str, Any], address: str) -> bool:
    """Whether a source gives the same rows again after a kill."""
    from flowedge.sources.catalog import get  # noqa: PLC0415
    from flowedge.sources.live import LiveSource  # noqa: PLC0415

    found = get(connector)
    return found is None or not issubclass(found, LiveSource) or found.comes_again(options, address)


def _sources_of(program: p.Program, sink: str) -> tuple[str, ...]:
    """Names of the sources that the rows of a sink are made of."""
    nodes: dict[int, Any] = {n.id: n for n in program.nodes}
    todo = [n.id for n in program.nodes if isinstance(n, p.SinkSpec) and n.name == sink]
    seen: set[int] = set()
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            todo += nodes[at].inputs
    return tuple(n.name for n in program.nodes if n.id in seen and isinstance(n, p.SourceSpec))
