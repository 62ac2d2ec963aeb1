"""What all file sinks share: exact blocks, one file or many, and nothing seen before it is committed."""

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks import disk
from flowedge.sinks.atomic import (
    AtomicFile,
    explained,
    sync_directory,
    temporary_of,
)
from flowedge.sinks.blocks import Blocks
from flowedge.sinks.contract import Ready, Resumed, Sink, WrittenFile
from flowedge.sinks.leftovers import is_whole, probe, sweep
from flowedge.sinks.manifest import ASIDE, Listed, Manifest
from flowedge.sinks.part import Part, Values, Writer
from flowedge.sinks.template import Template

_ROUTED_ROWS = 65_536
_PENDING_ROWS = 1 << 19
_OPEN_FILES = 256
"""Rows that are routed at once; rows that wait in all files together; files open at once. Each is
looked at only at the end of a routed block, so that it does not depend on how rows are pushed."""
_LOGGED_ROWS = 1 << 22
"""Rows that may have come after the first row of a file that rolls, beside four times those that open files
hold: a checkpoint keeps the rows from the first one on that no complete file has."""

At = range | npt.NDArray[np.int64]
"""The numbers of rows in the stream of the sink, from 0: a range, or an array."""


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
        self._parts: dict[Values, Part] = {}
        self._done: list[Part] = []
        self._ready: list[Ready] = []
        self._made: list[Path] = []
        self._router: Blocks | None = None
        self._schema: pa.Schema | None = None
        self._error: SinkError | None = None
        self._manifest: Manifest | None = None
        self._taken = 0
        self._turn = 0
        self._is_kept = False  # a checkpoint may speak of the unfinished files
        self._named: set[Path] = set()  # whose temporary names outlast a loss of power

    @abstractmethod
    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Begin a file of this schema."""

    def writer_again(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Go on in a file: what it holds is written once more, which the file compares instead of keeping it.

        This is for formats without a beginning, whose blocks do not know of each other.
        """
        file.repeat()
        return self.writer(file, schema)

    @property
    def appends(self) -> bool:
        """Whether `writer_again` can go on in a file of this format."""
        return True

    @property
    def grows(self) -> bool:
        """Files grow on the disk from checkpoint to checkpoint, so that no log of the rows is needed."""
        return self.appends and self.holds_back and self.durability == "commit" and not self.rolls

    def paths(self) -> list[str]:
        """The address."""
        return [self.address]

    def path_of(self, values: Values) -> Path:
        """Where the rows with these values go."""
        return Path(self.template.fill(values))

    def owns(self, path: Path) -> bool:
        """Whether a file with these values could be called that."""
        return self.template.matches(str(path))

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """The schema as the file has it; all of it by default."""
        return schema

    @property
    def place(self) -> tuple[Path, str]:
        """The folder that holds all files whatever their values, and what they are called in it."""
        text = self.address.rstrip("/")
        plain = text.split("{", 1)[0] + "x" if self.template.names else text
        base = Path(plain).parent
        return base, os.path.relpath(text, base)

    @property
    def listed_as(self) -> str:
        """A glob for all files that this sink could write, in the folder of `place`."""
        name = self.place[1]
        return self.template.glob(name)

    @property
    def manifest(self) -> Manifest:
        """The list of the files, in the folder that holds them all."""
        if self._manifest is None:
            base, name = self.place
            told = self.provenance
            header = {"pattern": self.listed_as, **told.header}
            self._manifest = Manifest(base, name, header, told.sign)
        return self._manifest

    # ---- from the beginning, or from a checkpoint

    def recover(self, resumed: Resumed) -> list[str]:
        """Show what the checkpoint decided to show; put aside what it does not know of."""
        count = resumed.committed + len(resumed.ready)
        told: list[str] = []
        waiting = [one for one in resumed.ready if self._waits(one, told)]
        growing = self._growing(resumed.state)
        if not self.holds(resumed.state):
            raise SinkError(
                f"DATA LOSS: rows of `{self.address}` were synced to `{next(iter(growing))}` and are not there now; "
                "put it back, or start afresh without the state"
            )
        if len(self.manifest.files_on_disk()) < count:  # killed between the checkpoint and the list
            self.manifest.resume(resumed.committed)
            self._announce(resumed.ready)
        later = self.manifest.resume(count)
        self._show(waiting)
        self._sync_names(resumed.ready)  # also of those that were renamed, and perhaps not to last
        if later:
            moved = [
                name
                for one in later
                if not self._took_back(one, growing) and (name := self._put_aside(one))
            ]
            self.manifest.write(is_complete=False)
            if moved:
                told.append(
                    f"files of a later checkpoint, which could not be used, were moved to "
                    f"`{self.manifest.base / ASIDE}`: {', '.join(moved)}"
                )
        return told

    def open(self, schema: pa.Schema, resumed: Resumed | None = None) -> None:
        """Make the file now, so that a place that cannot be written is found before the run."""
        self._schema = schema
        self.template.check(schema)
        if resumed is None:
            self.manifest.begin()
            if self.holds_back and self.manifest.earlier:  # before a checkpoint counts the files
                self.manifest.write(is_complete=False)
        if self.template.names:
            self._router = Blocks(schema, _ROUTED_ROWS)
            self._made = probe(self.manifest.base)
        if resumed is not None and resumed.state:
            self._go_on(resumed)
        elif not self.template.names:
            self._guarded_part((), 0).open()
        if self.template.names or self.splits_files:
            depth = len(Path(os.path.relpath(self.template.text, self.manifest.base)).parts)
            sweep(self.manifest.base, depth, self.owns)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the rows that are in no block of a file yet; may be asked from another thread."""
        out = sum(part.blocks.pending_bytes for part in list(self._parts.values()))
        return out + (0 if self._router is None else self._router.pending_bytes)

    def state(self) -> dict[str, Any]:
        """How far the files are that are not complete."""
        if self.grows:
            return self._grown()
        routed = self._taken - (self._router.pending_rows if self._router is not None else 0)
        return {
            "from": min((p.first for p in self._parts.values()), default=routed),
            "taken": self._taken,
            "routed": routed,
            "turn": self._turn,
            "parts": [[list(v), p.first, p.cuts, p.used] for v, p in self._parts.items()],
        }

    def _grown(self) -> dict[str, Any]:
        """Sync the files that are not complete; raises SinkError."""
        self._refuse_after_error()
        self._is_kept = True
        try:
            parts = [[list(values), part.grown()] for values, part in self._parts.items()]
            new = {p.path for p in self._parts.values() if p.file is not None} - self._named
            for folder in sorted({path.parent for path in new}):
                sync_directory(folder)
        except SinkError as error:
            self._error = error
            raise
        self._named |= new
        waiting = None if self._router is None else self._router.state()
        return {"from": 0, "taken": self._taken, "turn": self._turn, "grown": parts, "waiting": waiting}  # fmt: skip

    def _go_on_growing(self, state: dict[str, Any]) -> None:
        """Go on behind what the files that were not complete held at the checkpoint."""
        assert self._schema is not None
        self._is_kept = True
        for values, kept in state["grown"]:
            path = self.path_of(tuple(values))
            part = Part(self, path, self.stored(self._schema), kept["first"])
            self._parts[tuple(values)] = part
            part.go_on(kept)
            if part.file is not None:
                self._named.add(path)
        if self._router is not None:
            self._router.load(state["waiting"])

    def _go_on(self, resumed: Resumed) -> None:
        """Fill the files that were not complete with the rows that they had, in the same blocks."""
        assert resumed.state is not None
        assert self._schema is not None
        state = resumed.state
        self._taken, self._turn = state["taken"], state["turn"]
        if self.grows:
            self._go_on_growing(state)
            return
        cuts: dict[Values, deque[int]] = {}
        for values, first, lengths, used in state["parts"]:
            key = tuple(values)
            part = Part(self, self.path_of(key), self.stored(self._schema), first)
            part.used = used
            self._parts[key], cuts[key] = part, deque(lengths)
        for first, batch in resumed.rows:
            routed = min(max(state["routed"] - first, 0), batch.num_rows)
            for values, rows, at in self._split(batch.slice(0, routed), first):
                found = self._parts.get(values)
                if found is not None:
                    mine = int(np.searchsorted(np.asarray(at), found.first))
                    found.push_again(self._kept(rows).slice(mine), cuts[values])
            if routed < batch.num_rows:
                assert self._router is not None
                for block in self._router.push(batch.slice(routed)):
                    raise SinkError(
                        f"`{self.address}`: the checkpoint holds {block.num_rows} rows too many"
                    )

    def _split(
        self, block: pa.RecordBatch, first: int
    ) -> Iterator[tuple[Values, pa.RecordBatch, At]]:
        """Rows by their values, each with its number in the stream."""
        if self._router is None:
            if block.num_rows:
                yield (), block, range(first, first + block.num_rows)
            return
        for values, rows, order in self.template.split(block):
            yield values, rows, first + order

    def _kept(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The columns that are stored."""
        names = self.stored(rows.schema).names
        return rows if len(names) == rows.num_columns else rows.select(names)

    # ---- rows

    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows."""
        self._refuse_after_error()
        try:
            first = self._taken
            self._taken += batch.num_rows
            if self._router is None:
                if batch.num_rows:
                    self.fill((), batch, range(first, self._taken))
                return
            first -= self._router.pending_rows
            for block in self._router.push(batch):
                self._route(block, first)
                first += block.num_rows
        except SinkError as error:
            self._error = error
            raise

    def fill(self, values: Values, rows: pa.RecordBatch, at: At) -> None:
        """Rows with these values, in order."""
        self._guarded_part(values, at[0]).push(self._kept(rows))

    def complete(self, values: Values) -> None:
        """The file of these values is complete."""
        part = self._parts.pop(values)
        self._done.append(part)  # before it may fail, so that `abort` finds it
        part.finish()

    # ---- the end of files

    def finish(self) -> None:
        """Complete every file."""
        self._refuse_after_error()
        try:
            if self._router is not None:
                rest = self._router.rest()
                if rest is not None:
                    self._route(rest, self._taken - rest.num_rows)
            for values in list(self._parts):
                self.complete(values)
        except SinkError as error:
            self._error = error
            raise

    def prepare(self) -> list[Ready]:
        """Make the temporary names last: the bytes are synced."""
        if self.durability != "os":
            for folder in dict.fromkeys(part.path.parent for part in self._done):
                sync_directory(folder)
        for part in self._done:
            assert part.file is not None
            digest = part.file.digest
            self._ready.append(Ready(str(part.path), part.rows, part.file.size_bytes, digest))
        self._done = []
        return list(self._ready)

    def commit(self) -> list[WrittenFile]:
        """List the files, rename them, and make the renames last."""
        if not self._ready:
            return []
        self._announce(self._ready)
        self._show(self._ready)
        self._sync_names(self._ready)
        shown = [WrittenFile(one.path, one.rows, one.size_bytes) for one in self._ready]
        self._ready = []
        return shown

    def _announce(self, ready: Iterable[Ready]) -> None:
        told = [(Path(r.path), r.size_bytes, r.rows, r.digest) for r in ready]
        self.manifest.announce(told)

    def _show(self, ready: Iterable[Ready]) -> None:
        """Rename files to their own names."""
        for one in ready:
            path = Path(one.path)
            try:
                disk.calls.rename(temporary_of(path), path)
            except OSError as error:
                raise explained(path, error) from None

    def _sync_names(self, ready: Iterable[Ready]) -> None:
        if self.durability != "os":
            for folder in dict.fromkeys(Path(one.path).parent for one in ready):
                sync_directory(folder)

    @property
    def shown(self) -> int:
        """As the list has it."""
        return len(self.manifest.files)

    def files(self) -> list[WrittenFile]:
        """As the list has them."""
        base = self.manifest.base
        return [WrittenFile(str(base / f.path), f.rows, f.size_bytes) for f in self.manifest.files]

    def settle(self) -> None:
        """Parts that runs before have left are removed; files of other values stay."""
        self.manifest.tell(self.provenance.closing)
        self.manifest.settle(removes=self.splits_files)

    def abort(self) -> None:
        """Remove all temporaries that no checkpoint speaks of, and directories that were made and are empty."""
        for part in (*self._parts.values(), *self._done):
            if part.file is not None and self._is_kept:
                part.file.release()
            elif part.file is not None:
                part.file.discard()
        if not self.holds_back:
            for one in self._ready:
                disk.remove(temporary_of(Path(one.path)))
        self._parts, self._done, self._ready = {}, [], []
        disk.remove_directories(self._made)
        self._error = self._error or SinkError(f"`{self.address}` was given up")

    # ---- parts

    def _guarded_part(self, values: Values, first: int | np.int64) -> Part:
        """The file of these values, begun if need be."""
        part = self._parts.get(values)
        if part is None:
            assert self._schema is not None
            part = Part(self, self.path_of(values), self.stored(self._schema), int(first))
            self._parts[values] = part
        self._turn += 1
        part.used = self._turn
        return part

    def _route(self, block: pa.RecordBatch, first: int) -> None:
        """Give the rows of a block to their files, and hold the bounds on memory, files and rows."""
        for values, rows, at in self._split(block, first):
            self.fill(values, rows, at)
        self._bound_memory()
        self._bound_files()
        if self.rolls:
            self._bound_log(first + block.num_rows)

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
            self.complete(values)

    def _bound_log(self, routed: int) -> None:
        """Complete the files of values that have fallen silent, or their first rows are kept for ever."""
        held = sum(p.rows + p.blocks.pending_rows for p in self._parts.values())
        for values, part in sorted(self._parts.items(), key=lambda p: (p[1].first, p[1].used)):
            if routed - part.first <= _LOGGED_ROWS + 4 * held:
                return
            held -= part.rows + part.blocks.pending_rows
            self.complete(values)

    def _refuse_after_error(self) -> None:
        if self._error is not None:
            raise self._error
        assert self._schema is not None, "write before open"

    # ---- cleaning up after others

    def _waits(self, one: Ready, told: list[str]) -> bool:
        """Whether a file that a checkpoint decided to show is still to be shown."""
        path = Path(one.path)
        try:
            if is_whole(temporary_of(path), one):
                return True
            if is_whole(path, one):
                return False
        except OSError as error:
            raise explained(path, error) from None
        lost = (
            f"`{path}` ({one.rows:,} rows) was written before the checkpoint and is not there now"
        )
        if self.durability != "os":
            raise SinkError(f"DATA LOSS: {lost}; put it back, or start afresh without the state")
        told.append(f"{lost}, as `durability os` allows")
        return False

    def holds(self, state: dict[str, Any] | None) -> bool:
        """Whether the files that grow are there, unfinished or, after a later checkpoint, finished."""
        for path, size in self._growing(state).items():
            found = [p for p in (temporary_of(path), path) if p.is_file()]
            if not any(p.stat().st_size >= size for p in found):
                return False
        return True

    def _growing(self, state: dict[str, Any] | None) -> dict[Path, int]:
        """Files that a checkpoint speaks of before they are complete, with the bytes that they had."""
        parts = (state or {}).get("grown", ())
        return {self.path_of(tuple(v)): kept["kept"][0] for v, kept in parts if kept["kept"] is not None}  # fmt: skip

    def _took_back(self, one: Listed, growing: Collection[Path]) -> bool:
        """Give a file of a later checkpoint its temporary name back, if it is to go on from an earlier one."""
        path = self.manifest.base / one.path
        unfinished = temporary_of(path)
        if path not in growing or unfinished.exists() or not path.is_file():
            return False
        try:
            disk.calls.rename(path, unfinished)
        except OSError as error:
            raise explained(path, error) from None
        sync_directory(path.parent)
        return True

    def _put_aside(self, one: Listed) -> str:
        """Move a file of a later checkpoint out of the readers' sight; its name, if it was there."""
        path = self.manifest.base / one.path
        aside = self.manifest.base / ASIDE / one.path
        try:
            if not path.is_file():
                return ""
            disk.make_directories(aside.parent)
            disk.calls.rename(path, aside)
        except OSError as error:
            raise explained(path, error) from None
        sync_directory(aside.parent)
        sync_directory(path.parent)
        return one.path
