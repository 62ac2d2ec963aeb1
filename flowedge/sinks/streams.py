"""What the sinks of connections share: rows as a stream of bytes to whoever is at the other end."""

import socket
import struct
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.links.wire import Broken, Wire
from flowedge.sinks.payloads import FORMATS, LAYOUTS, Encoder
from flowedge.sinks.remote import Guarantee, RemoteSink, Unreachable
from flowedge.types.connectors import Option

STREAMING = (
    Option("framing", "text", "arrow", "a stream of Arrow IPC, payloads of `msgpack`, `lines` of JSON, or payloads behind their `length`",
           choices=("arrow", "msgpack", "lines", "length")),
    Option("format", "text", "", "of payloads behind their length; msgpack if not said", choices=("", *FORMATS)),
    Option("rows", "text", "each", "a payload for each row, or a list or columns of many", choices=LAYOUTS),
    Option("mode", "text", "connect", "`connect` to a receiver, or `listen` for one", choices=("connect", "listen")),
    Option("patience", "duration", 60.0, "a receiver that takes nothing for so long is let go [s]"),
)  # fmt: skip
"""Options of each of these sinks."""

_FORMATS = {"msgpack": "msgpack", "lines": "json"}
"""What payloads are that say themselves where they end."""
_LONGEST = 64 << 20
"""Bytes of a payload that the source `tcp` takes."""
_BLOCK = 1 << 18
_END = struct.pack("<II", 0xFFFF_FFFF, 0)
"""Of a stream of Arrow IPC."""
_FIRST_LOOK_S, _LOOK_S = 1.0, 60.0
"""So long somebody is waited for who connects: at first, and then each time before it is told again that nobody has."""


class Piece(NamedTuple):
    """Payloads in their frames.

    Attributes
    ----------
    data : of each its bytes
    rows : of each the number of rows of the batch up to its end
    """

    data: Sequence[bytes | memoryview]
    rows: Sequence[int]


