"""Lines: JSON lines one by one, lines of CSV as many at a time as have come, under the names of the first."""

from flowedge.sources.framing.contract import Framer, Payload, too_long
from flowedge.sources.payloads import LONGEST
from flowedge.sources.payloads.csv import is_header

_MOST_CELLS = 1 << 16
"""Of the lines that go as one payload."""
_LONG = 1 << 14
_BLANK = b" \t\r\n"


class Lines(Framer):
    """Lines that end with a newline, or with the connection.

    Parameters
    ----------
    names : of the cells of CSV that are declared
    format : "json", "csv" or "auto": a line that begins with a bracket or brace is JSON
    """

    def __init__(self, names: frozenset[str], format: str = "auto") -> None:  # noqa: A002
        self._names, self._format = names, format
        self._rest = bytearray()
        self._head = b""
        self._is_first = True

    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """The payloads of whole lines; raises FramingError where a line is too long."""
        rest = self._rest
        seen = len(rest)
        rest += data
        cut = rest.rfind(b"\n", seen) + 1
        if not cut:
            if len(rest) > LONGEST:
                raise too_long()
            self.held = len(rest)
            return
        whole = bytes(rest[:cut])
        del rest[:cut]
        self.held = len(rest)
        out += self._payloads(whole)

    def end(self) -> list[Payload]:
        """The last line, which needs no newline."""
        whole, self._rest, self.held = bytes(self._rest), bytearray(), 0
        return self._payloads(whole)

    def _payloads(self, whole: bytes) -> list[Payload]:
        if self._is_first:
            whole = whole.removeprefix(b"\xef\xbb\xbf")
        lines = whole.split(b"\n")
        out: list[Payload] = []
        few: list[bytes] = []
        cells = 0
        is_plain = _is_utf8(whole)
        for raw in lines:
            line = raw.strip(_BLANK)
            if not line:
                continue
            if self._format == "json" or (self._format == "auto" and line[0] in b"{["):
                if few:
                    out.append(self._joined(few))
                    few, cells = [], 0
                out.append(line)
                self._is_first = False
                continue
            if self._is_first or line == self._head:
                self._is_first = False
                if line == self._head or is_header(line, self._names):
                    self._head = line
                    continue
            # What a bad line may spoil goes alone: quotes reach over line ends, and a byte that is no text over all.
            if b'"' in line or len(line) > _LONG or not (is_plain or _is_utf8(line)):
                if few:
                    out.append(self._joined(few))
                    few, cells = [], 0
                out.append(self._joined([line]))
                continue
            few.append(line)
            cells += line.count(b",") + 1
            if cells > _MOST_CELLS:
                out.append(self._joined(few))
                few, cells = [], 0
        if few:
            out.append(self._joined(few))
        return out

    def _joined(self, lines: list[bytes]) -> bytes:
        return b"\n".join((self._head, *lines) if self._head else lines)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
