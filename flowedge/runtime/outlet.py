"""One output of a run whose files are shown at once or with the checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import CheckpointError
from flowedge.runtime.rowlog import Mark, RowLog
from flowedge.sinks.contract import Ready, Resumed, Sink

_OUTPUT_ROWS = 65_536


@dataclass
class Outlet:
    """One output of a run.

    Without checkpoints rows go straight into the sink. With them, too, if the format lets its files grow: a
    checkpoint speaks of the bytes that they have. Else rows also go into a log, which a checkpoint speaks
    of. A sink that rolls is filled at the same time, and its complete files are shown with each
    checkpoint; any other shows its files at the end, and is filled from the log then.

    Attributes
    ----------
    sink : not opened before `open`
    log : None without checkpoints, and for a sink that writes no files or lets them grow
    print : a digest of what it writes where
    """

    name: str
    sink: Sink
    log: RowLog | None = None
    print: str = ""
    resumed: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_late(self) -> bool:
        """The sink gets its rows at the end."""
        return self.log is not None and not self.sink.rolls

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait in the sink and in the log."""
        return self.sink.waiting_bytes + (0 if self.log is None else self.log.nbytes)

    def holds(self, kept: dict[str, Any]) -> bool:
        """Whether all that a checkpoint speaks of is there."""
        return self.sink.holds(kept["state"]) and (self.log is None or self.log.holds(kept["log"]))

    def recover(self, kept: dict[str, Any], *, is_finished: bool) -> None:
        """Bring the files to where a checkpoint decided them to be; raises SinkError."""
        self.resumed = kept
        self.notes += self.sink.recover(_resumed(kept))
        if self.log is not None and not is_finished:
            self._restore(self.log, kept["log"])

    def _restore(self, log: RowLog, mark: Mark) -> None:
        """Bring the log to where a checkpoint left it, and tell what is missing; raises SinkError, CheckpointError."""
        lost = log.restore(mark)
        if lost and self.sink.durability == "commit":
            raise CheckpointError(
                f"DATA LOSS: {lost:,} rows of `{self.name}` were synced to `{log.folder}` and are not "
                "there now; put them back, or start afresh without the state"
            )
        if lost:
            self.notes.append(
                f"sink {self.name}: {lost:,} rows were not on the disk yet and are lost, as "
                f"`durability {self.sink.durability}` allows"
            )

    def open(self, schema: pa.Schema) -> None:
        """Get ready for rows; raises SinkError."""
        if self.resumed is not None and self.sink.grows:
            self.sink.open(schema, _resumed(self.resumed))
            return
        if self.resumed is None or self.is_late or self.log is None:
            # What comes at the end begins with the first row of the log, files of its own run apart.
            resumed = None if self.resumed is None else Resumed()
            if self.resumed is None and self.log is not None:
                self.log.clear()
            self.sink.open(schema, resumed)
            return
        rows = self.log.read(self.resumed["from"])
        self.sink.open(schema, _resumed(self.resumed, rows))

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; raises SinkError."""
        if self.log is not None:
            self.log.append(batch)
        if not self.is_late:
            self.sink.write(batch)

    def finish(self, stop: Callable[[], bool]) -> bool:
        """Complete all files; False if it was asked to stop on the way."""
        if self.is_late:
            assert self.log is not None
            self.log.mark()
            for _, batch in self.log.read():
                for at in range(0, batch.num_rows, _OUTPUT_ROWS):
                    if stop():
                        return False
                    self.sink.write(batch.slice(at, _OUTPUT_ROWS))
        self.sink.finish()
        return True

    def prepare(self) -> dict[str, Any]:
        """Make all rows so far last; what the checkpoint says of this output. Raises SinkError."""
        mark = {"segment": 0, "bytes": 0, "rows": 0} if self.log is None else self.log.mark()
        committed = self.sink.shown
        ready = self.sink.prepare()
        state = None if self.is_late else self.sink.state()
        first = 0 if state is None else state["from"]
        told: dict[str, Any] = {"log": mark, "committed": committed, "print": self.print}
        told["ready"] = [one.state() for one in ready]
        return {**told, "state": state, "from": first}

    def commit(self) -> None:
        """A checkpoint with what `prepare` told is on the disk: show the files; raises SinkError."""
        self.sink.commit()

    def forget(self, before: int) -> None:
        """No checkpoint needs rows before this one."""
        if self.log is not None and not self.is_late:
            self.log.forget(before)

    def abort(self) -> None:
        """Leave no trace of what is unfinished."""
        self.sink.abort()
        if self.log is not None:
            self.log.close()


def _resumed(kept: dict[str, Any], rows: Any = ()) -> Resumed:  # noqa: ANN401
    ready = tuple(Ready.of(one) for one in kept["ready"])
    return Resumed(kept["committed"], ready, kept["state"], rows)
