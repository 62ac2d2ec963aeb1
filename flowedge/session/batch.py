"""Rows as they travel between the nodes of a session: plain contiguous arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels.columns import take
from flowedge.compile.program import Field
from flowedge.lang.errors import CheckpointError

Array = NDArray[Any]
Times = NDArray[np.int64]
Slots = NDArray[np.int32]
Flags = NDArray[np.uint8]

WIRE: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "f64": np.float64, "f32": np.float32, "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8,
        "u64": np.uint64, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8, "time": np.int64,
    }.items()
}  # fmt: skip
"""How a value of each plain store lies in Arrow's memory."""

_WHOLE = ("i64", "i32", "i16", "i8", "u32", "u16", "u8", "string", "binary", "time")
DTYPES: dict[str, np.dtype[Any]] = (
    WIRE | dict.fromkeys(_WHOLE, np.dtype(np.int64)) | {"bool": np.dtype(np.uint8)}
)
"""How a value of each store lies in the engine's memory: whole numbers have 64 bits, so that there is
room for one that stands for missing beside every value of a narrower type; texts are ids, times are ns."""

MISSING: dict[str, float | int] = {
    "f64": np.nan, "f32": np.nan, "u64": 2**63, "bool": 2, "string": -1, "binary": -1,
    **dict.fromkeys(("i64", "i32", "i16", "i8", "u32", "u16", "u8", "time"), -(2**63)),
}  # fmt: skip
"""What stands for a missing value: of the 64-bit integers one value has to be given up for it."""


@dataclass(slots=True)
class Batch:
    """Rows of a stream, in its order.

    Attributes
    ----------
    n : number of rows
    time : int64 ns since 1970, shape ``(n,)``
    slot : int32 number of the row's key in its key table, shape ``(n,)``; None without keys
    gap : uint8, 1 where memory restarts, shape ``(n,)``; None where no row restarts
    columns : by name, contiguous, shape ``(n, …)``
    """

    n: int
    time: Times
    slot: Slots | None
    gap: Flags | None
    columns: dict[str, Array]

    def slice(self, start: int, stop: int) -> "Batch":
        """Rows from `start` up to `stop`, as views."""
        if start == 0 and stop == self.n:
            return self
        return Batch(
            stop - start,
            self.time[start:stop],
            None if self.slot is None else self.slot[start:stop],
            None if self.gap is None else self.gap[start:stop],
            {name: column[start:stop] for name, column in self.columns.items()},
        )

    def take(self, index: NDArray[np.int64]) -> "Batch":
        """The rows that the index names, in its order."""
        return Batch(
            len(index),
            take(self.time, index),
            None if self.slot is None else take(self.slot, index),
            None if self.gap is None else take(self.gap, index),
            {name: take(column, index) for name, column in self.columns.items()},
        )

    def keep(self, mask: NDArray[np.bool_]) -> "Batch":
        """The rows for which the mask holds."""
        return self.take(np.flatnonzero(mask))

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        total = self.time.nbytes + sum(c.nbytes for c in self.columns.values())
        total += 0 if self.slot is None else self.slot.nbytes
        return total + (0 if self.gap is None else self.gap.nbytes)


def empty(fields: Iterable[Field], *, keyed: bool) -> Batch:
    """A batch without rows."""
    columns = {f.name: np.empty((0, *f.shape), DTYPES[f.store]) for f in fields}
    slot = np.empty(0, np.int32) if keyed else None
    return Batch(0, np.empty(0, np.int64), slot, None, columns)


