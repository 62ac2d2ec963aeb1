"""Rows that no complete file has yet, kept so that a checkpoint can speak of them.

A log is a row of segments, files that only grow. Rows come in frames: u32 magic, u32 CRC-32 of what
follows, u64 length, u64 number of the first row, and the rows as an Arrow IPC stream of its own. A
checkpoint notes how long the log was; what stands behind that was never promised, and is cut off when a
run goes on. Segments are left behind once no checkpoint needs their rows (the log of a log-structured
store: Rosenblum and Ousterhout, ACM TOCS 10, 1992, without their cleaner).
"""

import io
import os
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

import pyarrow as pa

from flowedge.lang.errors import CheckpointError, SinkError
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.sinks import disk
from flowedge.sinks.atomic import explained, sync_directory
from flowedge.types.encryption import Cipher

_MAGIC = 0x57_4F_52_46  # "FROW"
_HEAD = 4 + 4 + 8 + 8
_FRAME_BYTES = 4 << 20
_SEGMENT_BYTES = 64 << 20

Mark = dict[str, int]
"""Where a log ends: ``segment`` (number of its first row), ``bytes`` of it, ``rows`` of the whole stream."""


class RowLog:
    """The log of one output.

    Parameters
    ----------
    folder : its segments, one file each, named by the number of their first row
    cipher : encrypts the rows; None: they are plain
    sync_every_s : 0: synced at every mark; inf: never; else at marks, when so much time has passed [s]
    clock : says how much has
    segment_bytes : at which a segment is left behind

    Attributes
    ----------
    rows : rows of the stream so far
    """

    def __init__(
        self,
        folder: Path,
        sync_every_s: float = 0.0,
        cipher: Cipher | None = None,
        clock: Clock = SYSTEM,
        segment_bytes: int | None = None,
    ) -> None:
        self.folder, self._sync_every_s, self._cipher = folder, sync_every_s, cipher
        self._segment_bytes = _SEGMENT_BYTES if segment_bytes is None else segment_bytes
        self._clock = clock
        self.rows = 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._descriptor = -1
        self._segment = 0
        self._bytes = 0
        self._is_new = False
        self._failure: SinkError | None = None
        self._synced_at = self._clock.s()

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that are not written yet."""
        return self._waiting_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of its segments on the disk."""
        return sum(path.stat().st_size for _, path in self._segments())

    # ---- writing

    def append(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are on their way to the disk after `mark`.

        Raises
        ------
        SinkError : they cannot be written
        """
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._waiting_bytes >= _FRAME_BYTES:
            self._write()

    def flush(self) -> None:
        """Write all rows, so that `read` finds them; raises SinkError."""
        self._write()

    def skip_to(self, number: int) -> None:
        """The next row has this number: those before are kept elsewhere; raises SinkError."""
        if number != self.rows:
            self._write()
            self.rows = number

    def mark(self) -> Mark:
        """Write all rows, sync them as the policy has it, and tell where the log ends.

        Raises
        ------
        SinkError : the disk is full or has failed; the log is to be given up
        """
        self._write()
        is_due = self._clock.s() - self._synced_at >= self._sync_every_s
        if self._descriptor >= 0 and is_due:
            self._sync()
        told = {"segment": self._segment, "bytes": self._bytes, "rows": self.rows}
        if self._descriptor >= 0 and self._bytes >= self._segment_bytes:
            if not is_due and self._sync_every_s != float("inf"):
                self._sync()
            self._leave()
        return told

    def _write(self) -> None:
        if self._failure is not None:
            raise self._failure  # rows are missing from it; another thread may not have heard of that
        if not self._waiting:
            return
        first = self.rows - sum(b.num_rows for b in self._waiting)
        body = io.BytesIO()
        with pa.ipc.new_stream(body, self._waiting[0].schema) as writer:
            for batch in self._waiting:
                writer.write_batch(batch)
        self._waiting, self._waiting_bytes = [], 0
        number = first.to_bytes(8, "little")
        rows: bytes | memoryview = body.getbuffer()
        if self._cipher is not None:
            rows = self._cipher.seal(bytes(rows), number)
        check = zlib.crc32(rows, zlib.crc32(number))
        head = _MAGIC.to_bytes(4, "little") + check.to_bytes(4, "little")
        head += len(rows).to_bytes(8, "little") + number
        try:
            if self._descriptor < 0:
                self._segment, self._bytes = first, 0
                path = self._path(first)
                disk.make_directories(self.folder)
                self._descriptor = disk.calls.create(path, fresh=True)
                self._is_new = True
            disk.write_all(self._descriptor, head)
            disk.write_all(self._descriptor, rows)
        except OSError as error:
            self._failure = explained(self._path(self._segment), error)
            raise self._failure from None
        self._bytes += len(head) + len(rows)
        if self._bytes >= self._segment_bytes and self._sync_every_s == float("inf"):
            self._leave()  # nobody syncs it, so that no mark need speak of it

    def _sync(self) -> None:
        try:
            disk.calls.sync(self._descriptor)
            if self._is_new:
                disk.calls.sync_directory(self.folder)
        except OSError as error:
            raise explained(self._path(self._segment), error) from None
        self._is_new = False
        self._synced_at = self._clock.s()

    def _leave(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # ---- going on

    def holds(self, mark: Mark) -> bool:
        """Whether all that a checkpoint speaks of is there."""
        if not mark["bytes"]:
            return True
        try:
            size = self._path(mark["segment"]).stat().st_size
        except OSError:
            return False
        if size < mark["bytes"]:
            return False
        if self._sync_every_s == 0:
            return True
        # What was not synced may have its length and not its bytes.
        return self._good(mark["segment"], mark["bytes"])[0] == mark["bytes"]

    def restore(self, mark: Mark) -> int:
        """Cut off what stands behind a mark, and go on there; the number of rows that are missing.

        Raises
        ------
        SinkError : it cannot be cut
        """
        self.rows = mark["rows"]
        lost = 0
        try:
            for first, path in self._segments():
                if first > mark["segment"] or (first == mark["segment"] and not mark["bytes"]):
                    disk.calls.unlink(path)
            if not mark["bytes"]:
                return 0
            bytes_, rows = mark["bytes"], mark["rows"]
            if not self.holds(mark):
                bytes_, rows = self._good(mark["segment"], mark["bytes"])
                lost = mark["rows"] - rows
            path = self._path(mark["segment"])
            if bytes_:
                self._segment, self._bytes = mark["segment"], bytes_
                self._descriptor = disk.calls.create(path)
                if os.fstat(self._descriptor).st_size > bytes_:
                    disk.calls.truncate(self._descriptor, bytes_)
            else:
                disk.calls.unlink(path)
            if lost:
                self._leave()
        except OSError as error:
            raise explained(self.folder, error) from None
        return lost

    def read(self, first: int = 0, upto: int | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows from number `first` on, in order, before `upto`; each batch with its first number.

        Raises
        ------
        CheckpointError : "DATA LOSS": a frame is damaged
        """
        upto = self.rows - sum(b.num_rows for b in self._waiting) if upto is None else upto
        segments, reached = self._segments(), first
        for k, (start, path) in enumerate(segments):
            if start >= upto or (k + 1 < len(segments) and segments[k + 1][0] <= first):
                continue
            for number, batch in self._frames(path, first, upto):
                skip = max(0, first - number)
                keep = min(batch.num_rows, upto - number) - skip
                if keep > 0:
                    self._require(reached, number + skip)
                    reached = number + skip + keep
                    yield number + skip, batch.slice(skip, keep)
        self._require(reached, max(first, upto))

    def _require(self, reached: int, number: int) -> None:
        """Rows between two numbers may be missing only where they were never synced."""
        if reached != number and self._sync_every_s == 0:
            raise CheckpointError(
                f"DATA LOSS: rows {reached + 1:,} to {number:,} are not in `{self.folder}` any more, and are in no "
                "complete file yet; start afresh without the state"
            )

    def _frames(self, path: Path, first: int, upto: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows of a segment, but for frames that end before `first`; nothing behind `upto` is looked at."""
        number = -1
        try:
            with path.open("rb") as file:
                _pass_over(file, first)
                while number < upto and (head := file.read(_HEAD - 8)):
                    content = file.read(8 + int.from_bytes(head[8:16], "little"))
                    number = int.from_bytes(content[:8], "little")
                    if len(content) >= 8 and number >= upto:
                        return
                    if not _is_whole(head, content):
                        raise CheckpointError(
                            f"DATA LOSS: `{path}` is damaged, and rows in it are in no complete file yet; "
                            "start afresh without the state"
                        )
                    for batch in self._rows(content):
                        yield number, batch
                        number += batch.num_rows
        except OSError as error:
            raise SinkError(f"cannot read `{path}`: {error.strerror or error}") from None

    def _rows(self, content: bytes) -> list[pa.RecordBatch]:
        """The rows of a frame that is whole."""
        rows = content[8:]
        if self._cipher is not None:
            rows = self._cipher.open(rows, content[:8])
        with pa.ipc.open_stream(pa.BufferReader(rows)) as stream:
            return list(stream)

    def _good(self, segment: int, upto: int) -> tuple[int, int]:
        """How many bytes of a segment are whole frames, and the number behind their last row."""
        done, rows = 0, segment
        try:
            with self._path(segment).open("rb") as file:
                while done < upto and len(head := file.read(_HEAD - 8)) == _HEAD - 8:
                    length = 8 + int.from_bytes(head[8:16], "little")
                    content = file.read(min(length, upto))
                    if len(content) != length or not _is_whole(head, content):
                        break
                    done += len(head) + length
                    rows = int.from_bytes(content[:8], "little")
                    rows += sum(batch.num_rows for batch in self._rows(content))
        except OSError:
            pass
        return done, rows

    # ---- leaving behind

    def forget(self, before: int) -> None:
        """No checkpoint needs rows with lower numbers; raises SinkError."""
        segments = self._segments()
        try:
            for (_, path), (following, _) in pairwise(segments):
                if following <= before:
                    disk.calls.unlink(path)
        except OSError as error:
            raise explained(self.folder, error) from None

    def clear(self) -> None:
        """Remove all of it; raises SinkError."""
        self._leave()
        try:
            for _, path in self._segments():
                disk.calls.unlink(path)
        except OSError as error:
            raise explained(self.folder, error) from None

    def close(self) -> None:
        """Let go of the file; what `mark` has not told of is not kept."""
        self._leave()
        self._waiting = []

    def sync_folder(self) -> None:
        """Make removals last; raises SinkError."""
        if self.folder.is_dir():
            sync_directory(self.folder)

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:015d}.rows"

    def _segments(self) -> list[tuple[int, Path]]:
        """(number of the first row, path), in order."""
        if not self.folder.is_dir():
            return []
        found = self.folder.glob("*.rows")
        return sorted((int(path.stem), path) for path in found if path.stem.isdigit())


def _pass_over(file: IO[bytes], first: int) -> None:
    """Go to the last frame that begins at or before a row."""
    at, size = 0, os.fstat(file.fileno()).st_size
    while True:
        file.seek(at)
        following = at + _HEAD + int.from_bytes(file.read(16)[8:], "little")
        head = b""
        if following < size:
            file.seek(following)
            head = file.read(_HEAD)
        is_frame = len(head) == _HEAD and int.from_bytes(head[:4], "little") == _MAGIC
        if not is_frame or int.from_bytes(head[16:], "little") > first:
            file.seek(at)
            return
        at = following


def _is_whole(head: bytes, content: bytes) -> bool:
    """Whether a frame is what was written."""
    return (
        len(head) == _HEAD - 8
        and int.from_bytes(head[:4], "little") == _MAGIC
        and len(content) == 8 + int.from_bytes(head[8:16], "little")
        and zlib.crc32(content) == int.from_bytes(head[4:8], "little")
    )
