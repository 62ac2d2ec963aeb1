"""A folder into which recorders drop files."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import REJECTED, Position, connector
from flowedge.sources.drops import Drops, stamp_of
from flowedge.sources.files import FileSource
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Arrival, LiveSource, Shell
from flowedge.sources.paths import Found, captured_names
from flowedge.sources.payloads import PayloadError
from flowedge.sources.payloads.arrow import fitted
from flowedge.types.connectors import Option, Signature

FILE = "_file"
"""Raw field: the name of the file."""
_ENDINGS = {
    "csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet", "arrow": "arrow", "arrows": "arrow",
    "feather": "arrow", "msgpack": "msgpack", "npz": "npz", "wav": "wav", "flac": "flac",
    "mp4": "video", "mov": "video", "mkv": "video", "avi": "video", "webm": "video",
}  # fmt: skip
_PACKED = (".gz", ".bz2", ".zst")
_POLL_S = 0.25
_WAIT_S = 0.05
_OVERHEAD = 200


class _Piece(NamedTuple):
    """Rows of a file, and where it stands behind them; `is_last`: it is read."""

    file: Found
    stamp: list[int]
    rows: pa.RecordBatch | None
    rejected: pa.RecordBatch | None
    row: int
    is_last: bool


@connector("dir")
class Dir(LiveSource):
    """Read files as they are dropped into a folder: ``dir("/data/incoming/{device}-*.csv")``.

    A file is read once it is complete (renamed into the folder, or unchanged for `settle`), by the connector that its ending
    names: csv, tsv, jsonl, parquet, arrow, msgpack, npz, wav, flac, or video (mp4, mov, mkv, avi, webm); of several in the order
    of their names. It is looked for four times a second. The columns are declared, or those of the file `like`; names in braces are captured
    keys, and the raw field ``_file`` is the name of the file. One partition.

    With a checkpoint each file is read once, and a killed run goes on inside the one at hand. A file that is written anew is
    read anew. Once a checkpoint covers it, or without checkpoints once it is read, a file may be deleted or moved. One
    that cannot be read stops the run, or under ``on error skip`` is counted and left.
    """

    converts: ClassVar[bool] = True
    describes_itself = False
    asks_again = True
    options = Signature((
        Option("settle", "duration", 2.0, "so long a file must stay as it is [s]"),
        Option("each", "text", "read", "what becomes of a file once it is safe", choices=("read", "delete", "move")),
        Option("to", "text", "", "the folder that `each=move` moves to"),
        Option("like", "text", "", "a file that has the columns of all"),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._pattern = f"{address}/*" if Path(address).is_dir() else address
        self._thread: threading.Thread | None = None
        if (self.given["each"] == "move") != bool(self.given["to"]):
            raise SourceError("`dir`: `each=move` and `to` go together")
        if not self.given["settle"] >= 0:
            raise SourceError("`dir`: `settle` is no time before now")

    @property
    def captures(self) -> tuple[str, ...]:
        """Names in braces in the address."""
        return captured_names(self.address, self.wanted_captures)

    def schema(self) -> pa.Schema | None:
        """The columns of the file `like`, with captures; raises SourceError."""
        like = self.given["like"]
        if not like:
            return None
        found = _reader(like)(like, captures=(), on_error="skip")
        texts = [pa.field(name, pa.string()) for name in (*self.captures, FILE)]
        return pa.schema([*(f for f in found.schema() if f.name not in self.captures), *texts])

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to look; raises SourceError."""
        declared = self.declared or pa.schema([])
        self._inside = pa.schema(
            [f for f in declared if f.name not in self.captures and f.name != FILE]
        )
        self._covers, self._bell, self._wall = shell.covers, shell.bell, shell.wall
        self._inbox: Inbox[_Piece | BaseException] = Inbox(shell.bell.ring)
        self._counts: Counter[str] = Counter()
        self._done: dict[str, list[int]] = {}
        self._at: tuple[str, list[int], int] | None = None
        self._gone: deque[str] = deque()
        if state:
            self._done = {str(path): list(stamp) for path, stamp in state["done"].items()}
            self._at = None if state["at"] is None else tuple(state["at"])
        self._to_clear: dict[str, list[int]] = {}
        if self.given["each"] != "read":
            there = Path(self.given["to"]).resolve() if self.given["to"] else None
            for path, stamp in self._done.items():
                if there is None or Path(path).resolve().parent != there:
                    self._to_clear[path] = stamp
        wanted = self.wanted_captures
        self._drops = Drops(self._pattern, wanted, float(self.given["settle"]), dict(self._done))
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._at,), name="flowedge-dir", daemon=True
        )
        self._thread.start()

    # ---- the thread

    def _run(self, at: tuple[str, list[int], int] | None) -> None:
        try:
            while not self._closing.is_set():
                for one in self._drops.complete():
                    stamp = stamp_of(one.path)
                    if stamp is None or self._closing.is_set():
                        continue
                    here = at is not None and at[0] == one.path and at[1] == stamp
                    self._read(one, stamp, at[2] if at is not None and here else 0)
                    self._drops.done[one.path] = stamp
                self._gone.extend(self._drops.gone)
                self._closing.wait(_POLL_S)
        except (SourceError, OSError) as error:
            self._inbox.put(error, 0)

    def _read(self, one: Found, stamp: list[int], row: int) -> None:
        """All of a file; raises SourceError under ``on error stop``."""
        source = None
        try:
            source = _reader(one.path)(
                self.address, declared=self._inside, captures=self.captures,
                on_error=self.on_error, fitting=self.fitting,
            )  # fmt: skip
            source.found = [one]
            for rows, behind in source.batches(columns=self._inside.names, start=Position(0, row)):
                row = behind.row
                batch = self._with_names(fitted(rows, self._inside), one)
                self._give(_Piece(one, stamp, batch, source.rejects.take(), row, is_last=False))
                if self._closing.is_set():
                    return
            rejected = source.rejects.take()
        except (SourceError, PayloadError) as error:
            told = f"`{one.path}`: {error}" if isinstance(error, PayloadError) else str(error)
            if stamp_of(one.path) is None:
                told = f"`{one.path}` went while it was read"
            if self.on_error == "stop":
                raise SourceError(told) from None
            self._counts["unreadable"] += 1
            rejected = pa.RecordBatch.from_pydict(
                {"file": [one.path], "row": [row + 1], "reason": [told], "text": [""]},
                schema=REJECTED,
            )
        self._give(_Piece(one, stamp, None, rejected, row, is_last=True))

    def _give(self, piece: _Piece) -> None:
        self._inbox.put(piece, _OVERHEAD + (piece.rows.nbytes if piece.rows is not None else 0))
        while not self._inbox.has_room and not self._closing.wait(_WAIT_S):
            pass

    def _with_names(self, rows: pa.RecordBatch, one: Found) -> pa.RecordBatch:
        """The declared fields, with what the path says."""
        names = {**one.captured, FILE: Path(one.path).name}
        columns = []
        fields = []
        for field in self.declared or pa.schema([]):
            if field.name not in names:
                columns.append(rows.column(field.name))
            elif pa.types.is_string(field.type):
                zeros = pa.repeat(pa.scalar(0, pa.int32()), rows.num_rows)
                columns.append(pa.DictionaryArray.from_arrays(zeros, pa.array([names[field.name]])))
            else:
                try:
                    value = pa.scalar(names[field.name]).cast(field.type)
                except pa.ArrowException:
                    told = f"`{field.name}` = `{names[field.name]}` is not {field.type}"
                    raise PayloadError(told) from None
                columns.append(pa.repeat(value, rows.num_rows))
            fields.append(pa.field(field.name, columns[-1].type))
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))

    # ---- the run

    def take(self) -> list[Arrival]:
        """Rows of the files that are complete; raises SourceError."""
        out = []
        while self._gone:
            self._done.pop(self._gone.popleft(), None)
        for piece in self._inbox.take():
            if isinstance(piece, BaseException):
                raise piece
            path = piece.file.path
            self._at = None if piece.is_last else (path, piece.stamp, piece.row)
            if piece.is_last:
                self._counts["files"] += 1
                self._done[path] = piece.stamp
                if self.given["each"] != "read":
                    self._to_clear[path] = piece.stamp
            rows = piece.rows if piece.rows is not None else None
            if rows is not None or piece.rejected is not None:
                out.append(
                    Arrival("", self._none if rows is None else rows, self._wall(), piece.rejected)
                )
        if not self._covers:
            self._clear(self._done)
        return out

    @property
    def _none(self) -> pa.RecordBatch:
        schema = self.declared or pa.schema([])
        return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)

    def state(self) -> dict[str, Any]:
        """Files that are read, and the place in the one at hand."""
        at = None if self._at is None else list(self._at)
        return {"done": {path: list(stamp) for path, stamp in self._done.items()}, "at": at}

    def covered(self, state: Mapping[str, Any]) -> None:
        """Delete or move the files that are read and safe."""
        self._clear(state["done"])

    def _clear(self, safe: Mapping[str, Any]) -> None:
        for path in [p for p, stamp in self._to_clear.items() if list(safe.get(p, ())) == stamp]:
            stamp = self._to_clear.pop(path)
            if stamp_of(path) != stamp:
                continue  # gone, or another by now
            try:
                if self.given["each"] == "delete":
                    Path(path).unlink()
                    continue
                self._done[self._drops.move(path, self.given["to"])] = self._done.pop(path)
            except OSError:
                self._counts["not_cleared"] += 1

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait."""
        return self._inbox.nbytes if self._thread is not None else 0

    def told(self) -> dict[str, int]:
        """Files that were read, and those that could not be."""
        return dict(self._counts) if self._thread is not None else {}

    def close(self) -> None:
        """Stop to look."""
        if self._thread is not None:
            self._closing.set()
            self._thread.join()


def _reader(path: str) -> type[FileSource]:
    """The connector of a file; raises SourceError."""
    name = path
    for packed in _PACKED:
        name = name.removesuffix(packed)
    ending = Path(name).suffix.removeprefix(".").lower()
    found = connector.get(_ENDINGS[ending]) if ending in _ENDINGS else None
    if found is None or not issubclass(found, FileSource):
        known = ", ".join(_ENDINGS)
        raise SourceError(f"`{path}`: nothing is known of files that end so; known are {known}")
    return found
