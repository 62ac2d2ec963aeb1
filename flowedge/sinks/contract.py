"""What a sink owes: it takes rows in order, and shows nothing until they are safe."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.types.connectors import OptionError, Signature
from flowedge.types.folder import Folder


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that is complete, synced to the disk, and visible under its name."""

    path: str
    rows: int
    size_bytes: int


class Sink(ABC):
    """Rows go in with `write`; `close` makes them last, `abort` leaves no trace.

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

    @abstractmethod
    def open(self, schema: pa.Schema) -> None:
        """Get ready for rows of this schema; metadata of fields and schema are kept in the files.

        A text column may carry its known texts as a JSON list under ``flowedge.labels``; they
        become the beginning of its dictionary.

        Raises
        ------
        SinkError : the output cannot be written
        """

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; however they are cut into batches, the same bytes are written.

        Raises
        ------
        SinkError : the first error spoils the output for good; call `abort`
        """

    @abstractmethod
    def close(self) -> list[WrittenFile]:
        """Write what is left, sync, and make everything visible at once.

        Raises
        ------
        SinkError : nothing became visible
        """

    @abstractmethod
    def abort(self) -> None:
        """Remove what was not finished; never raises, and may be called at any time."""

    @abstractmethod
    def paths(self) -> list[str]:
        """Where files are written: a file or a directory, names in braces left as they are."""


connector: Folder[Sink] = Folder("flowedge.sinks")
"""Registers a sink under the user's word, ``@connector("arrow")``, and finds it again."""
