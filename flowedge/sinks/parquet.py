"""Parquet: one file, or a directory of them, partitioned and rolled."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flowedge.lang.errors import SinkError
from flowedge.sinks.atomic import AtomicFile
from flowedge.sinks.contract import WrittenFile, connector
from flowedge.sinks.files import FileSink, Writer
from flowedge.sinks.manifest import Manifest
from flowedge.sinks.template import Template
from flowedge.types.compute import pc
from flowedge.types.connectors import Option, Signature

Values = tuple[str | None, ...]


@connector("parquet")
class Parquet(FileSink):
    """Write Parquet in row groups of exactly 131,072 rows, with checksums on every page.

    An address that ends in ``.parquet`` is one file; any other is a directory of
    ``part-00000.parquet`` and so on. `partition` makes Hive folders, ``patient=17/day=2024-05-01``;
    ``year``, ``month``, ``day`` and ``hour`` are taken from `time`, in UTC, unless they are columns.
    A new run replaces the files of the run before and leaves others alone.

    `roll` begins a new part when one has reached a size, or when event time enters the next
    interval (whole multiples from 1970); a full part is visible at once, whatever comes later.
    """

    block_rows = 131_072
    options = Signature(
        (
            Option("partition", "names", (), "columns, or parts of the time, that make folders"),
            Option("roll", "limit", None, "size or event time after which a new part begins"),
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
        self._manifest: Manifest | None = None

    def open(self, schema: pa.Schema) -> None:
        """Look at what an earlier run has left, then as for every file."""
        if self.splits_files:
            base = Path(self.template.text.split("{", 1)[0])
            if self.template.names and not self.template.text.startswith(f"{base}/{{"):
                base = base.parent  # the text before the brace is the beginning of a folder's name
            self._manifest = Manifest(base)
        super().open(schema)
        if self.given["roll"] and self.given["roll"].seconds and "time" not in schema.names:
            raise SinkError(f"`{self.address}`: `roll` by time needs a column `time`")

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
        compression = self.given["compression"]
        return _RowGroups(
            pq.ParquetWriter(
                pa.PythonFile(file, "w"),
                schema,
                compression=compression,
                write_page_checksum=True,
                version="2.6",
                store_schema=True,
            )
        )

    def fill(self, values: Values, rows: pa.RecordBatch) -> None:
        """Rows of one folder; a new part begins where `roll` says so."""
        kept = rows.select(self.stored(rows.schema).names)
        roll = self.given["roll"]
        if roll is None:
            super().fill(values, kept)
        elif roll.seconds:
            self._fill_by_time(values, rows, kept, round(roll.seconds * 1e9))
        else:
            self._fill_by_size(values, kept, roll.size_bytes)

    def finish(self, values: Values) -> None:
        """The part is complete, and the next has the next number; rolled parts become visible."""
        super().finish(values)
        self._numbers[values] = self._numbers.get(values, 0) + 1
        if self.given["roll"]:
            self.publish()

    def publish(self) -> None:
        """Note the new names first, so that no crash leaves a part that nobody knows."""
        if self._manifest is not None:
            self._manifest.announce([part.path for part in self._done])
        super().publish()

    def close(self) -> list[WrittenFile]:
        """As for every file; then remove the parts of the run before that were not replaced."""
        if self.splits_files and not self.template.names and not self._parts and not self._numbers:
            self._guarded_part(())  # a stream without rows still leaves its schema
        written = super().close()
        if self._manifest is not None:
            self._manifest.settle([Path(one.path) for one in written])
        return written

    def _fill_by_size(self, values: Values, rows: pa.RecordBatch, limit: int) -> None:
        at = 0
        while at < rows.num_rows:
            part = self._guarded_part(values)
            room = self.block_rows - part.blocks.pending_rows
            super().fill(values, rows.slice(at, room))
            at += room
            if part.file is not None and part.file.size_bytes >= limit:
                self.finish(values)

    def _fill_by_time(
        self, values: Values, rows: pa.RecordBatch, kept: pa.RecordBatch, width_ns: int
    ) -> None:
        times = pc.cast(rows.column("time"), pa.timestamp("ns", "UTC")).cast(pa.int64())
        bucket = times.to_numpy(zero_copy_only=False) // width_ns
        first = self._bucket.get(values, int(bucket[0]) if len(bucket) else 0)
        newest = np.maximum.accumulate(np.concatenate([[first], bucket]))
        cuts = np.flatnonzero(np.diff(newest))
        at = 0
        for cut in (*cuts.tolist(), rows.num_rows):
            if cut > at:
                super().fill(values, kept.slice(at, cut - at))
            if cut < rows.num_rows and values in self._parts:
                self.finish(values)
            at = cut
        self._bucket[values] = int(newest[-1])


class _RowGroups:
    """Each block becomes one row group."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """One row group, of all rows of the block."""
        self._writer.write_batch(batch, row_group_size=max(1, batch.num_rows))

    def close(self) -> None:
        """The footer."""
        self._writer.close()
