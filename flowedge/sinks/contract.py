"""What a sink owes: it takes rows in order, and shows nothing until it is safe."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.digests import Digest
from flowedge.types.connectors import OptionError, Signature
from flowedge.types.folder import Folder

Durability = Literal["commit", "interval", "os"]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is complete, synced to the disk, and visible under its name."""

    path: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A file that is complete under a temporary name, and waits to be shown."""

    path: str
    rows: int
    size_bytes: int
    digest: Digest

    def state(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        told = {"path": self.path, "rows": self.rows, "size_bytes": self.size_bytes}
        return {**told, **self.digest.entry}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Ready":
        """The inverse of `state`; raises TypeError for anything else."""
        digest, rest = Digest.taken(state)
        return cls(digest=digest, **rest)


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a checkpoint says of a sink that goes on.

    Attributes
    ----------
    committed : files shown before
    ready : files to be shown with it
    state : what `Sink.state` gave
    rows : the stream's rows from ``state["from"]`` on, each batch with the number of its first row
    """

    committed: int = 0
    ready: tuple[Ready, ...] = ()
    state: dict[str, Any] | None = None
    rows: Iterable[tuple[int, pa.RecordBatch]] = ()


@dataclass(frozen=True)
class Provenance:
    """What the files of a run tell of where they come from.

    Attributes
    ----------
    header : the pipeline's digest, those of its models
    closing : what is known at the end: the rows of each source
    sign : makes the signature of a message; None: unsigned
    """

    header: dict[str, Any] = field(default_factory=dict)
    closing: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[bytes], dict[str, str]] | None = None


class Sink(ABC):
    """Rows go in with `write`; what is complete is shown by `commit`; `abort` leaves no trace.

    The life of a sink: `open`, any number of `write`, `finish`. In between, at every checkpoint,
    `prepare` and then, once the checkpoint is on the disk, `commit` (two-phase commit, with the
    checkpoint as its decision: Gray, "Notes on data base operating systems", 1978). A run without
    checkpoints calls `close`, which is `finish`, `prepare` and `commit`.

    Batches are kept until a whole block can be written, so they must not change after `write`.

    Parameters
    ----------
    address : a path, with names of columns in braces: ``out/{device}.arrow``
    names : which ``{name}`` in the address are columns; None: all of them
    **options : as `options` says, resolved

    Raises
    ------
    SinkError : an option that the connector does not have or that does not fit
    """

    name: ClassVar[str]
    options: ClassVar[Signature] = Signature()
    extra: ClassVar[str | None] = None
    needs_address: ClassVar[bool] = True
    writes_files: ClassVar[bool] = True
    """Nothing is seen before `commit`, so that with checkpoints each row is there exactly once."""

    holds_back = False
    """Set by a run with checkpoints: what is complete waits for `commit`."""
    durability: Durability = "commit"
    provenance = Provenance()

    def __init__(
        self,
        address: str = "",
        *,
        names: Sequence[str] | None = None,
        **options: Any,  # noqa: ANN401  # each connector says what it takes
    ) -> None:
        self.address = address
        self.wanted_names = tuple(names) if names is not None else None
        try:
            self.given: dict[str, Any] = self.options.bind((), options)
        except OptionError as error:
            fix = f"; {error.fix}" if error.fix else ""
            raise SinkError(f"`{self.name}` {error.message}{fix}") from None

    @property
    def rolls(self) -> bool:
        """Files become complete in the course of the stream, and not all at its end."""
        return False

    @abstractmethod
    def open(self, schema: pa.Schema, resumed: Resumed | None = None) -> None:
        """Get ready for rows of this schema; metadata of fields and schema are kept in the files.

        A text column may carry its known texts as a JSON list under ``flowedge.labels``; they
        become the beginning of its dictionary.

        Parameters
        ----------
        resumed : go on from a checkpoint, after `recover`

        Raises
        ------
        SinkError : the output cannot be written
        """

    @property
    def grows(self) -> bool:
        """What `state` gives is enough to go on from: the rows so far are on the disk."""
        return False

    def holds(self, state: dict[str, Any] | None) -> bool:
        """Whether all that a state speaks of is on the disk."""
        del state
        return True

    def recover(self, resumed: Resumed) -> list[str]:
        """Finish the commit that a checkpoint decided; what had to be done besides, as sentences.

        Raises
        ------
        SinkError : "DATA LOSS": what the checkpoint speaks of is gone
        """
        del resumed
        return []

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; however they are cut into batches, the same bytes are written.

        Raises
        ------
        SinkError : the first error spoils the output for good; call `abort`
        """

    @abstractmethod
    def finish(self) -> None:
        """No more rows: complete all files; raises SinkError."""

    def prepare(self) -> list[Ready]:
        """Files that are complete, safe on the disk under temporary names; raises SinkError."""
        return []

    def commit(self) -> list[WrittenFile]:
        """Show what `prepare` gave, and make that last; raises SinkError."""
        return []

    def settle(self) -> None:  # noqa: B027  # what shows nothing has nothing to settle
        """The run is complete: what runs before have left is removed; raises SinkError."""

    @property
    def encryption_key(self) -> bytes | None:
        """What its rows are encrypted with; raises SecretError."""
        return None

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the rows that it has taken and not written."""
        return 0

    @property
    def shown(self) -> int:
        """How many files of this run are shown."""
        return 0

    def files(self) -> list[WrittenFile]:
        """The files of this run that are shown."""
        return []

    def state(self) -> dict[str, Any]:
        """What `open` needs to go on, plain data; ``from`` is the first row that it needs again."""
        return {"from": 0}

    def close(self) -> list[WrittenFile]:
        """Write what is left, sync, and make everything visible at once.

        Raises
        ------
        SinkError : nothing became visible
        """
        try:
            self.finish()
            self.prepare()
            written = self.commit()
            self.settle()
        except SinkError:
            self.abort()
            raise
        return written

    @abstractmethod
    def abort(self) -> None:
        """Remove what was not finished; never raises, and may be called at any time."""

    @abstractmethod
    def paths(self) -> list[str]:
        """Where files are written: a file or a directory, names in braces left as they are."""


connector: Folder[Sink] = Folder("flowedge.sinks")
"""Registers a sink under the user's word, ``@connector("arrow")``, and finds it again."""
