"""What a source owes: its options, its schema, and its rows in order, batch by batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.types.connectors import OptionError, Signature
from flowedge.types.folder import Folder

OnError = Literal["stop", "skip", "quarantine"]

BATCH_ROWS = 65_536
"""Rows handed out at once, at most: a few columns of them fit into a core's second-level cache."""

MOST_TEXT = 65_536
"""Characters kept of a rejected row."""

REJECTED = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("text", pa.string())]
)
"""The shape of rejected rows: where each stood (row 1 is the first), why, and what it said."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where reading goes on: the next row is row `row` (from 0) of file number `file` (from 0)."""

    file: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """``column op value``, with a value of the column's own type (times in ns)."""

    column: str
    op: Literal["<", "<=", ">", ">=", "==", "!="]
    value: Any


@dataclass(frozen=True, slots=True)
class Predicate:
    """What every row that matters satisfies, so that a source may spare reading the others.

    No row is hidden: where statistics prove that no row of a piece of the file passes, the columns
    outside `always` come as nulls instead of being read. A comparison with null is false, so the
    `where` behind the source drops these rows and counts them as it would have.

    Attributes
    ----------
    all_of : comparisons that hold together
    always : columns read for every row: those of time and keys
    """

    all_of: tuple[Comparison, ...]
    always: tuple[str, ...] = ()


Piece = tuple[pa.RecordBatch, Position]


@dataclass
class Rejects:
    """Rows that could not be read, until the runtime takes them.

    Attributes
    ----------
    altered : by raw field how many values became missing, and how many the nearest that fits
    """

    count: int = 0
    altered: dict[str, tuple[int, int]] = field(default_factory=dict)
    _columns: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in REJECTED.names}
    )

    def add(self, file: str, row: int, reason: str, text: str) -> None:
        """Note one row; `row` counts from 1."""
        self.count += 1
        for name, value in zip(REJECTED.names, (file, row, reason, text[:MOST_TEXT]), strict=True):
            self._columns[name].append(value)

    def alter(self, name: str, *, nulled: int = 0, clamped: int = 0) -> None:
        """Note values of a field that a policy changed."""
        before = self.altered.get(name, (0, 0))
        self.altered[name] = (before[0] + nulled, before[1] + clamped)

    def take_altered(self) -> dict[str, tuple[int, int]]:
        """What `alter` noted since the last call."""
        out, self.altered = self.altered, {}
        return out

    def take(self) -> pa.RecordBatch | None:
        """All rows noted since the last call, in the shape of `REJECTED`; None if there are none."""
        if not self._columns["row"]:
            return None
        batch = pa.RecordBatch.from_pydict(self._columns, schema=REJECTED)
        self._columns = {name: [] for name in REJECTED.names}
        return batch

    def forget(self) -> None:
        """Drop what is noted, count included."""
        self.take()
        self.take_altered()
        self.count = 0


class Source(ABC):
    """Rows of one recording or feed, in the order in which they stand there.

    Columns come as the file has them; the engine makes keys and event time of them. Every batch
    has been validated in full before it is handed out, so damaged files are refused here.

    Parameters
    ----------
    address : a path, with the captures in braces: ``exp{exp}_user{user}.npz``
    declared : the raw columns that the pipeline declares, with their types; a connector for text
        converts to them, others leave casting to the engine; None: whatever the file says
    captures : which ``{name}`` in the address are captured key columns; None: all of them
    on_error : what to do with a row that cannot be read: raise, or note it in `rejects`
    fitting : raw fields with a policy for values that do not fit: "reject" the row, "null" (missing),
        "clamp" (the nearest that the type holds, missing where none is near)
    **options : as `options` says, resolved

    Raises
    ------
    SourceError : an option that the connector does not have or that does not fit
    """

    name: ClassVar[str]
    options: ClassVar[Signature] = Signature()
    extra: ClassVar[str | None] = None
    needs_address: ClassVar[bool] = True
    is_live: ClassVar[bool] = False
    describes_itself: ClassVar[bool] = True
    """Says its columns and types before the run; of others the pipeline has to declare them."""
    converts: ClassVar[bool] = False
    """Reads text, and gives each field the type that is declared."""
    mistakes: ClassVar[OnError] = "stop"
    """What becomes of rows that cannot be read, where ``on error`` does not say it."""
    received: ClassVar[str] = ""
    """The raw field that says when a row came; empty: none."""

    def __init__(
        self,
        address: str = "",
        *,
        declared: pa.Schema | None = None,
        captures: Sequence[str] | None = None,
        on_error: OnError = "stop",
        fitting: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401  # each connector says what it takes
    ) -> None:
        self.address = address
        self.declared = declared
        self.on_error: OnError = on_error
        self.fitting = dict(fitting or {})
        self.rejects = Rejects()
        self.wanted_captures = tuple(captures) if captures is not None else None
        try:
            self.given: dict[str, Any] = self.options.bind((), options)
        except OptionError as error:
            fix = f"; {error.fix}" if error.fix else ""
            raise SourceError(f"`{self.name}` {error.message}{fix}") from None

    @property
    def rate_hz(self) -> float | None:
        """Samples per second [Hz], if the file says so."""
        return None

    @property
    def start_ns(self) -> int | None:
        """Instant of the first row [ns since 1970, UTC], if the file says so apart from its columns."""
        return None

    @property
    def captures(self) -> tuple[str, ...]:
        """Key columns captured from the path; they come as text columns, constant in each file."""
        return ()

    @abstractmethod
    def schema(self) -> pa.Schema | None:
        """Names and types of the raw columns, captures included; None if nothing can say.

        Units stand in the fields' metadata under ``flowedge.unit``.

        Raises
        ------
        SourceError : the file is missing, empty, or unreadable
        """

    @abstractmethod
    def batches(
        self,
        columns: Sequence[str] | None = None,
        predicate: Predicate | None = None,
        start: Position | None = None,
    ) -> Iterator[Piece]:
        """Batches of at most `BATCH_ROWS` rows, each with the position behind it.

        Parameters
        ----------
        columns : which raw columns to read, in any order; None: all
        predicate : a hint that may spare reading, see `Predicate`
        start : a position that an earlier call gave; None: the beginning

        Raises
        ------
        SourceError : one sentence: what is wrong, where, and what to do
        """

    def acknowledge(self, position: Position) -> None:  # noqa: B027  # a recording keeps its rows
        """Hear that the rows before a position are never asked for again, and may be forgotten.

        A run with checkpoints says so once a checkpoint is on the disk and its files are shown, of the
        oldest checkpoint that is kept: a damaged one gives way to the one before. Until then, and
        after a kill between the two, rows are asked for again from where `start` says. What has been
        said may be said again. The call comes between two batches, from the thread of the run, while
        `batches` may be at work on another.
        """

    @abstractmethod
    def paths(self) -> list[str]:
        """The files that are read, in order; empty for what is not a file.

        Raises
        ------
        SourceError : a missing file, or a pattern without a match
        """


connector: Folder[Source] = Folder("flowedge.sources")
"""Registers a source under the user's word, ``@connector("arrow")``, and finds it again."""
