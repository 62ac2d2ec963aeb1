"""NMEA 0183: sentences with a checksum, of receivers for satellites, compasses and sounders.

Each sentence becomes one payload of JSON: ``talker``, ``type`` (``GGA``), and the fields of its type under names; those of a type
that is not in the table, and those behind the named ones, as ``f1``, ``f2``, … by their place. Latitude and longitude become
degrees, signed, and date and time together ``at``.

References
----------
NMEA 0183 is not public; fields as in E. S. Raymond, "NMEA Revealed", 2023: https://gpsd.gitlab.io/gpsd/NMEA.html
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from flowedge.sources.framing.contract import Framer, FramingError, Payload

_LONGEST = 1024
"""Bytes of a line; the standard has 82, makers go beyond it."""
_SENTENCE = re.compile(rb"[$!]([A-Z0-9]{3,12})((?:,[^,*]*)*)\*([0-9A-Fa-f]{2})\s*$")
_FIELDS: Mapping[str, str] = {
    "GGA": "clock lat ns lon ew quality satellites hdop altitude _ separation _",
    "RMC": "clock status lat ns lon ew speed course date variation variation_ew",
    "GLL": "lat ns lon ew clock status",
    "VTG": "course _ course_magnetic _ speed _ speed_kmh _",
    "GNS": "clock lat ns lon ew mode satellites hdop altitude separation",
    "ZDA": "clock day month year",
    "HDT": "heading _",
    "HDG": "heading deviation deviation_ew variation variation_ew",
    "MWV": "angle reference speed unit status",
    "DPT": "depth offset",
    "DBT": "_ _ depth _ _ _",
    "MTW": "temperature _",
}
_TEXTS = frozenset(
    {
        "ns",
        "ew",
        "status",
        "mode",
        "date",
        "clock",
        "variation_ew",
        "deviation_ew",
        "reference",
        "unit",
    }
)


class Nmea(Framer):
    """Lines with a checksum; what has none, or another, is a payload that nothing can be made of."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._date = ""

    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """The sentences whose lines are whole; raises FramingError where a line does not end."""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        self.held = len(rest)
        out += [self._payload(line) for line in lines if line.strip()]
        if len(rest) > _LONGEST:
            raise FramingError("a line is longer than 1024 bytes", "too_long")

    def end(self) -> list[Payload]:
        """Nothing: a sentence without its end is none."""
        self._rest.clear()
        self.held = 0
        return []

    def _payload(self, line: bytes) -> bytes:
        found = _SENTENCE.match(line)
        if found is None or sum_of(line) != int(found[3], 16):
            return b"no NMEA, or its checksum is another: " + line.strip()[:80]
        head = found[1].decode()
        cells = [cell.decode("ascii", "replace") for cell in found[2].split(b",")[1:]]
        talker, kind = ("P", head[1:]) if head[0] == "P" else (head[:2], head[2:])
        return json.dumps({"talker": talker, "type": kind, **self._named(kind, cells)}).encode()

    def _named(self, kind: str, cells: list[str]) -> dict[str, Any]:
        names = _FIELDS.get(kind, "").split()
        raw = dict(zip(names, cells, strict=False))
        out: dict[str, Any] = {
            f"f{k}": cell for k, cell in enumerate(cells, 1) if k > len(names) and cell
        }
        for name, cell in raw.items():
            if name == "_" or not cell or name in ("lat", "lon", "ns", "ew", "clock", "date"):
                continue
            out[name] = cell if name in _TEXTS else _number(cell)
        for name, side, minus in (("lat", "ns", "S"), ("lon", "ew", "W")):
            degrees = _degrees(raw.get(name, ""))
            if degrees is not None:
                out[name] = -degrees if raw.get(side) == minus else degrees
        at = self._at(raw)
        return out if at is None else {**out, "at": at}

    def _at(self, raw: Mapping[str, str]) -> str | None:
        """When it was, as ISO 8601; None while no date has come."""
        if re.fullmatch(r"\d{6}", raw.get("date", "")):
            day, month, year = (raw["date"][k : k + 2] for k in (0, 2, 4))
            self._date = f"{19 if year >= '80' else 20}{year}-{month}-{day}"  # GPS began in 1980
        elif all(raw.get(name, "").isdigit() for name in ("day", "month", "year")):
            self._date = f"{raw['year']}-{raw['month']:>02}-{raw['day']:>02}"
        clock = re.fullmatch(r"(\d\d)(\d\d)(\d\d(?:\.\d{1,9})?)", raw.get("clock", ""))
        if clock is None or not self._date:
            return None
        return f"{self._date}T{clock[1]}:{clock[2]}:{clock[3]}Z"


def sum_of(line: bytes) -> int:
    """The checksum of a sentence: all bytes between its sign and the asterisk, by exclusive or."""
    total = 0
    for byte in line[1 : line.rfind(b"*")]:
        total ^= byte
    return total


def _number(cell: str) -> Any:  # noqa: ANN401
    try:
        return float(cell)
    except ValueError:
        return cell


def _degrees(cell: str) -> float | None:
    """``4807.038`` is 48 degrees and 7.038 minutes."""
    found = re.fullmatch(r"(\d{1,3})(\d\d(?:\.\d+)?)", cell)
    return None if found is None else int(found[1]) + float(found[2]) / 60
