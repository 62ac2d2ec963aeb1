"""All that enters the session of a run, by one door, so that it can be recorded."""

from typing import TYPE_CHECKING, Any

from flowedge.compile.program import FOREVER
from flowedge.runtime.recording import Recorder

if TYPE_CHECKING:
    import pyarrow as pa

    from flowedge.session.session import Session

Rows = dict[str, Any]


class Intake:
    """Rows, marks and ends for a session.

    Parameters
    ----------
    session : which takes them
    recorder : where they are noted, too; None: nowhere
    """

    def __init__(self, session: "Session", recorder: Recorder | None) -> None:
        self.session, self.recorder = session, recorder

    def push(
        self,
        source: str,
        rows: "pa.RecordBatch",
        partition: str = "",
        received_ns: int | None = None,
    ) -> Rows:
        """Rows of a source; see `Session.push`."""
        if self.recorder is not None:
            self.recorder.rows(source, partition, received_ns, rows)
        return self.session.push(source, rows, partition, received_ns=received_ns)

    def mark(self, source: str, time: int, partition: str) -> Rows:
        """No row before a time [ns] will come; see `Session.mark`."""
        if time == FOREVER:
            return self.end(source, partition)
        if self.recorder is not None:
            self.recorder.mark(source, partition, time)
        return self.session.mark(source, time, partition)

    def shed_below(self, priority: int) -> None:
        """Leave out what only sinks of a lower priority need; see `Session.shed_below`."""
        if self.recorder is not None:
            self.recorder.below(priority)
        self.session.shed_below(priority)

    def turn_away(self, source: str, rows: int) -> None:
        """Rows that nobody has the time to take; see `Session.turn_away`."""
        if self.recorder is not None:
            self.recorder.turned(source, rows)
        self.session.turn_away(source, rows)

    def end(self, source: str, partition: str | None = None) -> Rows:
        """No row will come; see `Session.end`."""
        if self.recorder is not None:
            self.recorder.end(source, partition)
        return self.session.end(source, partition)
