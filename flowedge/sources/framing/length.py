"""A length before each payload: unsigned, 32 bits, big-endian; zero is a sign of life."""

from flowedge.sources.framing.contract import Framer, Payload, too_long
from flowedge.sources.payloads import LONGEST

_HEAD = 4


class Length(Framer):
    """Payloads behind their lengths."""

    def __init__(self) -> None:
        self._data = bytearray()

    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """The payloads that are whole; raises FramingError at a length beyond the bound."""
        held = self._data
        held += data
        at, size = 0, len(held)
        while size - at >= _HEAD:
            length = int.from_bytes(held[at : at + _HEAD], "big")
            if length > LONGEST:
                raise too_long()
            if size - at - _HEAD < length:
                break
            at += _HEAD
            if length:
                out.append(bytes(held[at : at + length]))
            at += length
        del held[:at]
        self.held = len(held)
