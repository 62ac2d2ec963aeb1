"""What entered a session, entry by entry, so that it can enter again: rows, marks, ends, and calls of models that were late.

The file begins with `MAGIC`; each entry is u32 length, u32 CRC-32, and msgpack of one of

- ``["pipeline", digest, version]``: what was run; once, at the beginning
- ``["schema", source, bytes]``: the columns of the rows to come, as Arrow IPC
- ``["rows", source, partition, received, bytes]``: a record batch; received [ns since 1970], or nil
- ``["mark", source, partition, time]``: no row before this time [ns] will come
- ``["end", source, partition]``: nor any other; nil: of no partition
- ``["below", priority]``: from here on, what only sinks of a lower priority need is left out
- ``["turned", source, count]``: so many rows were not taken, for it was too late
- ``["late", model, call]``: the call of this number (from 0) with a deadline came too late
- ``["missed", sink, [start, stop, …]]``: rows of these numbers (from 0) were handed over too late
- ``["shed", sink, [start, stop, …]]``: rows of these numbers were not handed over, for the peer took too few

Numbers are little-endian. A file that a crash cut short is good up to there.
"""

import os
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgpack
import pyarrow as pa

from flowedge import __version__
from flowedge.lang.errors import RunError, SinkError
from flowedge.runtime.punctual import Numbers, is_spans
from flowedge.sinks.atomic import explained

MAGIC = b"FLOWREC1"
_HEAD = 8
_LONGEST = 1 << 30
_KINDS = {
    "pipeline": 3,
    "schema": 3,
    "rows": 5,
    "mark": 4,
    "end": 3,
    "late": 3,
    "missed": 3,
    "below": 2,
    "turned": 3,
    "shed": 3,
}

Entry = list[Any]


class Recorder:
    """Writes a recording.

    Parameters
    ----------
    path : of the file, which is made anew
    pipeline : digest of what is run
    kept : bytes of the recording that a checkpoint speaks of; what stands behind them is cut off

    Raises
    ------
    SinkError : the file cannot be written, or lacks what the checkpoint speaks of
    """

    def __init__(self, path: Path, pipeline: str, kept: int | None = None) -> None:
        self.path = path
        self._schemas: dict[str, pa.Schema] = {}
        self._lock = threading.Lock()
        try:
            self._file: IO[bytes] = path.open("r+b" if kept else "wb")
            if kept:
                size = self._file.seek(0, os.SEEK_END)
                if size < kept:
                    self._file.close()
                    raise SinkError(
                        f"DATA LOSS: `{path}` has {size:,} bytes and the checkpoint speaks of {kept:,}; put the file "
                        "back, or start afresh without the state"
                    )
                self._file.truncate(kept)
                self._file.seek(kept)
            else:
                self._file.write(MAGIC)
        except OSError as error:
            raise explained(path, error) from None
        if not kept:
            self._write(["pipeline", pipeline, __version__])

    def rows(self, source: str, partition: str, received_ns: int | None, batch: Any) -> None:  # noqa: ANN401
        """Note rows that are pushed; raises SinkError."""
        batch = _plain(batch)
        if self._schemas.get(source) != batch.schema:
            self._schemas[source] = batch.schema
            self._write(["schema", source, batch.schema.serialize().to_pybytes()])
        self._write(["rows", source, partition, received_ns, batch.serialize().to_pybytes()])

    def mark(self, source: str, partition: str, time: int) -> None:
        """Note a mark; raises SinkError."""
        self._write(["mark", source, partition, time])

    def end(self, source: str, partition: str | None) -> None:
        """Note an end; raises SinkError."""
        self._write(["end", source, partition])

    def late(self, model: str, call: int) -> None:
        """Note a call that was late; raises SinkError."""
        self._write(["late", model, call])

    def act(self, what: str, sink: str, rows: list[int]) -> None:
        """Note rows that were ``missed`` or ``shed``: start and stop of each run of them. From any thread; raises SinkError."""
        self._write([what, sink, rows])

    def below(self, priority: int) -> None:
        """Note which sinks get nothing from here on; raises SinkError."""
        self._write(["below", priority])

    def turned(self, source: str, rows: int) -> None:
        """Note how many rows were not taken; raises SinkError."""
        self._write(["turned", source, rows])

    def _write(self, entry: Entry) -> None:
        body = msgpack.packb(entry)
        head = len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
        try:
            with self._lock:
                self._file.write(head + body)
        except OSError as error:
            raise explained(self.path, error) from None

    def sync(self) -> int:
        """Make it last; how many bytes it has. Raises SinkError."""
        try:
            with self._lock:
                self._file.flush()
                os.fsync(self._file.fileno())
                return self._file.tell()
        except OSError as error:
            raise explained(self.path, error) from None

    def close(self) -> None:
        """Write what is left; raises SinkError."""
        try:
            self._file.close()
        except OSError as error:
            raise explained(self.path, error) from None


