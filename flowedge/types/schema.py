"""Value types, columns and the three shapes of a stream: signal, rows, frames."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowedge.types.units import Unit

Store = Literal[
    "f64",
    "f32",
    "i64",
    "i32",
    "i16",
    "i8",
    "u64",
    "u32",
    "u16",
    "u8",
    "bool",
    "string",
    "binary",
    "time",
]
Shape = Literal["signal", "rows", "frames"]

FLOATS = frozenset({"f64", "f32"})
INTEGERS = frozenset({"i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8"})
STORES: tuple[Store, ...] = (
    "f64", "f32", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "bool", "string", "binary", "time",
)  # fmt: skip
WIDTH = {
    "f64": 8, "f32": 4, "i64": 8, "i32": 8, "i16": 8, "i8": 8, "u64": 8, "u32": 8, "u16": 8, "u8": 8,
    "bool": 1, "string": 8, "binary": 8, "time": 8,
}  # fmt: skip
"""Bytes of one value inside the engine, where whole numbers have 64 bits; text and binary are ids into a pool, time is int64 ns."""


@dataclass(frozen=True, slots=True)
class Type:
    """What a value is: how it is stored, its unit, its shape.

    Attributes
    ----------
    store : one of `STORES`; every computed float is an ``f64``, every computed integer an ``i64``
    unit : None takes bare numbers
    shape : () for a scalar, (3,) for ``f32<3>``, (c, h, w) for a tensor
    labels : the texts that a label column can hold, where that is known
    delay_s : how far in the past [s] a value of this column points
    """

    store: Store
    unit: "Unit | None" = None
    shape: tuple[int, ...] = ()
    labels: tuple[str, ...] | None = None
    delay_s: float = 0.0

    @property
    def is_float(self) -> bool:
        """Whether it is stored as a float."""
        return self.store in FLOATS

    @property
    def is_integer(self) -> bool:
        """Whether it is stored as an integer."""
        return self.store in INTEGERS

    @property
    def is_number(self) -> bool:
        """Whether arithmetic is defined on it."""
        return self.is_float or self.is_integer

    @property
    def size(self) -> int:
        """Number of elements of one value."""
        n = 1
        for length in self.shape:
            n *= length
        return n

    def element(self) -> "Type":
        """The type of one element of a list."""
        return replace(self, shape=())

    def __str__(self) -> str:
        """As a schema writes it."""
        shape = f"<{', '.join(map(str, self.shape))}>" if self.shape else ""
        unit = f" [{self.unit}]" if self.unit is not None else ""
        return f"{self.store}{shape}{unit}"


F64 = Type("f64")
I64 = Type("i64")
BOOL = Type("bool")
TEXT = Type("string")
TIME = Type("time")

LATE = "late"
"""The column that marks what came behind its deadline."""


@dataclass(frozen=True, slots=True)
class Column:
    """A named value in a stream."""

    name: str
    type: Type

    def __str__(self) -> str:
        """As a schema writes it."""
        return f"{self.name}: {self.type}"


@dataclass(frozen=True, slots=True)
class Frame:
    """How the rows of a frame hang together.

    Attributes
    ----------
    length : rows in every frame, None where it varies
    rate_hz : of the samples inside, None for irregular rows
    whole : columns that belong to the frame, not to its samples (``start``, a model's ``label``)
    hop : rows from one frame to the next of the same key, each at the time of its last row; None: they lie otherwise
    """

    length: int | None
    rate_hz: float | None = None
    whole: tuple[str, ...] = ()
    hop: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """The type of a stream: what a row looks like, and what is known of its time.

    Attributes
    ----------
    columns : value columns in order; inside frames the type of one sample
    keys : key columns in order, possibly none
    shape : "signal" (regular, with a rate), "rows", or "frames"
    rate_hz : of a signal; of rows an upper bound declared by ``at up to RATE``, else None
    frame : of frames
    spans : each row stands for (start, time], as a row made from a frame does; it carries ``start``
    has_time : False for a table declared ``time always``
    in_order : rows come in order of time over all keys, not only inside a key
    strays : not even inside a key: rows that came late, as they came
    wait_s : how long after its time a row comes out, at most (None: no bound)
    is_live : has a source that does not end
    """

    columns: tuple[Column, ...]
    keys: tuple[Column, ...] = ()
    shape: Shape = "rows"
    rate_hz: float | None = None
    frame: Frame | None = None
    spans: bool = False
    has_time: bool = True
    in_order: bool = True
    strays: bool = False
    wait_s: float | None = 0.0
    is_live: bool = False

    def column(self, name: str) -> Column | None:
        """The value or key column of this name."""
        for column in (*self.columns, *self.keys):
            if column.name == name:
                return column
        return None

    def names(self) -> tuple[str, ...]:
        """All names that an expression may use: keys, columns and ``time``."""
        time = ("time",) if self.has_time else ()
        return (*time, *(c.name for c in self.keys), *(c.name for c in self.columns))

    def stored(self) -> tuple[Column, ...]:
        """Value columns as a row holds them: in frames, a column of samples is a list over them."""
        if self.shape != "frames" or self.frame is None:
            return self.columns
        frame, length = self.frame, self.frame.length or 0
        return tuple(
            c
            if c.name in frame.whole
            else Column(c.name, replace(c.type, shape=(length, *c.type.shape)))
            for c in self.columns
        )

    def with_columns(self, columns: "Iterable[Column]") -> "Stream":
        """The same stream with these columns put in place or added at the end."""
        merged = {c.name: c for c in self.columns}
        for column in columns:
            merged[column.name] = column
        return replace(self, columns=tuple(merged.values()))
