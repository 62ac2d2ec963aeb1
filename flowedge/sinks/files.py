"""What all file sinks share: exact blocks, one file or many, and all of them visible at once."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.atomic import (
    AtomicFile,
    make_directories,
    remove_directories,
    sync_directory,
)
from flowedge.sinks.blocks import Blocks
from flowedge.sinks.contract import Sink, WrittenFile
from flowedge.sinks.template import Template

_ROUTED_ROWS = 65_536
_PENDING_ROWS = 1 << 19
_OPEN_FILES = 256
"""Rows that are routed at once; rows that wait in all files together; files open at once. Each is
looked at only at the end of a routed block, so that it does not depend on how rows are pushed."""


class Writer(Protocol):
    """A format that writes blocks into an open file."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append one block."""

    def close(self) -> None:
        """Write what belongs to the end; the file itself stays open."""


class Part:
    """One file that is being filled."""

    def __init__(self, sink: "FileSink", path: Path, schema: pa.Schema) -> None:
        self.path, self.rows = path, 0
        self.blocks = Blocks(schema, sink.block_rows)
        self.file: AtomicFile | None = None
        self.used = 0
        self._sink = sink
        self._writer: Writer | None = None

    def open(self) -> None:
        """Make the file and write its beginning."""
        self.file = AtomicFile(self.path)
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
        if self._writer is None:
            self.open()
        assert self._writer is not None
        assert self.file is not None
        self._guard(self._writer.close)
        self._writer = None
        self.file.finish()

    def _put(self, block: pa.RecordBatch) -> None:
        if self._writer is None:
            self.open()
        assert self._writer is not None
        writer = self._writer
        self._guard(lambda: writer.write_batch(block))
        self.rows += block.num_rows

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


class FileSink(Sink):
    """Rows into files: each complete, synced and renamed before anyone sees it.

    A connector says how a file is written (`writer`); the rest is here.
    """

    block_rows: ClassVar[int] = 65_536
    splits_files = False
    """Whether more than one file may be written for the same values."""

    def __init__(self, address: str = "", **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(address, **arguments)
        if not address:
            raise SinkError(f'`{self.name}` needs an address, for example `{self.name}("out/x")`')
        if "\0" in address:
            raise SinkError(f"the address {address!r} contains a NUL character")
        self.template = Template.of(address, self.wanted_names)
        self._parts: dict[tuple[str | None, ...], Part] = {}
        self._done: list[Part] = []
        self._published: list[WrittenFile] = []
        self._made: list[Path] = []
        self._router: Blocks | None = None
        self._schema: pa.Schema | None = None
        self._error: SinkError | None = None
        self._turn = 0

    @abstractmethod
    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Begin a file of this schema."""

    def paths(self) -> list[str]:
        """The address."""
        return [self.address]

    def path_of(self, values: tuple[str | None, ...]) -> Path:
        """Where the rows with these values go."""
        return Path(self.template.fill(values))

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """The schema as the file has it; all of it by default."""
        return schema

    def open(self, schema: pa.Schema) -> None:
        """Make the file now, so that a place that cannot be written is found before the run."""
        self._schema = schema
        self.template.check(schema)
        if self.template.names:
            self._router = Blocks(schema, _ROUTED_ROWS)
            base = Path(self.template.text.split("{", 1)[0] + "x").parent
            self._made = _probe(base)
        else:
            self._guarded_part(()).open()

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        self._refuse_after_error()
        try:
            if self._router is None:
                self.fill((), batch)
                return
            for block in self._router.push(batch):
                self._route(block)
        except SinkError as error:
            self._error = error
            raise

    def close(self) -> list[WrittenFile]:
        """Finish every file, then rename them all."""
        self._refuse_after_error()
        try:
            if self._router is not None:
                rest = self._router.rest()
                if rest is not None:
                    self._route(rest)
            for values in list(self._parts):
                self.finish(values)
            self.publish()
        except SinkError as error:
            self._error = error
            self.abort()
            raise
        return self._published

    def abort(self) -> None:
        """Remove all temporaries, and directories that were made and are empty."""
        for part in (*self._parts.values(), *self._done):
            if part.file is not None:
                part.file.discard()
        self._parts, self._done = {}, []
        remove_directories(self._made)
        self._error = self._error or SinkError(f"`{self.address}` was given up")

    def fill(self, values: tuple[str | None, ...], rows: pa.RecordBatch) -> None:
        """Rows with these values, in order."""
        self._guarded_part(values).push(rows)

    def finish(self, values: tuple[str | None, ...]) -> None:
        """The file of these values is complete."""
        part = self._parts.pop(values)
        self._done.append(part)  # before it may fail, so that `abort` finds it
        part.finish()

    def publish(self) -> None:
        """Make the finished files visible, and the renames last."""
        for part in self._done:
            assert part.file is not None
            part.file.publish()
            self._published.append(WrittenFile(str(part.path), part.rows, part.file.size_bytes))
        for directory in dict.fromkeys(
            at for part in self._done for at in (part.path.parent, part.path.parent.parent)
        ):
            sync_directory(directory)
        self._done = []

    def _guarded_part(self, values: tuple[str | None, ...]) -> Part:
        """The file of these values, begun if need be."""
        part = self._parts.get(values)
        if part is None:
            assert self._schema is not None
            part = Part(self, self.path_of(values), self.stored(self._schema))
            self._parts[values] = part
        self._turn += 1
        part.used = self._turn
        return part

    def _route(self, block: pa.RecordBatch) -> None:
        """Give the rows of a block to their files, and hold the bounds on memory and files."""
        assert self._schema is not None
        for values, rows in self.template.split(block):
            self.fill(values, rows)
        self._bound_memory()
        self._bound_files()

    def _bound_memory(self) -> None:
        waiting = sum(p.blocks.pending_rows for p in self._parts.values())
        if waiting <= _PENDING_ROWS:
            return
        for part in sorted(self._parts.values(), key=lambda p: (-p.blocks.pending_rows, p.used)):
            waiting -= part.blocks.pending_rows
            part.flush()
            self._bound_files()
            if waiting <= _PENDING_ROWS // 2:
                return

    def _bound_files(self) -> None:
        opened = [(p.used, values) for values, p in self._parts.items() if p.file is not None]
        if len(opened) <= _OPEN_FILES:
            return
        if not self.splits_files:
            raise SinkError(
                f"`{self.address}` would keep more than {_OPEN_FILES} files open; "
                "use fewer values, or `parquet` with `partition=[…]`"
            )
        for _, values in sorted(opened)[: len(opened) - _OPEN_FILES // 2]:
            self.finish(values)

    def _refuse_after_error(self) -> None:
        if self._error is not None:
            raise self._error
        assert self._schema is not None, "write before open"


def _probe(directory: Path) -> list[Path]:
    """Find out now whether files can be made here; gives the directories that were made."""
    from_nothing = not directory.exists()
    probe = AtomicFile(directory / f"probe-{os.getpid()}")
    probe.discard()
    return make_directories(directory) if from_nothing else []
