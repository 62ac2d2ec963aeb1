"""Rows that could not be used, kept with file, row number, reason and text."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pyarrow as pa

from flowedge.lang.errors import FlowEdgeError
from flowedge.sinks.atomic import AtomicFile, sync_directory
from flowedge.sinks.catalog import get
from flowedge.sinks.contract import Sink
from flowedge.sources.contract import REJECTED

KINDS = {".arrow": "arrow", ".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}
"""Formats by the file's suffix; any other name holds a sequence of msgpack maps."""


class Quarantine:
    """The file that ``on error quarantine`` names; made when the first bad row comes.

    Like any output it is seen once it is complete, and replaces that of an earlier run.

    Parameters
    ----------
    path : where to
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._sink: Sink | None = None
        self._file: AtomicFile | None = None

    def add(self, rejected: pa.RecordBatch) -> None:
        """Keep rows in the shape of `REJECTED`; raises SinkError."""
        kind = KINDS.get(self._path.suffix)
        if kind is None:
            if self._file is None:
                self._file = AtomicFile(self._path)
            for row in rejected.to_pylist():
                self._file.write(msgpack.packb(row))
            return
        if self._sink is None:
            self._sink = _sink(kind, self._path)
        self._sink.write(rejected)

    def close(self) -> None:
        """Make the file last; raises SinkError."""
        if self._sink is not None:
            self._sink.close()
        if self._file is not None:
            self._file.finish()
            self._file.publish()
            sync_directory(self._path.parent)

    def abort(self) -> None:
        """Leave no trace."""
        if self._sink is not None:
            self._sink.abort()
        if self._file is not None:
            self._file.discard()


def _sink(kind: str, path: Path) -> Sink:
    found = get(kind)
    assert found is not None, kind
    sink = found(str(path), names=())
    try:
        sink.open(REJECTED)
    except FlowEdgeError:
        sink.abort()
        raise
    return sink


def turned_away(
    found: list[tuple[str, int, str]], batch: pa.RecordBatch, first: int, file: str, behind: int
) -> pa.RecordBatch:
    """Rows that the session refused, in the shape of `REJECTED`.

    Parameters
    ----------
    found : (partition, number of the row in it from 0, reason)
    batch : the rows that were pushed
    first : number in the partition of its first row
    file, behind : where the batch ends: the file, and the number of rows before that place
    """
    rows: dict[str, list[Any]] = {name: [] for name in REJECTED.names}
    for _, row, reason in found:
        at = row - first
        text = json.dumps(batch.slice(at, 1).to_pylist()[0], default=str, ensure_ascii=False)
        for name, value in zip(
            REJECTED.names, (file, behind - batch.num_rows + at + 1, reason, text), strict=True
        ):
            rows[name].append(value)
    return pa.RecordBatch.from_pydict(rows, schema=REJECTED)
