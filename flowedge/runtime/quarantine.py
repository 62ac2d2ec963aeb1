"""Rows that could not be used, kept with file, row number, reason and text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import pyarrow as pa

from flowedge.sinks.atomic import AtomicFile
from flowedge.sinks.catalog import get
from flowedge.sinks.files import FileSink
from flowedge.sinks.part import Writer
from flowedge.sources.contract import MOST_TEXT, REJECTED

KINDS = {".arrow": "arrow", ".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}
"""Formats by the file's suffix; any other name holds a sequence of msgpack maps."""


class Maps(FileSink):
    """A sequence of msgpack maps, one for each row."""

    name = "quarantine"

    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Maps need no beginning."""
        del schema
        return _Maps(file)


class _Maps:
    def __init__(self, file: AtomicFile) -> None:
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self._file.write(msgpack.packb(row))

    def close(self) -> None:
        """Maps need no end."""


def quarantine_sink(path: str) -> FileSink:
    """What writes the file that ``on error quarantine`` names, for rows in the shape of `REJECTED`.

    Like any output it is seen once it is complete, and replaces that of an earlier run.

    Raises
    ------
    SinkError : the path is none
    """
    kind = KINDS.get(Path(path).suffix)
    found: Any = Maps if kind is None else get(kind)
    return found(path, names=())


def turned_away(
    found: Sequence[tuple[str, int, str]],
    places: Sequence[tuple[str, int]],
    batch: pa.RecordBatch,
    first: int,
) -> pa.RecordBatch:
    """Rows that the session refused, in the shape of `REJECTED`.

    Parameters
    ----------
    found : (partition, number of the row in it from 0, reason)
    places : of each of them, the file, and which row of it that is (from 1)
    batch : the rows that were pushed
    first : number in the partition of its first row; of a row before it, which had waited, there is no text
    """
    rows: dict[str, list[Any]] = {name: [] for name in REJECTED.names}
    for (_, row, reason), (file, number) in zip(found, places, strict=True):
        at = row - first
        text = ""
        if at >= 0:
            text = json.dumps(batch.slice(at, 1).to_pylist()[0], default=str, ensure_ascii=False)
        text = text[:MOST_TEXT]
        for name, value in zip(REJECTED.names, (file, number, reason, text), strict=True):
            rows[name].append(value)
    return pa.RecordBatch.from_pydict(rows, schema=REJECTED)