def concat(batches: Sequence[Batch]) -> Batch:
    """The rows of several batches of one stream, one batch after the other."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    slot = None
    if first.slot is not None:
        slot = np.concatenate([b.slot for b in batches if b.slot is not None])
    gap = None
    if any(b.gap is not None for b in batches):
        gap = np.concatenate([np.zeros(b.n, np.uint8) if b.gap is None else b.gap for b in batches])
    columns = {name: np.concatenate([b.columns[name] for b in batches]) for name in first.columns}
    time = np.concatenate([b.time for b in batches])
    return Batch(len(time), time, slot, gap, columns)


def missing(field: Field, rows: int) -> Array:
    """A column of missing values, shape ``(rows, …)``."""
    return np.full((rows, *field.shape), MISSING[field.store], DTYPES[field.store])


def restored(
    values: Array, old: Field, new: Field, factor: float = 1.0, offset: float = 0.0
) -> Array:
    """A column as another store holds it, and in another unit; missing stays missing.

    Parameters
    ----------
    factor, offset : applied to numbers as ``value * factor + offset``
    """
    source, target = old.store, new.store
    if (factor, offset) != (1.0, 0.0) or (
        target in ("f64", "f32") and source not in ("f64", "f32")
    ):
        numbers = values.astype(np.float64)
        if source not in ("f64", "f32"):
            numbers[values == MISSING[source]] = np.nan
        values, source = numbers * factor + offset, "f64"
    if source == target or (
        DTYPES[source] == DTYPES[target] and MISSING[source] == MISSING[target]
    ):
        return values
    if source in ("f64", "f32") and target not in ("f64", "f32"):
        gone = np.isnan(values)
        out = np.where(gone, 0, values).astype(DTYPES[target])
    else:
        gone = values == MISSING[source]
        out = values.astype(DTYPES[target])
    if target not in ("f64", "f32"):
        out[gone] = MISSING[target]
    return out


def pack(batch: Batch | None) -> dict[str, Any] | None:
    """A batch as plain data for a snapshot."""
    if batch is None:
        return None
    return {
        "n": batch.n,
        "time": batch.time.tobytes(),
        "slot": None if batch.slot is None else batch.slot.tobytes(),
        "gap": None if batch.gap is None else batch.gap.tobytes(),
        "columns": {
            name: (column.dtype.str, list(column.shape), column.tobytes())
            for name, column in batch.columns.items()
        },
    }


@dataclass(frozen=True, slots=True)
class Layout:
    """What the rows of a stream look like, to judge those of a snapshot by.

    Attributes
    ----------
    columns : by name, the type and the shape of a value
    slots : how many slots its keys have; None where it has none
    ids : how many texts there are, of each column that holds numbers of texts
    """

    columns: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    slots: int | None
    ids: dict[str, int]


_LATEST = 2**63 - 2**57
"""No time of a row is later, nor that of a window that it is in (see `flowedge.session.times.LATEST`)."""


def layout(fields: Iterable[Field], slots: int | None, texts: int) -> Layout:
    """The layout of fields; kernels and NumPy index by what it bounds.

    Parameters
    ----------
    texts : how many texts the session knows
    """
    fields = tuple(fields)
    ids = {
        f.name: len(f.labels) if f.literals and f.labels is not None else texts
        for f in fields
        if f.store in ("string", "binary")
    }
    return Layout({f.name: (DTYPES[f.store], f.shape) for f in fields}, slots, ids)


def unpack(
    value: dict[str, Any] | None, expected: Layout, *, is_ordered: bool = True
) -> Batch | None:
    """The batch back from `pack`.

    Parameters
    ----------
    is_ordered : its rows must stand in order of time

    Raises
    ------
    CheckpointError
        it is not one of these rows
    """
    if value is None:
        return None
    n, given = value["n"], value["columns"]
    time = np.frombuffer(value["time"], np.int64).copy()
    slot = None if value["slot"] is None else np.frombuffer(value["slot"], np.int32).copy()
    gap = None if value["gap"] is None else np.frombuffer(value["gap"], np.uint8).copy()
    if set(given) != set(expected.columns):
        raise _damaged("they have other columns")
    columns = {}
    for name, (dtype, shape) in expected.columns.items():
        if given[name][0] != dtype.str:
            raise _damaged(f"`{name}` is of another type")
        columns[name] = np.frombuffer(given[name][2], dtype).reshape(-1, *shape).copy()
    parts = [part for part in (time, slot, gap) if part is not None] + list(columns.values())
    if type(n) is not int or n < 1 or any(len(part) != n for part in parts):
        raise _damaged("columns of unequal length")
    if is_ordered and (time[1:] < time[:-1]).any():
        raise _damaged("they are not in order of time")
    if int(time.max()) > _LATEST:
        raise _damaged("a time lies beyond all windows")
    if (slot is None) != (expected.slots is None):
        raise _damaged("they are of other keys")
    if slot is not None and expected.slots is not None:
        require_within(slot, expected.slots, "a key that is not there")
    for name, count in expected.ids.items():
        require_within(columns[name], count, "a text that is not there", least=-1)
    return Batch(n, time, slot, gap, columns)


def require_within(values: Array, stop: int, what: str, *, least: int = 0) -> None:
    """Refuse a snapshot with a number that is not from `least` up to `stop`."""
    if len(values) and not (least <= int(values.min()) and int(values.max()) < stop):
        raise _damaged(what)


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"the snapshot's rows are damaged: {what}")
