"""Readings and columns, of whatever format, to rows of the declared fields; what does not fit is turned away."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from flowedge.sources.payloads.bounds import PayloadError, check_rows, width_of
from flowedge.sources.payloads.columns import array_of, column_of, is_column
from flowedge.sources.payloads.values import MisfitError, nearest_of, value_of


class Rejected(NamedTuple):
    """A reading that was turned away.

    Attributes
    ----------
    number : of the reading, from 1
    reason : why
    text : the beginning of what it said
    by_policy : the pipeline says that a value which does not fit rejects its row
    """

    number: int
    reason: str
    text: str
    by_policy: bool = False


class Rows:
    """Gathers rows of the declared fields, and counts what does not fit.

    Parameters
    ----------
    schema : the declared fields
    width : bytes of a row that is handed out, with what is added to it later
    fitting : what becomes of values of readings that do not fit, see `flowedge.sources.contract.Source`

    Attributes
    ----------
    altered : by field how many values became missing, and how many the nearest that fits
    rejected : those turned away
    seen : readings that came, good or bad; a payload that cannot be unpacked counts as one
    waiting : rows since `take`
    """

    def __init__(
        self, schema: pa.Schema, width: int = 0, fitting: Mapping[str, str] | None = None
    ) -> None:
        self.schema = schema
        self.fitting = dict(fitting or {})
        self.altered: dict[str, tuple[int, int]] = {}
        self.width = max(width, width_of(schema))
        self.rejected: list[Rejected] = []
        self.seen = 0
        self.waiting = 0
        self._fields = [(f.name, _path(f.name), f.type) for f in schema]
        self._values: list[list[Any]] = [[] for _ in schema]
        self._parts: list[pa.RecordBatch] = []

    def tree(self, value: Any, size: int) -> None:  # noqa: ANN401
        """Add what a payload of `size` bytes says: a reading, a list of readings, or columns.

        Raises
        ------
        PayloadError : it is none of them
        """
        if isinstance(value, list):
            check_rows(len(value), size, self.width)
            for one in value:
                self._reading(one)
        elif not isinstance(value, dict):
            raise PayloadError("it is no map")
        elif any(is_column(_found(value, n, p), k) for n, p, k in self._fields):
            self._columns(value, size)
        else:
            self._reading(value)

    def batch(self, batch: pa.RecordBatch) -> None:
        """Add rows that are made."""
        if batch.num_rows:
            self._flush()
            self._parts.append(batch)
        self.seen += batch.num_rows
        self.waiting += batch.num_rows

    def turn_away(self, reason: str, what: Any, *, by_policy: bool = False) -> None:  # noqa: ANN401
        """Count a reading that is no row."""
        self.seen += 1
        self.rejected.append(Rejected(self.seen, reason, shown(what), by_policy))

    def take(self) -> list[pa.RecordBatch]:
        """The rows since the last call, in order."""
        self._flush()
        parts, self._parts, self.waiting = self._parts, [], 0
        return parts

    def _reading(self, value: Any) -> None:  # noqa: ANN401
        if not isinstance(value, dict):
            self.turn_away("not a map", value)
            return
        row: list[Any] = []
        changed: list[tuple[str, bool]] = []
        for name, path, kind in self._fields:
            given = _found(value, name, path)
            try:
                row.append(value_of(given, kind))
            except MisfitError as error:
                policy = self.fitting.get(name)
                if policy not in ("null", "clamp"):
                    reason = f"`{name}` is not {error}"
                    self.turn_away(reason, value, by_policy=policy == "reject")
                    return
                row.append(nearest_of(given, kind) if policy == "clamp" else None)
                changed.append((name, row[-1] is not None))
        for name, is_near in changed:
            nulled, clamped = self.altered.get(name, (0, 0))
            self.altered[name] = (nulled + (not is_near), clamped + is_near)
        self.seen += 1
        self.waiting += 1
        for column, one in zip(self._values, row, strict=True):
            column.append(one)

    def _columns(self, value: dict[str, Any], size: int) -> None:
        columns: dict[str, pa.Array] = {}
        for name, path, kind in self._fields:
            given = _found(value, name, path)
            if given is None:
                continue
            try:
                columns[name] = column_of(given, kind)
            except PayloadError as error:
                self.turn_away(f"column `{name}`: {error}", value)
                return
        lengths = {len(c) for c in columns.values()}
        if len(lengths) > 1:
            told = ", ".join(f"`{name}` {len(c)}" for name, c in columns.items())
            self.turn_away(f"columns of unequal length: {told}"[:200], value)
            return
        rows = lengths.pop()
        check_rows(rows, size, self.width)
        arrays = [
            columns[f.name] if f.name in columns else pa.nulls(rows, f.type) for f in self.schema
        ]
        self.batch(pa.RecordBatch.from_arrays(arrays, schema=self.schema))

    def _flush(self) -> None:
        if self._values and self._values[0]:
            arrays = [
                array_of(v, k) for v, (_, _, k) in zip(self._values, self._fields, strict=True)
            ]
            self._parts.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
            self._values = [[] for _ in self.schema]


def _path(name: str) -> tuple[str, ...]:
    """The parts of a name with dots; none of one without."""
    parts = tuple(name.split("."))
    return parts if len(parts) > 1 and all(parts) else ()


def _found(value: dict[str, Any], name: str, path: tuple[str, ...]) -> Any:  # noqa: ANN401
    """The value of a field: under its name, else where the dots of its name lead to."""
    if not path or name in value:
        return value.get(name)
    here: Any = value
    for part in path:
        if not isinstance(here, dict):
            return None
        here = here.get(part)
    return here


def shown(value: Any) -> str:  # noqa: ANN401
    """The beginning of what a reading said; a long list is not spelled out to be cut."""
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, dict):
        few = {str(k)[:40]: _brief(v) for k, v in list(value.items())[:16]}
        return repr(few)[:200]
    return repr(_brief(value))[:200]


def _bytes(value: bytes) -> str:
    """As text where it is readable, else in hexadecimal."""
    front = value[:200]
    if front.isascii() and front.decode("ascii").isprintable():
        return front.decode("ascii") + " …" * (len(value) > 200)
    return value[:50].hex(" ") + " …" * (len(value) > 50)


def _brief(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bytes | str):
        return value[:50]
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 10**40 else "a large number"
    return value if value is None or isinstance(value, float | bool) else type(value).__name__


__all__ = ["Rejected", "Rows", "shown"]
