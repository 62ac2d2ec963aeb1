"""Arrow IPC files and streams, mapped into memory: no copy, and constant memory over any size."""

import mmap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Predicate, connector
from flowedge.sources.files import FileSource, first_line, no_column
from flowedge.types.connectors import Option, Signature

_FILE_MAGIC = b"ARROW1"
_CONTINUES = b"\xff\xff\xff\xff"
_END = b"\xff\xff\xff\xff\0\0\0\0"
_OLD_END = b"\0\0\0\0"
_OTHERS = {b"PAR1": "Parquet", b"FEA1": "Feather V1", b"\x1f\x8b": "gzip", b"PK": "zip"}
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
        with _open(path, None)[0] as reader:
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
        reader, mapped = _open(path, columns)
        read_bytes = 0
        for whole in _batches(reader, columns, path, mapped):
            if skip >= whole.num_rows:
                skip -= whole.num_rows
                continue
            for at in range(skip, whole.num_rows, BATCH_ROWS):
                _require_whole(path, mapped)
                batch = whole.slice(at, BATCH_ROWS)
                yield batch
                read_bytes += batch.nbytes
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


def _batches(
    reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader,
    columns: list[str] | None,
    path: str,
    mapped: mmap.mmap | None,
) -> Iterator[pa.RecordBatch]:
    """The batches of a reader, with these columns in this order."""
    if isinstance(reader, pa.RecordBatchFileReader):
        found = (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        found = iter(reader)
    _require_whole(path, mapped)
    for batch in found:
        yield batch if columns is None else batch.select(columns)
        _require_whole(path, mapped)


def _require_whole(path: str, mapped: mmap.mmap | None) -> None:
    """Stop before a part of the mapping is read that the file does not have any more, which would end the process.

    A moment remains between this and the reading. Copies of all batches would close it.
    """
    if mapped is not None and mapped.size() < len(mapped):
        raise SourceError(f"`{path}` was cut short while it was read; write it again")


def _open(
    path: str, columns: list[str] | None
) -> tuple[pa.RecordBatchFileReader | pa.RecordBatchStreamReader, mmap.mmap | None]:
    """A reader of these columns, and the mapping behind it (None for a pipe)."""
    if not Path(path).is_file():  # a pipe cannot be mapped
        return pa.ipc.open_stream(pa.PythonFile(Path(path).open("rb"), "r")), None
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
        reader = opener(pa.BufferReader(pa.py_buffer(mapped)))
        # Arrow copies what it reads when told to read some columns only; views of all are for free.
        if columns is not None and _is_compressed(reader, mapped):
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
    return reader, mapped


def _is_compressed(
    reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader, mapped: mmap.mmap
) -> bool:
    """Whether to read a column costs more than to look at it: its bytes are not those of the file."""
    if isinstance(reader, pa.RecordBatchStreamReader) or not reader.num_record_batches:
        return False
    whole = pa.py_buffer(mapped)
    buffers = [
        b for c in reader.get_batch(0).columns for b in c.buffers() if b is not None and b.size
    ]
    return any(not 0 <= b.address - whole.address < whole.size for b in buffers)


def _is_old_stream(mapped: mmap.mmap) -> bool:
    """Whether it begins as streams did before 2019, with the length of the first message alone."""
    length = int.from_bytes(mapped[:4], "little")
    return mapped[:4] != _CONTINUES and 0 < length < min(len(mapped), 1 << 24)
