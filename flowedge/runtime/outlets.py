"""Where the rows of a run go: sinks and quarantine files, now, behind on a thread, or at the end."""

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.lang.errors import SinkError
from flowedge.runtime.checkpoint import State
from flowedge.runtime.latency import Latencies, Receipts, first_times
from flowedge.runtime.quarantine import Quarantine
from flowedge.runtime.report import Report, SinkReport
from flowedge.runtime.threads import Behind
from flowedge.sinks.contract import Sink

BAD_ROWS = "quarantine "
"""Rows for a quarantine file are kept with a checkpoint under this and its path."""


class Outlets:
    """All outputs of a run.

    Without a state directory rows are written as they come. With one they are kept with the
    checkpoints, and written at the end: `finish` makes all outputs from what was kept.

    Parameters
    ----------
    program, schemas : the sinks, and what their rows look like
    report : where rows, bytes, files and latencies are told
    state : the state directory, if the run keeps checkpoints
    behind : write on a thread of its own
    """

    def __init__(
        self,
        program: p.Program,
        schemas: Mapping[str, pa.Schema],
        report: Report,
        state: State | None,
        *,
        behind: bool,
    ) -> None:
        self._program, self._schemas, self._report, self._state = program, schemas, report, state
        self._sinks: dict[str, Sink] = {}
        self._quarantines: dict[str, Quarantine] = {}
        self._sources = {name: _sources_of(program, name) for name in schemas}
        self._latencies = {name: Latencies() for name in schemas}
        self.receipts: dict[str, Receipts] = {}
        for node in program.nodes:
            if isinstance(node, p.SinkSpec):
                report.sinks[node.name] = SinkReport(node.connector, node.address)
        # Opened at once also where they are written at the end: what is wrong shows before the work.
        self._open()
        self._behind = Behind() if behind else None

    def _open(self) -> None:
        from flowedge.sinks.catalog import get  # noqa: PLC0415

        try:
            for node in self._program.nodes:
                if not isinstance(node, p.SinkSpec):
                    continue
                found = get(node.connector)
                if found is None:
                    raise SinkError(f"this version has no sink `{node.connector}`")
                sink = found(node.address, **node.options)
                sink.open(self._schemas[node.name])
                self._sinks[node.name] = sink
        except BaseException:
            self.abort()
            raise

    # ---- rows

    def write(self, out: Mapping[str, pa.RecordBatch]) -> None:
        """Hand rows over; raises SinkError, with a thread for an earlier call."""
        for name, batch in out.items():
            if not batch.num_rows:
                continue
            self._report.sinks[name].rows += batch.num_rows
            if self._behind is None:
                self._hand_over(name, batch)
            else:
                self._behind(lambda name=name, batch=batch: self._hand_over(name, batch))  # type: ignore[misc]

    def _hand_over(self, name: str, batch: pa.RecordBatch) -> None:
        if self._state is None:
            self._sinks[name].write(batch)
        else:
            self._state.keep(name, batch)
        now, times = time.monotonic_ns(), first_times(batch)
        known = [self.receipts[s] for s in self._sources[name] if s in self.receipts]
        if known and len(times):
            # Of several sources the one whose row came first counts: the longest way.
            first = int(times[0])
            longest = max(known, key=lambda r: r.age(first, now)) if len(known) > 1 else known[0]
            longest.record(times, now, self._latencies[name])

    def keep_bad(self, path: str, rejected: pa.RecordBatch) -> None:
        """Add rows to a quarantine file."""
        if self._behind is None:
            self._keep_bad(path, rejected)
        else:
            self._behind(lambda: self._keep_bad(path, rejected))

    def _keep_bad(self, path: str, rejected: pa.RecordBatch) -> None:
        if self._state is not None:
            self._state.keep(BAD_ROWS + path, rejected)
            return
        if path not in self._quarantines:
            self._quarantines[path] = Quarantine(path)
        self._quarantines[path].add(rejected)

    # ---- the end

    def drain(self) -> None:
        """Wait until all that was handed over is written."""
        if self._behind is not None:
            self._behind.drain()

    def finish(self, quarantines: list[str]) -> None:
        """Complete all files; `quarantines` are the paths that bad rows may have been kept for."""
        self.drain()
        if self._state is not None:
            for name, sink in self._sinks.items():
                for batch in self._state.rows(name):
                    sink.write(batch)
            for path in quarantines:
                for rejected in self._state.rows(BAD_ROWS + path):
                    self._quarantines.setdefault(path, Quarantine(path)).add(rejected)
        for kept in self._quarantines.values():
            kept.close()
        for name, sink in self._sinks.items():
            for written in sink.close():
                self._report.sinks[name].files.append(written.path)
                self._report.sinks[name].bytes += written.size_bytes
        self.tell()
        self._end_thread()

    def tell(self) -> None:
        """Put what is known of latencies into the report."""
        for name, found in self._latencies.items():
            self._report.sinks[name].latency = found.as_dict()

    def abort(self) -> None:
        """Leave no trace of what is unfinished."""
        self._end_thread()
        for sink in self._sinks.values():
            sink.abort()
        for kept in self._quarantines.values():
            kept.abort()

    def _end_thread(self) -> None:
        behind, self._behind = getattr(self, "_behind", None), None
        if behind is not None:
            behind.close()


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
