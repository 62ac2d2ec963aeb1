"""Arrow IPC files and streams, mapped into memory: no copy, and constant memory over any size."""

import mmap
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.arrow_messages import Messages, Piece
from flowedge.sources.contract import BATCH_ROWS, Predicate, connector
from flowedge.sources.files import FileSource, first_line, no_column
from flowedge.types.connectors import Option, Signature

_FILE_MAGIC = b"ARROW1"
_CONTINUES = b"\xff\xff\xff\xff"
_END = b"\xff\xff\xff\xff\0\0\0\0"
_OLD_END = b"\0\0\0\0"
_OTHERS = {b"PAR1": "Parquet", b"FEA1": "Feather V1", b"\x1f\x8b": "gzip", b"PK": "zip"}
_Reader: TypeAlias = pa.RecordBatchFileReader | pa.RecordBatchStreamReader
_DROP_AFTER = 8 << 20
"""Bytes read after which the pages read so far are given back to the system."""


@connector("arrow")
class Arrow(FileSource):
    """Read Arrow IPC, as a file or as a stream; which of the two is seen from its first bytes.

    Batches are views into the mapped file. Pages that were read are given back to the system
    every 8 MiB, so the memory of the process does not grow with the file; a view that is still
    held stays right, for its pages come back from the file when they are touched.
    """

    options = Signature((Option("columns", "names", (), "read only these columns"),))

    def schema_of(self, path: str) -> pa.Schema:
        """The schema in the file's first message."""
        with self._open(path, None)[0] as reader:
            schema = reader.schema
        only = self.given["columns"]
        for name in only:
            if name not in schema.names:
                raise no_column(path, name, schema.names)
        return schema if not only else pa.schema([schema.field(n) for n in only], schema.metadata)

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Views of at most `BATCH_ROWS` rows."""
        columns = columns if columns is not None else (list(self.given["columns"]) or None)
        reader, mapped, pieces = self._open(path, columns)
        read_bytes = 0
        for whole in _batches(reader, columns, path, mapped, pieces):
            if skip >= whole.num_rows:
                skip -= whole.num_rows
                continue
            for at in range(skip, whole.num_rows, BATCH_ROWS):
                _require_whole(path, mapped)
                batch = whole.slice(at, BATCH_ROWS)
                yield batch
                read_bytes += (
                    batch.nbytes
                )  # which looks at offsets: only now are they known to be right
                if mapped is not None and read_bytes >= _DROP_AFTER:
                    mapped.madvise(mmap.MADV_DONTNEED)
                    read_bytes = 0
            skip = 0
        if isinstance(reader, pa.RecordBatchStreamReader) and mapped is not None:
            end = _OLD_END if _is_old_stream(mapped) else _END
            if mapped[-len(end) :] != end:  # a cut between two batches is no error to the reader
                raise SourceError(
                    f"`{path}` is cut short: its stream has no end mark, so rows may be missing; "
                    "write it again and close the writer"
                )

    def _open(
        self, path: str, columns: list[str] | None
    ) -> tuple[_Reader, mmap.mmap | None, Iterator[Piece]]:
        """A reader of these columns, the mapping behind it (None for a pipe), and its pieces from the first batch on."""
        trusted = self.given["trusted"]
        if not Path(path).is_file():  # a pipe cannot be mapped
            if not trusted:
                raise SourceError(
                    f"`{path}` is no file, so that nothing in it can be looked at before it is read; "
                    "say `trusted=true` to the connector, or save it as a file"
                )
            return pa.ipc.open_stream(pa.PythonFile(Path(path).open("rb"), "r")), None, iter(())
        with Path(path).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_SEQUENTIAL)
        for magic, what in _OTHERS.items():
            if mapped[: len(magic)] == magic:
                advice = "; read it with `parquet(…)`" if what == "Parquet" else ""
                raise SourceError(f"`{path}` is a {what} file, not Arrow{advice}")
        is_file = mapped[:6] == _FILE_MAGIC
        if not is_file and mapped[:4] != _CONTINUES and not _is_old_stream(mapped):
            raise SourceError(f"`{path}` is not an Arrow file: it begins with {mapped[:8]!r}")
        opener = pa.ipc.open_file if is_file else pa.ipc.open_stream
        try:
            pieces = Messages(path, mapped, trusted).pieces(is_file=is_file)
            first = _to_batch(pieces)
            reader = opener(pa.BufferReader(pa.py_buffer(mapped)))
            # Arrow copies what it reads when told to read some columns only; views of all are for free.
            if columns is not None and is_file and any(piece.is_compressed for piece in first):
                places = [reader.schema.get_field_index(n) for n in columns]
                options = pa.ipc.IpcReadOptions(included_fields=places)
                reader = opener(pa.BufferReader(pa.py_buffer(mapped)), options=options)
        except (pa.ArrowException, OSError, ValueError) as error:
            if is_file and mapped[-6:] != _FILE_MAGIC:
                raise SourceError(
                    f"`{path}` is cut short: the end of the Arrow file is missing; copy it again, "
                    "or wait until it is written"
                ) from None
            raise SourceError(
                f"`{path}` is damaged and cannot be read as arrow ({first_line(error)}); "
                "restore it from a good copy"
            ) from None
        return reader, mapped, chain(first, pieces)


def _batches(
    reader: _Reader,
    columns: list[str] | None,
    path: str,
    mapped: mmap.mmap | None,
    pieces: Iterator[Piece],
) -> Iterator[pa.RecordBatch]:
    """The batches of a reader, with these columns in this order, each looked at before it is read."""
    if isinstance(reader, pa.RecordBatchFileReader):
        found = (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        found = iter(reader)
    while True:
        _require_whole(path, mapped)
        _to_batch(pieces)
        batch = next(found, None)
        if batch is None:
            return
        yield batch if columns is None else batch.select(columns)


def _to_batch(pieces: Iterator[Piece]) -> list[Piece]:
    """Look at what Arrow reads for its next batch: dictionaries, and the batch."""
    out = []
    for piece in pieces:
        out.append(piece)
        if piece.is_batch:
            break
    return out


def _require_whole(path: str, mapped: mmap.mmap | None) -> None:
    """Stop before a part of the mapping is read that the file does not have any more, which would end the process.

    A moment remains between this and the reading. Copies of all batches would close it.
    """
    if mapped is not None and mapped.size() < len(mapped):
        raise SourceError(f"`{path}` was cut short while it was read; write it again")


def _is_old_stream(mapped: mmap.mmap) -> bool:
    """Whether it begins as streams did before 2019, with the length of the first message alone."""
    length = int.from_bytes(mapped[:4], "little")
    return mapped[:4] != _CONTINUES and 0 < length < min(len(mapped), 1 << 24)
