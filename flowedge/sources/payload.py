"""Readings as msgpack: a map, a list of maps, or a map of columns as bytes; bounded before unpacked.

Whoever sends may send anything. So the bytes are first walked without making anything of them (`end_of`),
which bounds size, nesting and the number of values; only then are they unpacked, and every value is held
against its declared type. msgpack by itself turns 1 MiB into 68 MB of empty lists, and keeps one of two
equal keys without a word.
"""

import math
from typing import Any, NoReturn

import msgpack
import numpy as np
import pyarrow as pa

from flowedge.sources.text import convert, noun

LONGEST = 64 << 20
"""Bytes of a payload."""
DEEPEST = 8
"""Levels of lists and maps in a payload; what is declared needs four."""
MOST_VALUES = 1 << 18
"""Values in a payload, keys included: more have to come as columns."""
_F32_MOST = float(np.finfo(np.float32).max)


class PayloadError(ValueError):
    """Bytes that are no payload, or one beyond the bounds; where the next would begin is unknown."""


class CutShortError(PayloadError):
    """The payload goes on behind the bytes that are there."""


def _heads() -> list[tuple[int, int, int]]:
    """For each first byte: bytes of its length field, bytes that follow (-1: none such), items a count."""
    out = [(0, 0, 0)] * 256
    for first in range(0xA0, 0xC0):
        out[first] = (0, first & 31, 0)
    for first in range(0x80, 0xA0):
        out[first] = (0, 0, (first & 15) * (2 if first < 0x90 else 1))
    out[0xC1] = (0, -1, 0)
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        out[first] = (width, 0, 0)
    for first, width in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):
        out[first] = (width, 1, 0)  # one byte for the type of the extension
    for first, width in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True):
        out[first] = (0, width, 0)
    for first, width in zip(range(0xD4, 0xD9), (1, 2, 4, 8, 16), strict=True):
        out[first] = (0, width + 1, 0)
    for first, width, items in ((0xDC, 2, 1), (0xDD, 4, 1), (0xDE, 2, 2), (0xDF, 4, 2)):
        out[first] = (width, 0, items)
    return out


_HEADS = _heads()
"""The format byte of each value, see https://github.com/msgpack/msgpack/blob/master/spec.md."""


def end_of(data: bytes | bytearray | memoryview, at: int = 0) -> int:
    """Where the payload that begins at `at` ends; nothing of it is unpacked.

    Raises
    ------
    CutShortError : the bytes end before it does
    PayloadError : a byte that begins no value, or more than `LONGEST`, `DEEPEST` or `MOST_VALUES` allow
    """
    begin, size = at, len(data)
    open_: list[int] = []
    """Items still to come of each list or map around this place."""
    values = 0
    while True:
        if at >= size:
            raise CutShortError("it is cut short")
        first = data[at]
        width, more, items = _HEADS[first]
        at += 1
        if more < 0:
            raise PayloadError(f"byte {at} is 0xc1, which begins no value of msgpack")
        if width:
            if at + width > size:
                raise CutShortError("it is cut short")
            count = int.from_bytes(data[at : at + width], "big")
            at += width
            if items:
                items *= count
            else:
                more += count
        at += more
        values += 1
        if at - begin > LONGEST:
            raise PayloadError(f"it is longer than {LONGEST >> 20} MiB")
        if values + items > MOST_VALUES:
            raise PayloadError(f"it has more than {MOST_VALUES} values; send columns as bytes")
        if items:
            open_.append(items)
            if len(open_) > DEEPEST:
                raise PayloadError(f"it is nested more than {DEEPEST} deep")
            continue
        while open_:
            open_[-1] -= 1
            if open_[-1]:
                break
            open_.pop()
        if not open_:
            if at > size:
                raise CutShortError("it is cut short")
            return at