@dataclass
class Player:
    """Reads a recording.

    Parameters
    ----------
    path : of the file

    Attributes
    ----------
    late : by model, the numbers of its calls that were late
    missed : by sink, the numbers of its rows that were late
    shed : by sink, the numbers of those that a peer never got
    pipeline : digest of what was run
    entries : how many there are
    is_cut_short : the file ends in the middle of an entry

    Raises
    ------
    RunError : it is no recording, or it is damaged
    """

    path: Path
    late: dict[str, set[int]] = field(default_factory=dict)
    missed: dict[str, Numbers] = field(default_factory=dict)
    shed: dict[str, Numbers] = field(default_factory=dict)
    pipeline: str = ""
    entries: int = 0
    is_cut_short: bool = False

    def __post_init__(self) -> None:
        """Read all of it once: an act is noted behind the rows that it was about."""
        for entry in self._entries():
            self.entries += 1
            if entry[0] == "late":
                self.late.setdefault(entry[1], set()).add(entry[2])
            elif entry[0] in ("missed", "shed"):
                acts = self.missed if entry[0] == "missed" else self.shed
                acts.setdefault(entry[1], Numbers()).add(entry[2])
            elif entry[0] == "pipeline":
                self.pipeline = entry[1]

    def play(self, skip: int = 0) -> Iterator[tuple[int, Entry]]:
        """Number and entry of each that enters a session, from number `skip` on; rows as a record batch."""
        schemas: dict[str, pa.Schema] = {}
        for number, entry in enumerate(self._entries()):
            kind = entry[0]
            if kind == "schema":
                schemas[entry[1]] = pa.ipc.read_schema(pa.py_buffer(entry[2]))
            if number < skip or kind in ("pipeline", "schema", "late", "missed", "shed"):
                continue
            if kind == "rows":
                if entry[1] not in schemas:
                    raise self._damaged(number)
                try:
                    batch = pa.ipc.read_record_batch(pa.py_buffer(entry[4]), schemas[entry[1]])
                    batch.validate(full=True)
                except (pa.ArrowException, OSError, ValueError):
                    raise self._damaged(number) from None
                entry = [*entry[:4], batch]  # noqa: PLW2901
            yield number, entry

    def _entries(self) -> Iterator[Entry]:
        try:
            with self.path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise RunError(f"`{self.path}` is no recording; `run --record FILE` makes one")
                number = 0
                while head := file.read(_HEAD):
                    size = int.from_bytes(head[:4], "little")
                    body = file.read(min(size, _LONGEST + 1))
                    if len(head) < _HEAD or (len(body) < size <= _LONGEST):
                        self.is_cut_short = True
                        return
                    if size > _LONGEST or zlib.crc32(body).to_bytes(4, "little") != head[4:]:
                        raise self._damaged(number)
                    yield self._entry(body, number)
                    number += 1
        except OSError as error:
            raise RunError(f"cannot read `{self.path}`: {error.strerror or error}") from None

    def _entry(self, body: bytes, number: int) -> Entry:
        try:
            entry = msgpack.unpackb(body, max_ext_len=0)
        except (ValueError, msgpack.UnpackException):
            raise self._damaged(number) from None
        if not isinstance(entry, list) or not entry or _KINDS.get(entry[0]) != len(entry):
            raise self._damaged(number)
        kinds = {"rows": (str, str, int | None, bytes), "mark": (str, str, int), "end": (str, str | None),
                 "late": (str, int), "missed": (str, list), "shed": (str, list), "below": (int,), "turned": (str, int), "schema": (str, bytes), "pipeline": (str, str)}[entry[0]]  # fmt: skip
        if not all(isinstance(x, kind) for x, kind in zip(entry[1:], kinds, strict=True)):
            raise self._damaged(number)
        if entry[0] in ("missed", "shed") and not is_spans(entry[2]):
            raise self._damaged(number)
        return entry

    def _damaged(self, number: int) -> RunError:
        return RunError(
            f"`{self.path}` is damaged at entry {number}; what was recorded cannot be trusted"
        )


def _plain(batch: Any) -> Any:  # noqa: ANN401
    """Texts as texts: a dictionary would have to be written with each batch."""
    if not any(pa.types.is_dictionary(f.type) for f in batch.schema):
        return batch
    columns, fields = [], []
    for f, column in zip(batch.schema, batch.columns, strict=True):
        is_packed = pa.types.is_dictionary(f.type)
        columns.append(column.dictionary_decode() if is_packed else column)
        fields.append(f.with_type(f.type.value_type) if is_packed else f)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))