class Streaming(RemoteSink):
    """A sink whose rows go over a connection that nobody answers on.

    Rows wait while there is no connection. What the system has taken of a connection that is lost may never have been read, so that each row is there at
    most once: a row of which a part was sent is counted as lost, those behind it go over the next connection.
    """

    guarantee: ClassVar[Guarantee] = "at most once"
    most_rows: int = 16_384
    ways: ClassVar[frozenset[str]] = RemoteSink.ways | {"patience", "tls"}

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        mine = self.given
        if mine["patience"] <= 0:
            raise SinkError(f"`{self.name}`: `patience` is above 0")
        if mine["format"] and mine["framing"] != "length":
            raise SinkError(f'`{self.name}`: the format is told by `framing`; `format` is for `framing="length"`')  # fmt: skip
        if mine["framing"] == "arrow" and mine["rows"] != "each":
            raise SinkError(f'`{self.name}`: a stream of Arrow has batches; `rows` is for the other framings')  # fmt: skip
        self._wire: Wire | None = None
        self._listener: socket.socket | None = None
        self._looks_s = _FIRST_LOOK_S
        self._schema: pa.Schema | None = None
        self._encoder: Encoder | None = None

    @abstractmethod
    def wire(self) -> Wire:
        """What makes connections, with the TLS that is asked for; raises ValueError."""

    @abstractmethod
    def listener(self) -> socket.socket:
        """What accepts; raises ValueError."""

    @abstractmethod
    def dialler(self) -> Callable[[], socket.socket]:
        """What begins to connect."""

    # ---- its life

    def connect(self, schema: pa.Schema) -> None:
        """Connect, or wait for a receiver that does; raises SinkError, Unreachable."""
        self._fit(schema)
        try:
            if self._wire is None:
                self._wire = self.wire()
            if self.given["mode"] == "listen" and self._listener is None:
                self._listener = self.listener()
        except ValueError as error:
            raise SinkError(f"`{self.name}`: {error}") from None
        wire = self._wire
        wire.drop()
        wire.go_on()
        try:
            if self._listener is None:
                wire.dial(self.dialler())
            else:
                looks_s, self._looks_s = self._looks_s, _LOOK_S
                wire.accept(self._listener, looks_s)
            if self._encoder is None:
                assert self._schema is not None
                wire.send(self._schema.serialize().to_pybytes(), self.given["patience"])
        except Broken as problem:
            raise Unreachable(str(problem)) from None
        self._looks_s = _FIRST_LOOK_S

    def _fit(self, schema: pa.Schema) -> None:
        """Choose what makes bytes of rows; raises SinkError."""
        framing = self.given["framing"]
        self._schema = pa.schema([_undone(field) for field in schema], schema.metadata)
        if framing == "arrow":
            return
        kind = _FORMATS.get(framing) or self.given["format"] or "msgpack"
        try:
            self._encoder = Encoder(schema, kind, self.given["rows"])
        except ValueError as error:
            raise SinkError(f"`{self.name}`: {error}") from None
        self._encoder.prepare()

    @property
    def takes_at_once(self) -> bool:
        """Whether there is a connection with room for a few kilobytes."""
        return self._wire is not None and self._wire.has_room

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Hand rows to the system; raises SinkError, Unreachable."""
        del first
        wire = self._wire
        assert wire is not None
        if wire.has_ended:
            wire.drop()
            raise Unreachable("the receiver has closed the connection", begun=0)
        done = 0
        pieces = self._messages(batch, 0) if self._encoder is None else self._payloads(batch)
        for block in _blocks(pieces):
            data = block.data[0] if len(block.data) == 1 else b"".join(block.data)
            try:
                wire.send(data, self.given["patience"])
            except Broken as problem:
                ends = list(zip(block.rows, accumulate(map(len, block.data)), strict=True))
                begun = next((rows for rows, end in ends if end > problem.sent), ends[-1][0])
                whole = [rows for rows, end in ends if end <= problem.sent]
                done = whole[-1] if whole else done
                raise Unreachable(str(problem), done, begun if problem.sent else done) from None
            done = block.rows[-1]

    def _payloads(self, batch: pa.RecordBatch) -> Iterator[Piece]:
        """Payloads in their frames; raises SinkError where a row is none that can be read back."""
        encoder, framing = self._encoder, self.given["framing"]
        assert encoder is not None
        found: list[bytes] = encoder.payloads(batch)
        self._check(max(map(len, found)))
        each = 1 if len(found) == batch.num_rows else encoder.most_rows
        if framing == "length":
            found = [struct.pack(">I", len(payload)) + payload for payload in found]
        elif framing == "lines":
            found = [payload + b"\n" for payload in found]
        yield Piece(found, [min((k + 1) * each, batch.num_rows) for k in range(len(found))])

    def _messages(self, batch: pa.RecordBatch, at: int) -> Iterator[Piece]:
        """Batches of a stream of Arrow, without dictionaries, none longer than a reader takes."""
        columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]  # fmt: skip
        message = memoryview(pa.RecordBatch.from_arrays(columns, schema=self._schema).serialize())
        if len(message) > _LONGEST and batch.num_rows > 1:
            half = batch.num_rows // 2
            yield from self._messages(batch.slice(0, half), at)
            yield from self._messages(batch.slice(half), at + half)
            return
        self._check(len(message))
        yield Piece([message], [at + batch.num_rows])

    def _check(self, size: int) -> None:
        if size > _LONGEST:
            raise SinkError(f"`{self.name}`: a row makes {size:,} bytes, and a payload has 64 MiB at most; select fewer columns")  # fmt: skip

    def disconnect(self) -> None:
        """Let go of the receiver."""
        if self._wire is not None:
            self._wire.drop()

    def end(self) -> None:
        """Say goodbye, and listen no more."""
        wire, self._wire = self._wire, None
        if wire is not None:
            if wire.is_there:
                self._say_goodbye(wire)
            wire.end()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _say_goodbye(self, wire: Wire) -> None:
        try:
            if self._encoder is None:
                wire.send(_END, 1.0)
            wire.close()
        except Broken:
            return

    def abort(self) -> None:
        """What is sent is sent."""
        self.end()

    def finish(self) -> None:
        """All was sent."""
        self.end()

    def interrupt(self) -> None:
        """Wait no longer."""
        wire = self._wire
        if wire is not None:
            wire.interrupt()


def _blocks(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same in blocks that are worth a call of the system, and no larger than need be."""
    for piece in pieces:
        if sum(map(len, piece.data)) <= _BLOCK:
            yield piece
            continue
        first = size = 0
        for stop, data in enumerate(piece.data, 1):
            size += len(data)
            if size >= _BLOCK or stop == len(piece.data):
                yield Piece(piece.data[first:stop], piece.rows[first:stop])
                first, size = stop, 0


def _undone(field: pa.Field) -> pa.Field:
    """A column without its dictionary."""
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


__all__ = ["STREAMING", "Streaming"]
