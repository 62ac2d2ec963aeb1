"""Rows into a table of a DuckDB database, one file on this machine."""

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.cells import plain
from flowedge.sinks.contract import connector
from flowedge.sinks.remote import Unreachable
from flowedge.sinks.tables import PLACES, Kinds, TableSink, columns_of, quoted
from flowedge.types.compute import pc

_PASSES = ("could not set lock", "no space left", "disk quota", "conflict", "interrupt")
"""Words of errors that may pass: another process has the file, the disk is full, two transactions met."""


@connector("duckdb")
class Duckdb(TableSink):
    """Add rows to a table of a DuckDB database; the file and the table are made where they are missing.

    Times are `TIMESTAMP_NS` in UTC, to the nanosecond; missing values and NaN are NULL, lists of one length arrays. While the run
    lasts no other process can open the file: DuckDB has one writer.

    Raises
    ------
    SinkError : the file is no database or cannot be written, or the table has other columns
    """

    extra = "duckdb"
    _database: Any = None
    _error: Any = ()

    def connect(self, schema: pa.Schema) -> None:
        """Open the file; raises SinkError, Unreachable."""
        self.disconnect()
        try:
            import duckdb  # noqa: PLC0415  # an extra
        except ImportError:
            raise SinkError("`duckdb` needs its library; `pip install 'flowedge[duckdb]'`") from None  # fmt: skip
        self._error = duckdb.Error
        try:
            Path(self.address).parent.mkdir(parents=True, exist_ok=True)
            self._database = duckdb.connect(self.address)
            self._fit(schema)
            self._rows(
                f"CREATE TABLE IF NOT EXISTS {PLACES} (sink VARCHAR PRIMARY KEY, rows BIGINT NOT NULL, pipeline VARCHAR, target VARCHAR, "
                "changed TIMESTAMPTZ)"
            )
        except OSError as error:
            raise SinkError(f"cannot make {self.where}: {error.strerror or error}") from None
        except duckdb.Error as error:
            raise self._told(error) from None

    def _fit(self, schema: pa.Schema) -> None:
        """Make the table, or see that it takes the rows; raises SinkError."""
        table = self.given["table"]
        described = self._rows(
            "SELECT column_name, data_type, NOT is_nullable AND column_default IS NULL FROM duckdb_columns() "
            "WHERE table_name = ? AND schema_name = current_schema() AND database_name = current_database()",
            table,
        )
        found = {name: kind for name, kind, _ in described} if described else None
        needed = [name for name, _, is_needed in described if is_needed]
        kinds = columns_of({f.name: _kinds(f.type) for f in schema}, found, needed, self.where)
        if found is None:
            columns = ", ".join(f"{quoted(n)} {kind}" for n, kind in kinds.items())
            self._rows(f"CREATE TABLE {quoted(table)} ({columns})")
            if self.given["index"]:
                named = ", ".join(map(quoted, self.given["index"]))
                self._rows(f"CREATE INDEX {quoted(f'{table}_index')} ON {quoted(table)} ({named})")
        names = ", ".join(quoted(f.name) for f in schema)
        self._insert = f"INSERT INTO {quoted(table)} ({names}) SELECT {names} FROM rows_in_arrow"  # noqa: S608  # quoted

    def place(self) -> int:
        """The number of rows that were committed; raises SinkError, Unreachable."""
        try:
            found = self._rows(f"SELECT rows FROM {PLACES} WHERE sink = ?", self.stream)  # noqa: S608  # a constant
        except self._error as error:
            raise self._told(error) from None
        self._there = found[0][0] if found else -1
        return max(0, self._there)

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Insert and commit; raises SinkError, Unreachable."""
        columns = [_stored(column) for column in batch.columns]
        rows = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        upto = first + batch.num_rows
        try:
            self._database.register("rows_in_arrow", rows)
            self._rows("BEGIN")
            self._rows(self._insert)
            if self._there < 0:
                moved = self._rows(
                    f"INSERT INTO {PLACES} VALUES (?, ?, ?, ?, now()) ON CONFLICT DO NOTHING RETURNING rows",  # noqa: S608
                    self.stream, upto, self.pipeline, self.given["table"],
                )  # fmt: skip
            else:
                moved = self._rows(
                    f"UPDATE {PLACES} SET rows = ?, changed = now() WHERE sink = ? AND rows = ? RETURNING rows",  # noqa: S608
                    upto, self.stream, self._there,
                )  # fmt: skip
            if not moved:
                raise self._moved()
            self._rows("COMMIT")
        except self._error as error:
            raise self._told(error) from None
        self._there = upto

    def forget(self) -> None:
        """Remove the line of the stream; raises SinkError, Unreachable."""
        if self._database is not None:
            try:
                self._rows(f"DELETE FROM {PLACES} WHERE sink = ?", self.stream)  # noqa: S608
            except self._error as error:
                raise self._told(error) from None

    def disconnect(self) -> None:
        """Close the file; what was not committed is rolled back."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(self._error):
                database.close()

    def interrupt(self) -> None:
        """End the statement at hand."""
        database = self._database
        if database is not None:
            database.interrupt()

    def _rows(self, sql: str, *values: Any) -> list[Any]:  # noqa: ANN401
        rows: list[Any] = self._database.execute(sql, list(values) or None).fetchall()
        return rows

    def _told(self, error: Exception) -> Exception:
        """What an error means: it may pass, or not."""
        said = " ".join(str(error).split("\n")[0].split())[:300]
        if any(words in said.lower() for words in _PASSES):
            return Unreachable(said)
        return SinkError(f"cannot write to {self.where}: {said}")


_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")


def _kinds(kind: pa.DataType) -> Kinds:
    """Types that a column can have, the one of a new table first."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_fixed_size_list(kind):
        inner = _kinds(kind.value_type)
        return (*(f"{one}[{kind.list_size}]" for one in inner), *(f"{one}[]" for one in inner))
    if pa.types.is_list(kind):
        return tuple(f"{one}[]" for one in _kinds(kind.value_type))
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NS", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_integer(kind):
        at = (8, 16, 32, 64).index(kind.bit_width)
        if pa.types.is_unsigned_integer(kind):
            return f"U{_WHOLE[at]}", *_WHOLE[at + 1 :]
        return _WHOLE[at:]
    if pa.types.is_floating(kind):
        return ("DOUBLE",) if kind == pa.float64() else ("FLOAT", "DOUBLE")
    if pa.types.is_boolean(kind):
        return ("BOOLEAN",)
    return ("BLOB",) if pa.types.is_binary(kind) else ("VARCHAR",)


def _stored(column: pa.Array) -> pa.Array:
    """The values as DuckDB takes them over: times without their zone, which is UTC, or it would cut them to microseconds."""
    column = plain(column)
    if pa.types.is_timestamp(column.type):
        return pc.cast(column, pa.timestamp(column.type.unit))
    return column
