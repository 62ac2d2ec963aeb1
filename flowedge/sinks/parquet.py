"""Parquet: one file, or a directory of them, partitioned and rolled."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flowedge.lang.errors import SinkError
from flowedge.sinks.atomic import AtomicFile
from flowedge.sinks.contract import Resumed, WrittenFile, connector
from flowedge.sinks.encodings import Encodings
from flowedge.sinks.files import At, FileSink
from flowedge.sinks.part import Values, Writer
from flowedge.sinks.template import Template
from flowedge.types.compute import pc
from flowedge.types.connectors import Option, Signature
from flowedge.types.encryption import encryption_key, parquet_encryption

_PART = re.compile(r"part-\d{5,}\.parquet")


@connector("parquet")
class Parquet(FileSink):
    """Write Parquet in row groups of exactly 131,072 rows, with checksums on every page.

    An address that ends in ``.parquet`` is one file; any other is a directory of
    ``part-00000.parquet`` and so on. `partition` makes Hive folders, ``patient=17/day=2024-05-01``;
    ``year``, ``month``, ``day`` and ``hour`` are taken from `time`, in UTC, unless they are columns.
    A new run replaces the files of the run before and leaves others alone.

    `roll` begins a new part when one has reached a size, or when event time enters the next
    interval (whole multiples from 1970); a full part is visible at once, whatever comes later.

    Times are stored by their distances, other numbers in whichever way takes the least room for the first rows of
    a file (`flowedge.sinks.encodings`).
    """

    block_rows = 131_072
    options = Signature(
        (
            Option("partition", "names", (), "columns, or parts of the time, that make folders"),
            Option("roll", "limit", None, "size or event time after which a new part begins"),
            Option("encrypt", "secret", None, "where the key lies that encrypts it (AES-GCM, 256 bits)"),
            Option(
                "compression", "text", "zstd", "of the pages: none, snappy, lz4, zstd or gzip",
                choices=("none", "snappy", "lz4", "zstd", "gzip"),
            ),
        )
    )  # fmt: skip

    def __init__(self, address: str = "", **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(address, **arguments)
        self.splits_files = not address.endswith(".parquet")
        if not self.splits_files and (self.given["partition"] or self.given["roll"]):
            option = "partition" if self.given["partition"] else "roll"
            raise SinkError(
                f"`{option}` needs a directory, and `{address}` is one file; leave out `.parquet`"
            )
        if self.splits_files:
            folders = "".join(f"/{n}={{{n}}}" for n in self.given["partition"])
            names = tuple(dict.fromkeys((*self.template.names, *self.given["partition"])))
            self.template = Template(address.rstrip("/") + folders, names)
        self._numbers: dict[Values, int] = {}
        self._bucket: dict[Values, int] = {}
        self._shown: list[WrittenFile] = []
        self._key: bytes | None = None

    @property
    def rolls(self) -> bool:
        """With `roll`."""
        return self.given["roll"] is not None

    @property
    def appends(self) -> bool:
        """Its end tells of all row groups, and cannot be written without having written them."""
        return False

    @property
    def encryption_key(self) -> bytes | None:
        """The one that `encrypt` refers to."""
        if self._key is None and self.given["encrypt"]:
            self._key = encryption_key(self.given["encrypt"])
        return self._key

    @property
    def listed_as(self) -> str:
        """Parts in any folder."""
        if not self.splits_files:
            return super().listed_as
        name = self.place[1]
        return self.template.glob(name.removesuffix("part")) + "**/part-*.parquet"

    @property
    def place(self) -> tuple[Path, str]:
        """A directory of parts holds its own list, however it is partitioned."""
        if not self.splits_files:
            return super().place
        if "{" not in self.address:
            return Path(self.address), "part"
        base, name = super().place
        return base, f"{name}/part"

    def open(self, schema: pa.Schema, resumed: Resumed | None = None) -> None:
        """As for every file."""
        if resumed is not None and resumed.state:
            self._numbers = {tuple(v): n for v, n in resumed.state["numbers"]}
            self._bucket = {tuple(v): n for v, n in resumed.state["intervals"]}
        super().open(schema, resumed)
        if self.given["roll"] and self.given["roll"].seconds and "time" not in schema.names:
            raise SinkError(f"`{self.address}`: `roll` by time needs a column `time`")

    def state(self) -> dict[str, Any]:
        """Also the numbers of the parts, and the intervals that they are in."""
        return {
            **super().state(),
            "numbers": [[list(v), n] for v, n in self._numbers.items()],
            "intervals": [[list(v), n] for v, n in self._bucket.items()],
        }

    def owns(self, path: Path) -> bool:
        """Whether it is a part of ours."""
        if not self.splits_files:
            return super().owns(path)
        return bool(_PART.fullmatch(path.name)) and self.template.matches(str(path.parent))

    def path_of(self, values: Values) -> Path:
        """The file itself, or the next part in its folder."""
        path = super().path_of(values)
        return (
            path / f"part-{self._numbers.get(values, 0):05d}.parquet" if self.splits_files else path
        )

    def stored(self, schema: pa.Schema) -> pa.Schema:
        """Without the columns that the folders name."""
        gone = [schema.get_field_index(n) for n in self.given["partition"] if n in schema.names]
        for i in sorted(gone, reverse=True):
            schema = schema.remove(i)
        return schema

    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """One row group for each block."""
        return _RowGroups(file, schema, self.given["compression"], self.encryption_key)

    def fill(self, values: Values, rows: pa.RecordBatch, at: At) -> None:
        """Rows of one folder; a new part begins where `roll` says so."""
        roll = self.given["roll"]
        if roll is None:
            super().fill(values, rows, at)
        elif roll.seconds:
            self._fill_by_time(values, rows, at, round(roll.seconds * 1e9))
        else:
            self._fill_by_size(values, rows, at, roll.size_bytes)

    def complete(self, values: Values) -> None:
        """The part is complete, and the next has the next number; rolled parts become visible."""
        super().complete(values)
        self._numbers[values] = self._numbers.get(values, 0) + 1
        if self.rolls and not self.holds_back:
            self.prepare()
            self._shown += super().commit()

    def commit(self) -> list[WrittenFile]:
        """Also what was shown since the last time."""
        shown, self._shown = self._shown, []
        return shown + super().commit()

    def finish(self) -> None:
        """As for every file; a stream without rows still leaves its schema."""
        if self.splits_files and not self.template.names and not self._parts and not self._numbers:
            self._guarded_part((), 0)
        super().finish()

    def _fill_by_size(self, values: Values, rows: pa.RecordBatch, at: At, limit: int) -> None:
        done = 0
        while done < rows.num_rows:
            part = self._guarded_part(values, at[done])
            room = self.block_rows - part.blocks.pending_rows
            super().fill(values, rows.slice(done, room), at[done : done + room])
            done += room
            if part.file is not None and part.file.size_bytes >= limit:
                self.complete(values)

    def _fill_by_time(self, values: Values, rows: pa.RecordBatch, at: At, width_ns: int) -> None:
        times = pc.cast(rows.column("time"), pa.timestamp("ns", "UTC")).cast(pa.int64())
        bucket = times.to_numpy(zero_copy_only=False) // width_ns
        first = self._bucket.get(values, int(bucket[0]) if len(bucket) else 0)
        newest = np.maximum.accumulate(np.concatenate([[first], bucket]))
        cuts = np.flatnonzero(np.diff(newest))
        done = 0
        for cut in (*cuts.tolist(), rows.num_rows):
            if cut > done:
                super().fill(values, rows.slice(done, cut - done), at[done:cut])
            if cut < rows.num_rows and values in self._parts:
                self.complete(values)
            done = cut
        self._bucket[values] = int(newest[-1])


class _RowGroups:
    """Each block becomes one row group; the first tells how the columns are best stored."""

    def __init__(
        self, file: AtomicFile, schema: pa.Schema, compression: str, key: bytes | None
    ) -> None:
        self._file, self._schema, self._compression, self._key = file, schema, compression, key
        self._writer: pq.ParquetWriter | None = None

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """One row group, of all rows of the block."""
        self._opened(batch).write_batch(batch, row_group_size=max(1, batch.num_rows))

    def close(self) -> None:
        """The footer."""
        self._opened(None).close()

    def _opened(self, first: pa.RecordBatch | None) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._file, "w"),
                self._schema,
                compression=self._compression,
                write_page_checksum=True,
                version="2.6",
                store_schema=True,
                encryption_properties=None if self._key is None else parquet_encryption(self._key),
                **Encodings.of(self._schema, first, self._compression).options,
            )
        return self._writer
