"""What the messages of Arrow IPC say of themselves, read before Arrow believes it.

A message is a length, a flatbuffer of that length, and a body. The flatbuffer of a batch lists where in
the body each buffer lies; a compressed buffer begins with the bytes that it unpacks to, which Arrow
allocates at once. Only the few fields that these bounds need are read, each of them within its message.

References
----------
The Arrow columnar format, "Serialization and interprocess communication": https://arrow.apache.org/docs/format/Columnar.html
FlatBuffers, "Internals": https://flatbuffers.dev/internals/
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from flowedge.sources.limits import LIMITS, check_ratio, check_rows, exceeded

_CONTINUES = 0xFFFF_FFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_BLOCK_BYTES = 24
_TAIL = 10
"""Bytes behind the footer of a file: its length, and the magic."""
_PREVIEW = b"ARROW:experimental_compression"
"""Says that buffers are compressed in what was written in early 2020."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer; what lies outside the buffer raises ValueError."""

    data: bytes
    at: int

    def number(self, code: str, at: int) -> int:
        """A number at a place of the buffer."""
        if at < 0 or at + struct.calcsize(code) > len(self.data):
            raise ValueError("its metadata points outside itself")
        found: int = struct.unpack_from(code, self.data, at)[0]
        return found

    def place(self, field: int) -> int | None:
        """Where the value of a field stands; None if it has its default."""
        table = self.at - self.number("<i", self.at)
        slot = 4 + 2 * field
        if slot >= self.number("<H", table):
            return None
        offset = self.number("<H", table + slot)
        return self.at + offset if offset else None

    def value(self, field: int, code: str) -> int:
        """A number; 0 if it is not there."""
        at = self.place(field)
        return 0 if at is None else self.number(code, at)

    def table(self, field: int) -> "_Table | None":
        """A table inside this one."""
        at = self.place(field)
        return None if at is None else _Table(self.data, at + self.number("<I", at))

    def structs(self, field: int, size: int) -> bytes:
        """The elements of a list of structs of `size` bytes, or of offsets, as they lie there."""
        at = self.place(field)
        if at is None:
            return b""
        at += self.number("<I", at)
        end = at + 4 + size * self.number("<I", at)
        if end > len(self.data):
            raise ValueError("its metadata points outside itself")
        return self.data[at + 4 : end]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a batch or a dictionary says.

    Attributes
    ----------
    is_batch : else a dictionary, which comes before the batches that use it
    is_compressed : its buffers are not those of the file
    unpacked : bytes that its compressed buffers unpack to
    rows : as it says
    """

    is_batch: bool
    is_compressed: bool
    unpacked: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of a mapped file or stream, looked at one after the other.

    Parameters
    ----------
    path : for what is said of it
    data : the file
    trusted : look without limits
    """

    path: str
    data: mmap.mmap | bytes | memoryview
    trusted: bool

    def pieces(self, *, is_file: bool) -> Iterator[Piece]:
        """Dictionaries and batches in the order in which Arrow reads them, as far as they are asked for.

        Raises
        ------
        SourceError : more than `LIMITS`
        ValueError : no such metadata
        """
        return self._of_file() if is_file else self._of_stream()

    def body(self) -> int:
        """Bytes of the body behind the metadata, which is all that is there; raises SourceError, ValueError."""
        message, _ = self._message(0)
        body = 0 if message is None else message.value(3, "<q")
        if body < 0:
            raise ValueError("a body of negative length")
        return body

    def only(self) -> tuple[int, Piece | None, tuple[int, bool]]:
        """What the one message that is there says, with its body.

        Returns
        -------
        kind : 1 a schema, 2 a dictionary, 3 a batch
        piece : of a dictionary or a batch
        dictionary : its number, and whether it goes on with what is known of it

        Raises
        ------
        SourceError : more than `LIMITS`
        ValueError : no such metadata
        """
        message, begin = self._message(0)
        if message is None:
            raise ValueError("it has no message")
        kind, header = message.value(1, "<B"), message.table(2)
        number = (0, False)
        if kind == _DICTIONARY and header is not None:
            number = (header.value(0, "<q"), bool(header.value(2, "<B")))
        return kind, self._piece(message, begin), number

    def _of_stream(self) -> Iterator[Piece]:
        at = 0
        while at + 8 <= len(self.data):
            message, begin = self._message(at)
            if message is None:
                return
            body = message.value(3, "<q")
            if body < 0:
                raise ValueError("a body of negative length")
            piece = self._piece(message, begin)
            if piece is not None:
                yield piece
            at = begin + body

    def _of_file(self) -> Iterator[Piece]:
        """The footer tells where dictionaries and batches lie."""
        data = self.data
        size = int.from_bytes(data[-_TAIL:-6], "little", signed=True)
        if not 0 < size <= len(data) - _TAIL:
            raise ValueError("its footer has no such length")
        raw = bytes(data[-_TAIL - size : -_TAIL])
        footer = _Table(raw, int.from_bytes(raw[:4], "little"))
        blocks = [footer.structs(field, _BLOCK_BYTES) for field in (2, 3)]
        self._check_metadata(size - sum(map(len, blocks)))
        self._check_columns(footer.table(1))
        for block in blocks:
            for at, _, _ in struct.iter_unpack("<qi4xq", block):
                message, begin = self._message(at)
                piece = None if message is None else self._piece(message, begin)
                if piece is None:
                    raise ValueError("its footer points at what is no batch")
                yield piece

    def _message(self, at: int) -> tuple[_Table | None, int]:
        """The message at a place, and where its body begins; None at the end of the stream."""
        if not 0 <= at <= len(self.data) - 8:
            raise ValueError("a message lies outside it")
        mark, length = struct.unpack_from("<Ii", self.data, at)
        at += 8
        if mark != _CONTINUES:  # as it was before 2019: the length alone
            length, at = int(mark), at - 4
        if length == 0:
            return None, at
        if not 0 < length <= len(self.data) - at:
            raise ValueError("a message ends outside it")
        self._check_metadata(length)
        raw = bytes(self.data[at : at + length])
        return _Table(raw, int.from_bytes(raw[:4], "little")), at + length

    def _piece(self, message: _Table, begin: int) -> Piece | None:
        """What a message says, within the limits; None if it is neither a batch nor a dictionary."""
        kind, header = message.value(1, "<B"), message.table(2)
        if kind == _SCHEMA:
            self._check_columns(header)
        if kind not in (_DICTIONARY, _BATCH):
            return None
        batch = header.table(1) if kind == _DICTIONARY and header is not None else header
        if batch is None:
            raise ValueError("a batch without a header")
        what = "a batch" if kind == _BATCH else "a dictionary"
        is_compressed = batch.place(3) is not None or _PREVIEW in message.data
        rows, unpacked = batch.value(0, "<q"), 0
        if not self.trusted:
            check_rows(self.path, what, rows)
            if is_compressed:
                stored = min(message.value(3, "<q"), len(self.data) - begin)
                unpacked = self._unpacked(batch, begin, stored)
                check_ratio(self.path, what, stored, unpacked)
        return Piece(kind == _BATCH, is_compressed, unpacked, rows)

    def _unpacked(self, batch: _Table, begin: int, stored: int) -> int:
        """Bytes that Arrow would allocate for the buffers of a compressed batch."""
        total = 0
        for offset, length in struct.iter_unpack("<qq", batch.structs(2, 16)):
            if not length:
                continue
            if offset < 0 or length < 8 or offset + length > stored:
                raise ValueError("a buffer lies outside its batch")
            (claimed,) = struct.unpack_from("<q", self.data, begin + offset)
            if claimed < -1:
                raise ValueError("a buffer of negative length")
            total += length - 8 if claimed == -1 else claimed  # -1: it did not get smaller
        return total

    def _check_metadata(self, size: int) -> None:
        if size > LIMITS.metadata_bytes and not self.trusted:
            raise exceeded(
                self.path, f"has metadata of {size:,} bytes", f"{LIMITS.metadata_bytes:,}"
            )

    def _check_columns(self, schema: _Table | None) -> None:
        columns = 0 if schema is None else len(schema.structs(1, 4)) // 4
        if columns > LIMITS.columns and not self.trusted:
            raise exceeded(self.path, f"has {columns:,} columns", f"{LIMITS.columns:,}")
