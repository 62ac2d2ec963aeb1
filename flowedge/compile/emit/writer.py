"""The sheet that a kernel's source is written on, and the memory that the source refers to."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MISSING = -(2**63)

TAKEN = [
    "abs",
    "min",
    "max",
    "range",
    "float",
    "int",
    "round",
    "len",
    "pow",
    "if",
    "in",
    "is",
    "or",
    "and",
    "not",
    "for",
    "def",
    "nan",
    "inf",
    "i",
    "j",
    "k",
    "m",
    "n",
    "t",
    "r",
    "b",
    "g",
    "gap",
    "now",
    "slot",
    "port",
    "first",
    "room",
    "watermark",
    "time",
    "need",
    "dropped",
    "lost",
    "slots",
    "gaps",
    "ports",
    "source_row",
    "records",
    "blocks",
    "arena",
    "arena_words",
    "touched",
    "order",
    "rank",
    "keys",
    "out_time",
    "out_slot",
    "out_gap",
    "counters",
    "maps",
    "lasts",
    "finish",
    "scratch",
    "stop",
    "base",
    "limit",
    "strips",
    "odd",
    "PASS",
    "CALM",
    "CALMED",
    "keep",
    "last",
    "oldest",
    "pane",
    "kept",
    "next_oldest",
    "next_end_at",
    "next_start",
    "start_at",
    "ctx",
]
"""Names with a meaning in every kernel."""


def literal(value: float | int | bool) -> str:
    """A number as source text that Numba reads as the same number of the same type.

    Examples
    --------
    >>> literal(0.1), literal(3), literal(float("nan")), literal(-(2**63))
    ('0.1', '3', 'nan', 'MISSING')
    """
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return "MISSING" if value == MISSING else str(value)
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(float(value))


@dataclass
class Sheet:
    """Lines of source with their indentation, and names that are not used twice."""

    lines: list[str] = field(default_factory=list)
    depth: int = 1
    _used: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TAKEN, 1))

    def __call__(self, *lines: str) -> None:
        """Write lines at the present depth; a line may bring deeper lines after newlines."""
        for line in lines:
            for part in line.split("\n"):
                self.lines.append("    " * self.depth + part if part else "")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """``head:`` and what is written inside, one step deeper."""
        self(f"{head}:")
        empty = len(self.lines)
        self.depth += 1
        yield
        if len(self.lines) == empty:
            self("pass")
        self.depth -= 1

    def fresh(self, stem: str) -> str:
        """A variable name that nobody has: the stem itself, then with a number."""
        stem = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in stem)
        name, count = stem, self._used.get(stem, 0)
        while name in self._used:
            count += 1
            name = f"{stem}_{count}"
        self._used[stem] = max(count, 1)
        self._used.setdefault(name, 1)
        return name


@dataclass(frozen=True, slots=True)
class Cell:
    """One 8-byte number in a record: its offset, its value at the start, and a local name."""

    name: str
    offset: int
    start: float | int

    @property
    def load(self) -> str:
        """Name of the intrinsic that reads it."""
        return "f64" if isinstance(self.start, float) else "i64"


@dataclass
class Record:
    """The packed memory of one key (or of the kernel): 8-byte cells side by side."""

    cells: list[Cell] = field(default_factory=list)

    def add(self, name: str, start: float | int) -> Cell:
        """A further cell."""
        cell = Cell(name, 8 * len(self.cells), start)
        self.cells.append(cell)
        return cell

    @property
    def size(self) -> int:
        """Bytes of one record; a multiple of 8."""
        return 8 * len(self.cells)

    def initial(self) -> bytes:
        """The bytes of a fresh record."""
        import struct  # noqa: PLC0415  # only while compiling

        return b"".join(
            struct.pack("<d" if isinstance(c.start, float) else "<q", c.start) for c in self.cells
        )


@dataclass
class Names:
    """Functions and constants that the source calls by name."""

    table: dict[str, Any] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)

    def function(self, run: Callable[..., Any], stem: str) -> str:
        """A name for a function, the same one each time it is asked for."""
        key = id(run)
        if key not in self._names:
            stem = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in stem)
            name, n = stem, 1
            while name in self.table:
                n += 1
                name = f"{stem}_{n}"
            self.table[name] = run
            self._names[key] = name
        return self._names[key]
