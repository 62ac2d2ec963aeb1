"""Rows into a table of an SQLite database, one file on this machine."""

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.cells import plain, times
from flowedge.sinks.contract import connector
from flowedge.sinks.remote import Unreachable
from flowedge.sinks.tables import PLACES, Kinds, TableSink, as_texts, columns_of, quoted, signed

_BUSY_S = 5.0
"""So long another process may hold the database before that counts as an outage."""
_PASSES = {
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_INTERRUPT: "interrupted",
    sqlite3.SQLITE_PROTOCOL: "another process holds it",
}


@connector("sqlite")
class Sqlite(TableSink):
    """Add rows to a table of an SQLite database; the file and the table are made where they are missing.

    Times are texts in ISO 8601 with nine digits (``2024-05-01T00:00:00.123456789Z``), which sort as they should and which SQLite's
    functions of time read; missing values and NaN are NULL, lists are JSON, bytes BLOB. The database is set to
    write ahead (WAL), so that others read while rows come.

    Raises
    ------
    SinkError : the file is no database or cannot be written, or the table has other columns
    """

    _database: sqlite3.Connection | None = None

    def connect(self, schema: pa.Schema) -> None:
        """Open the file; raises SinkError, Unreachable."""
        self.disconnect()
        try:
            Path(self.address).parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.address, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)  # fmt: skip
        except OSError as error:
            raise SinkError(f"cannot make {self.where}: {error.strerror or error}") from None
        except sqlite3.Error as error:
            raise self._told(error) from None
        self._database = database
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            self._fit(database, schema)
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {PLACES} (sink TEXT PRIMARY KEY, rows INTEGER NOT NULL, pipeline TEXT, "
                "target TEXT, changed TEXT)"
            )
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._told(error) from None

    def _fit(self, database: sqlite3.Connection, schema: pa.Schema) -> None:
        """Make the table, or see that it takes the rows."""
        table = self.given["table"]
        described = database.execute("SELECT name, upper(type), \"notnull\", dflt_value FROM pragma_table_info(?)", (table,)).fetchall()  # fmt: skip
        needed = [name for name, _, is_needed, default in described if is_needed and default is None]  # fmt: skip
        found = {name: kind for name, kind, _, _ in described} if described else None
        kinds = columns_of({f.name: _kinds(f.type) for f in schema}, found, needed, self.where)
        if found is None:
            columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in kinds.items())
            database.execute(f"CREATE TABLE {quoted(table)} ({columns})")
            if self.given["index"]:
                named = ", ".join(quoted(name) for name in self.given["index"])
                database.execute(
                    f"CREATE INDEX {quoted(f'{table}_index')} ON {quoted(table)} ({named})"
                )
        names = ", ".join(quoted(f.name) for f in schema)
        marks = ", ".join("?" * len(schema))
        self._insert = f"INSERT INTO {quoted(table)} ({names}) VALUES ({marks})"  # noqa: S608  # quoted

    def place(self) -> int:
        """The number of rows that were committed; raises SinkError, Unreachable."""
        assert self._database is not None
        try:
            found = self._database.execute(f"SELECT rows FROM {PLACES} WHERE sink = ?", (self.stream,)).fetchone()  # noqa: S608  # fmt: skip
        except sqlite3.Error as error:
            raise self._told(error) from None
        self._there = -1 if found is None else found[0]
        return max(0, self._there)

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Insert and commit; raises SinkError, Unreachable."""
        database = self._database
        assert database is not None
        rows = zip(*(_cells(f.name, c) for f, c in zip(batch.schema, batch.columns, strict=True)), strict=True)  # fmt: skip
        upto = first + batch.num_rows
        try:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(self._insert, rows)
            moved = database.execute(
                f"UPDATE {PLACES} SET rows = ?, changed = datetime('now') WHERE sink = ? AND rows = ?",  # noqa: S608
                (upto, self.stream, self._there),
            )
            if self._there < 0:
                database.execute(
                    f"INSERT INTO {PLACES} VALUES (?, ?, ?, ?, datetime('now'))",  # noqa: S608
                    (self.stream, upto, self.pipeline, self.given["table"]),
                )
            elif moved.rowcount != 1:
                raise self._moved()
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._told(error) from None
        self._there = upto

    def forget(self) -> None:
        """Remove the line of the stream; raises SinkError, Unreachable."""
        if self._database is not None:
            try:
                self._database.execute(f"DELETE FROM {PLACES} WHERE sink = ?", (self.stream,))  # noqa: S608
            except sqlite3.Error as error:
                raise self._told(error) from None

    def disconnect(self) -> None:
        """Close the file; what was not committed is rolled back."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def interrupt(self) -> None:
        """End the statement at hand."""
        if self._database is not None:
            self._database.interrupt()

    def _told(self, error: sqlite3.Error) -> Exception:
        """What an error means: it may pass, or not."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _PASSES:
            return Unreachable(_PASSES[code])
        return SinkError(f"cannot write to {self.where}: {error}")


def _kinds(kind: pa.DataType) -> Kinds:
    """Types that a column may be declared with."""
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "INTEGER", "INT", "BIGINT", "BOOLEAN", "NUMERIC", ""
    if pa.types.is_floating(kind):
        return "REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT", "NUMERIC", ""
    if pa.types.is_binary(kind):
        return "BLOB", ""
    if pa.types.is_timestamp(kind):
        return "TEXT", "DATETIME", "TIMESTAMP", ""
    return "TEXT", "JSON", "VARCHAR", ""


def _cells(name: str, column: pa.Array) -> list[Any]:
    """The values as SQLite takes them."""
    column = plain(column)
    if pa.types.is_timestamp(column.type):
        column = times(column)
    elif pa.types.is_nested(column.type):
        column = as_texts(column)
    elif pa.types.is_uint64(column.type):
        column = signed(column, name)
    cells: list[Any] = column.to_pylist()
    return cells
