"""msgpack one behind the other: each payload says itself where it ends.

A payload is a map or a list, so that bytes that are none are soon found out: almost any byte begins some value of msgpack.
The C parser walks without making anything, and goes on where it was when more bytes come.
"""

import msgpack

from flowedge.sources.framing.contract import Framer, FramingError, Payload, too_long
from flowedge.sources.payloads import LONGEST

_BEGINS = frozenset((*range(0x80, 0xA0), *range(0xDC, 0xE0)))


class Msgpack(Framer):
    """Maps and lists that follow each other."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._walk = msgpack.Unpacker(max_buffer_size=LONGEST + (1 << 20))
        self._begin = 0
        """Where in the whole stream the first byte of `_data` stood."""

    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """The payloads that are whole; raises FramingError at what is no map or list."""
        held = self._data
        held += data
        if len(held) - len(data) > LONGEST:
            raise too_long()
        walk = self._walk
        at = 0
        try:
            walk.feed(data)
            while at < len(held):
                if held[at] not in _BEGINS:
                    raise FramingError(f"0x{held[at]:02x} begins no map or list of msgpack")
                walk.skip()
                end = walk.tell() - self._begin
                out.append(bytes(held[at:end]))
                at = end
        except msgpack.OutOfData:
            pass
        except FramingError:
            raise
        except (ValueError, msgpack.UnpackException, msgpack.BufferFull):
            raise FramingError("it is no msgpack") from None
        if at:
            del held[:at]
            self._begin += at
        self.held = len(held)
