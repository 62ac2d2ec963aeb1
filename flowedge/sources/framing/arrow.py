"""A stream of Arrow IPC: each batch is rows as soon as it is whole, where the socket has put it.

A message is looked at before Arrow believes it (`flowedge.sources.arrow_messages`), and a batch validated in full. The
bytes of a message are read into a buffer of its own, which is that of the columns.

References
----------
The Arrow columnar format, "IPC Streaming Format": https://arrow.apache.org/docs/format/Columnar.html
"""

import struct

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.arrow_messages import Messages
from flowedge.sources.files import first_line
from flowedge.sources.framing.contract import Framer, FramingError, Payload, too_long
from flowedge.sources.limits import LIMITS
from flowedge.sources.payloads import LONGEST

_CONTINUES = 0xFFFF_FFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_HEAD = 8
_END = struct.pack("<II", _CONTINUES, 0)
_PLACE = "`stream` "


class Arrow(Framer):
    """The batches of one stream; it has one schema, and what follows its end mark is a stream again."""

    def __init__(self) -> None:
        self._front = bytearray()
        """Head and metadata of the message that comes."""
        self._message: pa.Buffer | None = None
        self._view = memoryview(b"")
        self._at = 0
        self._forget()

    def _forget(self) -> None:
        self._schema: pa.Schema | None = None
        self._told = b""
        self._dictionaries: dict[int, list[pa.Buffer]] = {}
        self._kept = 0

    def room(self) -> memoryview | None:
        """The rest of the message whose length is known."""
        return None if self._message is None else self._view[self._at :]

    def filled(self, size: int) -> list[Payload]:
        """The batch that is whole by so many more bytes."""
        self._at += size
        try:
            return self._done() if self._at == len(self._view) else []
        finally:
            self._count()

    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """Batches that are whole; raises FramingError at what is no stream, or beyond the bounds."""
        left = memoryview(data)
        while left or self._message is not None:
            if self._message is not None:
                size = min(len(left), len(self._view) - self._at)
                self._view[self._at : self._at + size] = left[:size]
                left = left[size:]
                self._at += size
                if self._at < len(self._view):
                    break
                out += self._done()
                continue
            size = min(len(left), self._missing())
            self._front += left[:size]
            left = left[size:]
            if size and len(self._front) == _HEAD:
                self._look_at_head()
            if self._front and not self._missing():
                self._begin()
        self._count()

    def _count(self) -> None:
        self.held = (self._at if self._message is not None else len(self._front)) + self._kept

    def end(self) -> list[Payload]:
        """Nothing; raises FramingError inside a message."""
        if self._front or self._message is not None:
            raise FramingError("it ends inside a message", "cut_short")
        return []

    # ---- one message

    def _missing(self) -> int:
        """Bytes of head and metadata that are still to come."""
        if len(self._front) < _HEAD:
            return _HEAD - len(self._front)
        return _HEAD + int.from_bytes(self._front[4:8], "little") - len(self._front)

    def _look_at_head(self) -> None:
        mark, size = struct.unpack_from("<Ii", self._front)
        if mark != _CONTINUES or not 0 <= size <= LIMITS.metadata_bytes:
            raise FramingError("it is no message of Arrow")
        if not size:  # the end mark
            self._front.clear()
            self._forget()

    def _begin(self) -> None:
        """The metadata is there: make room for the message."""
        front = self._front
        try:
            body = Messages("stream", bytes(front), trusted=False).body()
        except (SourceError, ValueError, struct.error) as error:
            raise self._lost(error) from None
        if len(front) + body > LONGEST:
            raise too_long()
        try:
            self._message = pa.allocate_buffer(len(front) + body)
        except (MemoryError, pa.ArrowException):
            raise FramingError("there is no memory for it", "over_memory") from None
        self._view = memoryview(self._message).cast("B")
        self._view[: len(front)] = front
        self._at = len(front)
        front.clear()

    def _done(self) -> list[Payload]:
        """The message is whole."""
        message, self._message, self._view, self._at = self._message, None, memoryview(b""), 0
        assert message is not None
        try:
            kind, piece, (number, goes_on) = Messages(
                "stream", memoryview(message).cast("B"), trusted=False
            ).only()
            if kind == _SCHEMA and self._schema is None:
                self._schema = pa.ipc.read_schema(pa.ipc.read_message(message))
                self._told = message.to_pybytes()
                return []
            if self._schema is None or piece is None or piece.unpacked > LONGEST:
                raise ValueError("it has a message where none may be")
            if kind == _DICTIONARY:
                self._keep(number, message, goes_on=goes_on)
                return []
            if self._dictionaries:
                known = [m.to_pybytes() for one in self._dictionaries.values() for m in one]
                whole = b"".join((self._told, *known, message.to_pybytes(), _END))
                with pa.ipc.open_stream(whole) as reader:
                    batch = reader.read_next_batch()
            else:
                batch = pa.ipc.read_record_batch(pa.ipc.read_message(message), self._schema)
            batch.validate(full=True)
        except FramingError:
            raise
        except (
            SourceError,
            pa.ArrowException,
            OSError,
            ValueError,
            struct.error,
            StopIteration,
        ) as error:
            raise self._lost(error) from None
        return [batch]

    def _keep(self, number: int, message: pa.Buffer, *, goes_on: bool) -> None:
        before = self._dictionaries.get(number, [])
        self._dictionaries[number] = [*before, message] if goes_on else [message]
        self._kept = sum(m.size for one in self._dictionaries.values() for m in one)
        if self._kept > LONGEST or len(self._dictionaries) > LIMITS.columns:
            raise FramingError("its dictionaries have more than 64 MiB", "too_long")

    @staticmethod
    def _lost(error: BaseException) -> FramingError:
        told = first_line(error).removeprefix(_PLACE).partition("; if the file")[0]
        return FramingError(f"it is no stream of Arrow ({told})")
