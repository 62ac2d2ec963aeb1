"""Rows into a table of PostgreSQL, as fast as it takes them: by COPY, in one transaction with the place of the stream."""

import contextlib
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.contract import connector
from flowedge.sinks.pgtypes import as_stored, kinds_of
from flowedge.sinks.remote import Unreachable
from flowedge.sinks.tables import INDEX, PLACES, TABLE, TableSink, columns_of, quoted
from flowedge.types.connectors import Option, Signature
from flowedge.types.secrets import resolve

_DEFAULTS = {
    "application_name": "flowedge", "connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}  # fmt: skip
"""A peer that is gone without a word is found out within half a minute; one that stands still is waited for."""
_NEVER = (
    "password authentication failed", "authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "invalid uri",
    "invalid connection option", "invalid sslmode", "invalid port", "certificate verify failed", "root certificate file", "server does not support ssl",
    "is not permitted to log in", "permission denied", "invalid percent-encoded", "unexpected character", "missing key",
)  # fmt: skip
"""Words of a server in English that say of a connection that it will never come; the driver hands no code on."""
_IO = 10
"""The driver's status of an error between it and the server (ADBC_STATUS_IO)."""
_PASSES = ("08000", "08003", "08006", "40", "53", "55006", "55P03", "57", "58", "25006")
"""Classes of SQLSTATE that may pass: connections, conflicts, a full disk, shutting down, a lock, a standby."""


@connector("postgres")
class Postgres(TableSink):
    """Add rows to a table of PostgreSQL, which is made where it is missing.

    Times are `timestamptz`, which has microseconds: what is finer is cut off; a table of your own may have a `bigint` there, which gets
    whole nanoseconds since 1970. Texts and labels are `text`, lists are arrays, lists of lists `json`, bytes `bytea`,
    missing values and NaN are NULL. A table that is there must have the columns, with these types or wider ones.

    Raises
    ------
    SinkError : the server refuses the user, or the table has other columns
    """

    extra = "postgres"
    options = Signature(
        (
            TABLE,
            INDEX,
            Option("hypertable", "flag", False, "a new table becomes a hypertable of TimescaleDB"),
            Option("password", "secret", "", "of the user in the address"),
            Option("sslmode", "text", "", "as libpq has it; verify-full with `ca`, else prefer", ("disable", "prefer", "require", "verify-ca", "verify-full")),
            Option("ca", "text", "", "file with the certificates that are trusted"),
        )
    )  # fmt: skip
    _connection: Any = None
    _cursor: Any = None

    # ---- coming and going

    def connect(self, schema: pa.Schema) -> None:
        """Log in, and make or check the table; raises SinkError, Unreachable."""
        self.disconnect()
        try:
            import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415  # an extra
        except ImportError:
            raise SinkError("`postgres` needs its driver; `pip install 'flowedge[postgres]'`") from None  # fmt: skip
        self._error = driver.Error
        try:
            self._connection = driver.connect(self._uri())
        except driver.Error as error:
            raise self._refused(error) from None
        self._cursor = self._connection.cursor()
        try:
            if self._rows("SELECT current_setting('synchronous_commit')")[0][0] == "off":
                self._do("SET synchronous_commit TO on")
            self._fit(schema)
            self._do(
                f"CREATE TABLE IF NOT EXISTS {PLACES} (sink text PRIMARY KEY, rows bigint NOT NULL, pipeline text, target text, "
                "changed timestamptz)"
            )
            self._connection.commit()
        except self._error as error:
            raise self._told(error, is_making=True) from None

    def _uri(self) -> str:
        """The address with what else libpq is told; raises SinkError."""
        parts = urlsplit(self.address)
        if parts.scheme not in ("postgresql", "postgres"):
            raise SinkError(f"`{self.address}` is no address of PostgreSQL; write `postgresql://user@host/database`")  # fmt: skip
        if parts.password is not None:
            raise SinkError('a password in the address is read by all; write `password=secret("env:NAME")`')  # fmt: skip
        told = _DEFAULTS | dict(parse_qsl(parts.query))
        if self.given["ca"]:
            told |= {"sslrootcert": self.given["ca"], "sslmode": "verify-full"}
        if self.given["sslmode"]:
            told["sslmode"] = self.given["sslmode"]
        place = parts.netloc
        if self.given["password"]:
            user, at, host = place.rpartition("@")
            secret = quote(resolve(self.given["password"]).decode().rstrip("\n"), safe="")
            place = f"{user}:{secret}{at}{host}" if at else place
            if not at:
                told["password"] = resolve(self.given["password"]).decode().rstrip("\n")
        return urlunsplit(("postgresql", place, parts.path, urlencode(told, quote_via=quote), ""))

    def _fit(self, schema: pa.Schema) -> None:
        """Make the table, or see that it takes the rows; raises SinkError."""
        self._schema_name, self._table = self._names()
        full = f"{quoted(self._schema_name)}.{quoted(self._table)}"
        described = self._rows(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = '' FROM pg_attribute "
            "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
            full,
        )
        found = {name: kind for name, kind, _ in described} if described else None
        needed = [name for name, _, is_needed in described if is_needed]
        wanted = {f.name: kinds_of(f.type) for f in schema}
        self._kinds = columns_of(wanted, found, needed, self.where)
        if found is None:
            columns = ", ".join(f"{quoted(n)} {kind}" for n, kind in self._kinds.items())
            self._do(f"CREATE TABLE {full} ({columns})")
            if self.given["index"]:
                self._do(f"CREATE INDEX ON {full} ({', '.join(map(quoted, self.given['index']))})")
        if self.given["hypertable"]:
            self._spread(full, is_new=found is None)

    def _spread(self, full: str, *, is_new: bool) -> None:
        """Make a hypertable of a new table; raises SinkError where TimescaleDB is missing."""
        if not self._rows("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"):
            raise SinkError(
                f"`{self.address}` has no TimescaleDB, and `hypertable=true` asks for it; `CREATE EXTENSION timescaledb`, or leave it away"
            )
        if is_new:
            self._rows("SELECT create_hypertable($1::regclass, 'time')", full)

    def _names(self) -> tuple[str, str]:
        """Schema and table: ``table="lab.imu"`` says both."""
        schema, dot, table = self.given["table"].partition(".")
        if dot:
            return schema, table
        here = self._rows("SELECT current_schema()::text")[0][0]
        if here is None:
            raise SinkError(f"`{self.address}` has no schema for the user; name one: `table=\"schema.{schema}\"`")  # fmt: skip
        return here, schema

    def disconnect(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""
        cursor, connection = self._cursor, self._connection
        self._cursor = self._connection = None
        for one in (cursor, connection):
            if one is not None:
                with contextlib.suppress(self._error, RuntimeError):  # it is gone all the same
                    one.close()

    # ---- rows

    def place(self) -> int:
        """The number of rows that were committed; raises SinkError, Unreachable."""
        try:
            found = self._rows(f"SELECT rows FROM {PLACES} WHERE sink = $1", self.stream)  # noqa: S608  # a constant
            self._connection.commit()
        except self._error as error:
            raise self._told(error) from None
        self._there = found[0][0] if found else -1
        return max(0, self._there)

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Copy the rows, move the place and commit; raises SinkError, Unreachable."""
        columns = [
            as_stored(column, field.name, self._kinds[field.name])
            for field, column in zip(batch.schema, batch.columns, strict=True)
        ]
        rows = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        upto = first + batch.num_rows
        try:
            self._cursor.adbc_ingest(self._table, rows, mode="append", db_schema_name=self._schema_name)  # fmt: skip
            if self._there < 0:
                moved = self._rows(
                    f"INSERT INTO {PLACES} VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING RETURNING rows",  # noqa: S608
                    self.stream, upto, self.pipeline, self.given["table"],
                )  # fmt: skip
            else:
                moved = self._rows(
                    f"UPDATE {PLACES} SET rows = $1, changed = now() WHERE sink = $2 AND rows = $3 RETURNING rows",  # noqa: S608
                    upto, self.stream, self._there,
                )  # fmt: skip
            if not moved:
                raise self._moved()
            self._connection.commit()
        except self._error as error:
            raise self._told(error) from None
        self._there = upto

    def forget(self) -> None:
        """Remove the line of the stream; raises SinkError, Unreachable."""
        if self._connection is None:
            return
        try:
            self._rows(f"DELETE FROM {PLACES} WHERE sink = $1 RETURNING rows", self.stream)  # noqa: S608
            self._connection.commit()
        except self._error as error:
            raise self._told(error) from None

    # There is no `interrupt`: asking a server that stands still to cancel (PQcancel) waits for it as well.

    # ---- what the server says

    _error: Any = ()

    def _do(self, sql: str) -> None:
        self._cursor.execute(sql)

    def _rows(self, sql: str, *values: Any) -> list[Any]:  # noqa: ANN401
        self._cursor.execute(sql, values or None)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    def _refused(self, error: Exception) -> Exception:
        """What it means that there is no connection: it may pass, or not."""
        said = _said(error)
        if any(words in said.lower() for words in _NEVER):
            return SinkError(f"cannot connect to {self.where}: {said}")
        return Unreachable(said)

    def _told(self, error: Any, *, is_making: bool = False) -> Exception:  # noqa: ANN401  # of the driver
        """What an error of a statement means: it may pass, or not."""
        code, said = error.sqlstate or "", _said(error)
        is_gone = not code and int(error.status_code) == _IO
        if is_gone or code.startswith(_PASSES) or (is_making and code == "23505"):
            return Unreachable(said)
        return SinkError(f"{self.where} refuses the rows: {said}")


def _said(error: Exception) -> str:
    """The server's own words, on one line."""
    text = str(error).split("[libpq]")[-1].strip()
    for before in ("FATAL:", "ERROR:", "failed:"):
        text = text.split(before, 1)[-1] if before in text else text
    return " ".join(text.split("\n")[0].split())[:300]
