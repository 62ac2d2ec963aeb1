"""Framings by name, and which one a connection has, told from its first bytes."""

import pyarrow as pa

from flowedge.sources.framing.arrow import Arrow
from flowedge.sources.framing.contract import Framer, FramingError, Payload
from flowedge.sources.framing.length import Length
from flowedge.sources.framing.lines import Lines
from flowedge.sources.framing.msgpack import Msgpack
from flowedge.sources.payloads.csv import cells_of

FRAMINGS = ("auto", "length", "msgpack", "lines", "arrow")
_TEXT = frozenset((*range(0x20, 0x7F), 0x09, 0x0A, 0x0D, 0xEF))


def framer(name: str, schema: pa.Schema, format: str) -> Framer:  # noqa: A002
    """The framing of a new connection.

    Parameters
    ----------
    name : one of `FRAMINGS`
    schema : declared fields, whose names a line of CSV may hold
    format : of the payloads
    """
    match name:
        case "length":
            return Length()
        case "msgpack":
            return Msgpack()
        case "arrow":
            return Arrow()
        case "lines":
            return Lines(cells_of(schema), format)
        case _:
            return Auto(schema, format)


class Auto(Framer):
    """The framing that the first byte tells.

    =====================  ==========================================
    00 … 04                a length; it is below 64 MiB
    80 … 9f, dc … df       msgpack, a map or a list
    ff                     Arrow
    visible ASCII, blanks  lines, which may begin with EF BB BF
    =====================  ==========================================
    """

    def __init__(self, schema: pa.Schema, format: str) -> None:  # noqa: A002
        self._schema, self._format = schema, format
        self._found: Framer | None = None

    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """As the framing that was found; raises FramingError where no framing begins so."""
        if self._found is None:
            if not data:
                return
            self._found = framer(_begins(data[0]), self._schema, self._format)
        self._found.cut(data, out)
        self.held = self._found.held

    def room(self) -> memoryview | None:
        """As the framing that was found."""
        return None if self._found is None else self._found.room()

    def filled(self, size: int) -> list[Payload]:
        """As the framing that was found."""
        assert self._found is not None
        out = self._found.filled(size)
        self.held = self._found.held
        return out

    def end(self) -> list[Payload]:
        """As the framing that was found."""
        return [] if self._found is None else self._found.end()


def _begins(first: int) -> str:
    if first <= 0x04:
        return "length"
    if 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF:
        return "msgpack"
    if first == 0xFF:
        return "arrow"
    if first in _TEXT:
        return "lines"
    raise FramingError(f"no framing begins with 0x{first:02x}", "unknown_framing")
