"""Parquet files, directories of them (with or without Hive partitions), and patterns."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Comparison, Predicate, connector
from flowedge.sources.files import FileSource, first_line, no_column
from flowedge.sources.limits import check_names, check_ratio, check_rows
from flowedge.sources.paths import Found, check_file, find
from flowedge.types.connectors import Option, Signature
from flowedge.types.encryption import encryption_key, parquet_decryption

_AT_ONCE = 32 << 20
"""Bytes of the columns of a row group up to which they are read whole."""
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@connector("parquet")
class Parquet(FileSource):
    """Read Parquet row group by row group, only the columns that are needed.

    A directory stands for all ``*.parquet`` below it, in the order of the bytes of their paths;
    folders named ``patient=17`` add the text column ``patient``. Page checksums are verified
    where the file has them.
    """

    options = Signature(
        (
            Option("columns", "names", (), "read only these columns"),
            Option("decrypt", "secret", None, "where the key of encrypted files lies"),
            Option("hive", "flag", default=True, doc="folders named key=value are columns"),
        )
    )

    _key: bytes | None = None

    @cached_property
    def found(self) -> list[Found]:
        """Single files; directories are walked."""
        out: list[Found] = []
        for one in find(self.address, self.wanted_captures, directories=True):
            if not Path(one.path).is_dir():
                out.append(one)
                continue
            inside = sorted(_below(Path(one.path)), key=os.fsencode)
            if not inside:
                raise SourceError(f"the directory `{one.path}` holds no `.parquet` file")
            for path in inside:
                check_file(path)
                captured = dict(one.captured)
                if self.given["hive"]:
                    captured |= _hive(Path(path).relative_to(one.path))
                out.append(Found(path, captured))
        return out

    def schema_of(self, path: str) -> pa.Schema:
        """The Arrow schema of the file's footer."""
        with self._open(path) as file:
            schema: pa.Schema = file.schema_arrow
        for name in self.given["columns"]:
            if name not in schema.names:
                raise no_column(path, name, schema.names)
        if self.given["columns"]:
            return pa.schema([schema.field(n) for n in self.given["columns"]], schema.metadata)
        return schema

    def _open(self, path: str, buffer: int = 1 << 20) -> pq.ParquetFile:
        if self.given["decrypt"] is None:
            return _open(path, None, buffer)
        if self._key is None:
            self._key = encryption_key(self.given["decrypt"])
        return _open(path, self._key, buffer)

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """One row group after the other; of those that cannot pass only what every row needs."""
        with self._open(path) as file, self._open(path, buffer=0) as whole:
            schema = file.schema_arrow
            check_names(path, schema.names)
            names = (
                columns if columns is not None else (list(self.given["columns"]) or schema.names)
            )
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if not self.given["trusted"]:
                    _check_group(path, file.metadata.row_group(group), group)
                if skip >= rows:
                    skip -= rows
                    continue
                read = names
                size = min(
                    Path(path).stat().st_size, file.metadata.row_group(group).total_byte_size
                )
                reader = whole if size <= _AT_ONCE else file
                if predicate is not None and _excluded(reader, group, predicate):
                    read = [n for n in names if n in predicate.always]
                seen = 0
                for batch in _group(reader, group, read, rows):
                    seen += batch.num_rows
                    if skip >= batch.num_rows:
                        skip -= batch.num_rows
                        continue
                    rest = batch.slice(skip)
                    skip = 0
                    yield _shaped(rest, names, schema)
                if seen != rows:  # pages of a kind that it does not know are passed over by Arrow
                    raise SourceError(
                        f"`{path}` is damaged: row group {group + 1} has {seen} of its {rows} rows; restore it from a good copy"
                    )


def _check_group(path: str, group: Any, number: int) -> None:  # noqa: ANN401
    """What the footer says of a row group, before any of it is read; raises SourceError.

    Of its columns together: asked for the metadata of one, Arrow ends the process where they are damaged.
    """
    check_rows(path, f"row group {number}", group.num_rows)
    check_ratio(path, f"row group {number}", Path(path).stat().st_size, group.total_byte_size)