class Decoder:
    """Payloads to rows of the declared fields, and to readings turned away.

    A *reading* is a map from names to values. A payload is one of them, a list of them, or *columns*: a map in
    which a declared field holds bytes. There numbers are little-endian one after the other, as many bytes as
    the declared type has (times: int64 ns since 1970, UTC; truth: a byte 0 or 1; ``f32<3>``: three for each row),
    and texts are a list. A field that is absent or nil is missing; one that is not declared is left out.

    Parameters
    ----------
    schema : declared fields; numbers, truth, text, times, and lists of fixed length of numbers

    Attributes
    ----------
    rejected : (number of the reading from 1, reason, what it said) of those turned away
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rejected: list[tuple[int, str, str]] = []
        self.seen = 0
        """Readings that came, good or bad; a payload that cannot be unpacked counts as one."""
        self.rows = 0
        """Rows that wait for `take`."""
        self._waiting: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._parts: list[pa.RecordBatch] = []

    def add(self, payload: bytes) -> None:
        """Take one payload, whole and of any origin; nothing is raised."""
        try:
            if end_of(payload) != len(payload):
                raise PayloadError("bytes follow the payload")
            value = msgpack.unpackb(
                payload, object_pairs_hook=_mapped, ext_hook=_refuse, timestamp=0, strict_map_key=False,
                max_str_len=LONGEST, max_bin_len=LONGEST, max_ext_len=16, max_array_len=MOST_VALUES,
                max_map_len=MOST_VALUES,
            )  # fmt: skip
        except UnicodeDecodeError:
            self._turn_away("a text is not UTF-8", payload)
            return
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            self._turn_away(str(error) or "not msgpack", payload)
            return
        if isinstance(value, dict) and any(isinstance(value.get(n), bytes) for n in self._waiting):
            self._columns(value)
            return
        for one in value if isinstance(value, list) else [value]:
            self._reading(one)

    def take(self) -> pa.RecordBatch:
        """The rows since the last call."""
        self._flush()
        parts, self._parts, self.rows = self._parts, [], 0
        if len(parts) == 1:
            return parts[0]
        table = pa.Table.from_batches(parts, self.schema).combine_chunks()
        found = table.to_batches()
        return found[0] if found else _batch({n: [] for n in self.schema.names}, self.schema)

    def _turn_away(self, reason: str, what: Any) -> None:  # noqa: ANN401
        self.seen += 1
        self.rejected.append((self.seen, reason, _shown(what)))

    def _reading(self, value: Any) -> None:  # noqa: ANN401
        if not isinstance(value, dict):
            self._turn_away("not a map", value)
            return
        row = []
        for field in self.schema:
            try:
                row.append(_value(value.get(field.name), field.type))
            except (ValueError, TypeError, OverflowError):
                self._turn_away(f"`{field.name}` is not {noun(field.type)}", value)
                return
        self.seen += 1
        self.rows += 1
        for column, one in zip(self._waiting.values(), row, strict=True):
            column.append(one)

    def _columns(self, value: dict[str, Any]) -> None:
        columns: dict[str, pa.Array] = {}
        for field in self.schema:
            given = value.get(field.name)
            if given is None:
                continue
            try:
                columns[field.name] = _column(given, field.type)
            except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
                self._turn_away(f"column `{field.name}`: {error}", value)
                return
        lengths = {len(c) for c in columns.values()}
        if len(lengths) > 1:
            told = ", ".join(f"`{name}` {len(c)}" for name, c in columns.items())
            self._turn_away(f"columns of unequal length: {told}"[:200], value)
            return
        rows = lengths.pop()
        self._flush()
        arrays = [columns.get(f.name, pa.nulls(0)) for f in self.schema]
        arrays = [
            a if f.name in columns else pa.nulls(rows, f.type)
            for a, f in zip(arrays, self.schema, strict=True)
        ]
        self._parts.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.seen += rows
        self.rows += rows

    def _flush(self) -> None:
        if any(self._waiting.values()):
            self._parts.append(_batch(self._waiting, self.schema))
            self._waiting = {name: [] for name in self.schema.names}


def decode(data: bytes, schema: pa.Schema) -> tuple[pa.RecordBatch, list[tuple[int, str, str]]]:
    """Rows of one payload, and its readings that were turned away: (number from 1, reason, what it said).

    Examples
    --------
    >>> batch, bad = decode(msgpack.packb([{"v": 1.5}, {"v": "x"}]), pa.schema([("v", pa.float64())]))
    >>> batch.to_pylist(), bad
    ([{'v': 1.5}], [(2, '`v` is not a number', "{'v': 'x'}")])
    """
    decoder = Decoder(schema)
    decoder.add(data)
    return decoder.take(), decoder.rejected


def _mapped(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            message = "a key of a map is not text"
            raise ValueError(message)
        if key in out:
            message = f"the key `{key[:40]}` is there twice"
            raise ValueError(message)
        out[key] = value
    return out


def _refuse(code: int, data: bytes) -> NoReturn:
    message = f"extension type {code} of {len(data)} bytes"
    raise ValueError(message)


def _value(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401
    """A value as the declared type takes it; ValueError where it does not fit."""
    if value is None:
        return None
    if pa.types.is_fixed_size_list(kind):
        if not isinstance(value, list) or len(value) != kind.list_size:
            raise ValueError
        return [_value(v, kind.value_type) for v in value]
    if pa.types.is_timestamp(kind):
        return _time(value, kind)
    if pa.types.is_boolean(kind):
        if not isinstance(value, bool):
            raise ValueError
        return value
    if pa.types.is_floating(kind):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        number = float(value)
        if kind.bit_width < 64 and math.isfinite(number) and abs(number) > _F32_MOST:
            raise ValueError
        return number
    if pa.types.is_integer(kind):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError
        bits = kind.bit_width
        least, most = (
            (-(1 << bits - 1), (1 << bits - 1) - 1)
            if pa.types.is_signed_integer(kind)
            else (0, (1 << bits) - 1)
        )
        if not least <= value <= most:
            raise ValueError
        return value
    if not isinstance(value, str):
        raise ValueError
    return value


def _time(value: Any, kind: pa.TimestampType) -> int:  # noqa: ANN401
    """An instant [units of the type since 1970]: whole ns, a timestamp of msgpack, or ISO text."""
    if isinstance(value, str):
        found, bad = convert(pa.array([value]), kind)
        if bad:
            raise ValueError
        return int(found.cast(pa.int64())[0].as_py())
    if isinstance(value, msgpack.Timestamp):
        value = value.to_unix_nano()
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError
    return value // {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[kind.unit]


def _column(given: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401
    """A column from bytes (or, of texts, from a list)."""
    if isinstance(given, list):
        return pa.array([_value(v, kind) for v in given], kind)
    if not isinstance(given, bytes):
        raise TypeError("neither bytes nor a list")
    if pa.types.is_fixed_size_list(kind):
        values = _column(given, kind.value_type)
        if len(values) % kind.list_size:
            raise ValueError(f"{len(values)} values are not {kind.list_size} for each row")
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    if pa.types.is_boolean(kind):
        truth = np.frombuffer(given, np.uint8)
        if len(truth) and truth.max() > 1:
            raise ValueError("a byte is neither 0 nor 1")
        return pa.array(truth.astype(np.bool_))
    if pa.types.is_timestamp(kind):
        return pa.array(_numbers(given, "<i8")).cast(pa.timestamp("ns")).cast(kind, safe=False)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise TypeError("texts come as a list")
    return pa.array(_numbers(given, np.dtype(kind.to_pandas_dtype()).newbyteorder("<")), kind)


def _numbers(given: bytes, dtype: Any) -> Any:  # noqa: ANN401
    size = np.dtype(dtype).itemsize
    if len(given) % size:
        raise ValueError(f"{len(given)} bytes are no whole number of values of {size}")
    values = np.frombuffer(given, dtype)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _batch(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        values = columns[field.name]
        if pa.types.is_timestamp(field.type):
            arrays.append(pa.array(values, pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _shown(value: Any) -> str:  # noqa: ANN401
    """The beginning of what a reading said; a long list is not spelled out to be cut."""
    if isinstance(value, bytes):
        return value[:50].hex(" ") + " …" * (len(value) > 50)
    if isinstance(value, dict):
        few = {str(k)[:40]: _brief(v) for k, v in list(value.items())[:16]}
        return repr(few)[:200]
    return repr(_brief(value))[:200]


def _brief(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bytes | str):
        return value[:50]
    return type(value).__name__ if isinstance(value, list | dict) else value


__all__ = [
    "DEEPEST",
    "LONGEST",
    "MOST_VALUES",
    "CutShortError",
    "Decoder",
    "PayloadError",
    "decode",
    "end_of",
]
