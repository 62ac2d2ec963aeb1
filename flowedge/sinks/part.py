"""One file that is being filled, and how it goes on after a checkpoint."""

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.atomic import AtomicFile, Kept
from flowedge.sinks.blocks import Blocks

if TYPE_CHECKING:
    from flowedge.sinks.files import FileSink

Values = tuple[str | None, ...]


class Writer(Protocol):
    """A format that writes blocks into an open file."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append one block."""

    def close(self) -> None:
        """Write what belongs to the end; the file itself stays open."""


class Part:
    """One file that is being filled.

    After a checkpoint it goes on in one of two ways: it is *filled again* from rows that a log has kept,
    in the same blocks (`push_again`); or it has *grown* on the disk, synced at each checkpoint, and goes on
    behind the bytes that the checkpoint speaks of (`grown`, `go_on`).

    Attributes
    ----------
    first : number of its first row in the stream of the sink
    cuts : rows of each block that was written
    used : when it was last given rows
    """

    def __init__(self, sink: "FileSink", path: Path, schema: pa.Schema, first: int) -> None:
        self.path, self.rows, self.first = path, 0, first
        self.blocks = Blocks(schema, sink.block_rows)
        self.file: AtomicFile | None = None
        self.used = 0
        self.cuts: list[int] = []
        self._sink = sink
        self._writer: Writer | None = None

    def open(self) -> None:
        """Make the file and write its beginning."""
        self.file = AtomicFile(self.path, syncs=self._sink.durability != "os")
        self._guard(self._start)

    def _start(self) -> None:
        assert self.file is not None
        self._writer = self._sink.writer(self.file, self.blocks.schema)

    def push(self, batch: pa.RecordBatch) -> None:
        """Take rows; write the blocks that are full."""
        for block in self.blocks.push(batch):
            self._put(block)

    def flush(self) -> None:
        """Write the rows that wait, as a shorter block."""
        rest = self.blocks.rest()
        if rest is not None:
            self._put(rest)

    def finish(self) -> None:
        """Write the rest and the end of the file, and sync it."""
        self.flush()
        writer = self._ready()
        assert self.file is not None
        self._guard(writer.close)
        self._writer = None
        self.file.finish()

    # ---- filled again

    def push_again(self, batch: pa.RecordBatch, cuts: deque[int]) -> None:
        """Take rows that an earlier run took, cut where it cut them; `cuts` are used up."""
        at = 0
        while at < batch.num_rows:
            room = cuts[0] - self.blocks.pending_rows if cuts else batch.num_rows
            before = len(self.cuts)
            self.push(batch.slice(at, room))
            if cuts and self.blocks.pending_rows == cuts[0]:
                self.flush()
            if cuts and len(self.cuts) > before:
                cuts.popleft()
            at += room

    # ---- grown

    def grown(self) -> dict[str, Any]:
        """Sync the file; what a checkpoint says of it: its bytes, and the rows that are in no block yet."""
        kept = None
        if self.file is not None:
            file = self.file
            self._guard(file.sync)
            kept = file.kept.state()
        waiting = self.blocks.state()
        return {"first": self.first, "used": self.used, "rows": self.rows, "kept": kept, "waiting": waiting}  # fmt: skip

    def go_on(self, state: dict[str, Any]) -> None:
        """Go on behind the bytes that a checkpoint speaks of; raises SinkError."""
        self.used, self.rows = state["used"], state["rows"]
        self.blocks.load(state["waiting"])
        if state["kept"] is not None:
            self.file = AtomicFile(self.path, kept=Kept.of(state["kept"]))

    def _catch_up(self) -> None:
        """Let the format see again what the file holds, so that it can write what comes behind."""
        assert self.file is not None
        file = self.file
        file.begin_again()
        self._writer = self._sink.writer_again(file, self.blocks.schema)
        if not file.has_caught_up:
            raise SinkError(
                f"DATA LOSS: `{file.temporary}` is not as it was at the checkpoint: damaged, or written by another "
                "version; put it back, or start afresh without the state"
            )

    # ---- both

    def _ready(self) -> Writer:
        """The format, ready to write."""
        if self._writer is None:
            if self.file is None:
                self.open()
            else:
                self._guard(self._catch_up if self.file.kept.size_bytes else self._start)
        assert self._writer is not None
        return self._writer

    def _put(self, block: pa.RecordBatch) -> None:
        writer = self._ready()
        self._guard(lambda: writer.write_batch(block))
        self.rows += block.num_rows
        if not self._sink.grows:
            self.cuts.append(block.num_rows)

    def _guard(self, act: Any) -> None:  # noqa: ANN401  # any callable
        """What a library raises becomes one sentence; the file's own error goes first."""
        assert self.file is not None
        try:
            act()
        except (pa.ArrowException, OSError, ValueError, SinkError) as error:
            first = self.file.error or (error if isinstance(error, SinkError) else None)
            raise first or SinkError(f"cannot write `{self.path}`: {error}") from None
        if self.file.error is not None:  # swallowed by the library
            raise self.file.error