def _open(path: str, key: bytes | None, buffer: int) -> pq.ParquetFile:
    with Path(path).open("rb") as file:
        head = file.read(6)
    if head[:6] == b"ARROW1":
        raise SourceError(f"`{path}` is an Arrow file, not Parquet; read it with `arrow(…)`")
    if head[:4] not in (b"PAR1", b"PARE"):
        raise SourceError(f"`{path}` is not a Parquet file: it begins with {head!r}")
    if head[:4] == b"PARE" and key is None:
        raise SourceError(
            f'`{path}` is encrypted; say where its key lies: `decrypt=secret("file:KEY")`'
        )
    try:
        # Streams through 1 MiB buffers: with a whole column chunk in memory, or the file mapped,
        # the memory would grow with the size of a row group. But what is small is read whole: a
        # damaged page that claims 2 GB makes a buffer of that size, and a read of the whole none.
        return pq.ParquetFile(
            path, buffer_size=buffer, pre_buffer=False, page_checksum_verification=True,
            decryption_properties=None if key is None else parquet_decryption(key),
        )  # fmt: skip
    except (pa.ArrowException, OSError) as error:
        with Path(path).open("rb") as file:
            file.seek(-4, os.SEEK_END)
            if file.read(4) not in (b"PAR1", b"PARE"):
                raise SourceError(
                    f"`{path}` is cut short: the end of the Parquet file is missing; copy it again, "
                    "or wait until it is written"
                ) from None
        raise SourceError(
            f"`{path}` is damaged and cannot be read as parquet ({first_line(error)}); "
            "restore it from a good copy"
        ) from None


def _group(
    file: pq.ParquetFile, group: int, columns: list[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of one row group; without columns still its rows."""
    if columns:
        yield from file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)
        return
    empty = pa.schema([pa.field("_", pa.null())])
    for at in range(0, rows, BATCH_ROWS):
        yield pa.RecordBatch.from_arrays([pa.nulls(min(BATCH_ROWS, rows - at))], schema=empty)


def _shaped(batch: pa.RecordBatch, names: list[str], schema: pa.Schema) -> pa.RecordBatch:
    """The columns in the order asked for, nulls where they were not read."""
    have = set(batch.schema.names)
    arrays = [
        batch.column(n) if n in have else pa.nulls(batch.num_rows, schema.field(n).type)
        for n in names
    ]
    fields = [schema.field(n).with_nullable(nullable=True) for n in names]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=schema.metadata))


def _excluded(file: pq.ParquetFile, group: int, predicate: Predicate) -> bool:
    """Whether the statistics of a row group prove that none of its rows passes."""
    meta = file.metadata.row_group(group)
    by_name = {file.schema.column(i).path: i for i in range(meta.num_columns)}
    for comparison in predicate.all_of:
        place = by_name.get(comparison.column)
        if place is None:
            continue
        # Damaged statistics end the process when they are asked for, while reading tells of them.
        next(file.iter_batches(1, row_groups=[group], columns=[comparison.column]), None)
        bounds = _bounds(meta.column(place), file.schema_arrow.field(comparison.column).type)
        if bounds is not None and _never(comparison, *bounds):
            return True
    return False


def _bounds(chunk: Any, kind: pa.DataType) -> tuple[Any, Any] | None:  # noqa: ANN401  # untyped in Arrow
    """Least and greatest value of a column chunk, times in ns; None if the file does not say."""
    if not chunk.is_stats_set or not chunk.statistics.has_min_max:
        return None
    stats = chunk.statistics
    if pa.types.is_timestamp(kind):
        if not isinstance(stats.min_raw, int):
            return None
        scale = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[kind.unit]
        return stats.min_raw * scale, stats.max_raw * scale
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return stats.min, stats.max
    return None


def _never(comparison: Comparison, low: Any, high: Any) -> bool:  # noqa: ANN401  # of the column's type
    """Whether no value from `low` to `high` satisfies the comparison."""
    value = comparison.value
    match comparison.op:
        case "<":
            return bool(low >= value)
        case "<=":
            return bool(low > value)
        case ">":
            return bool(high <= value)
        case ">=":
            return bool(high < value)
        case "==":
            return bool(value < low or value > high)
        case _:
            return bool(low == value == high)


def _below(directory: Path) -> Iterator[str]:
    """All Parquet files of a tree; names that begin with a dot or underscore are not data."""
    for entry in directory.iterdir():
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            yield from _below(entry)
        elif entry.suffix == ".parquet":
            yield str(entry)


def _hive(relative: Path) -> dict[str, str]:
    """What folders named ``key=value`` say."""
    pairs = (part.split("=", 1) for part in relative.parts[:-1] if "=" in part)
    return {
        unquote(key): "" if value == _NULL_PARTITION else unquote(value) for key, value in pairs
    }
