"""JSON lines: one object a line."""

import json

import numpy as np
import pyarrow as pa

from flowedge.sinks.atomic import AtomicFile
from flowedge.sinks.cells import as_json
from flowedge.sinks.contract import connector
from flowedge.sinks.files import FileSink
from flowedge.sinks.packed import is_packed, text_file
from flowedge.sinks.part import Writer
from flowedge.types.compute import pc


@connector("jsonl")
class Jsonl(FileSink):
    """Write one JSON object a line; gzipped if the name ends in ``.gz``.

    Missing values, NaN among them, are null. Times are ISO 8601 in UTC.
    """

    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Lines need no beginning."""
        return _Lines(file)

    @property
    def appends(self) -> bool:
        """Unless it is packed."""
        return not is_packed(self.address)


class _Lines:
    """Blocks as lines."""

    def __init__(self, file: AtomicFile) -> None:
        self._out, self._packs = text_file(file)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append the rows, put together column by column."""
        pieces: list[pa.Array | str] = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            opening = "{" if not pieces else ","
            pieces += [f"{opening}{json.dumps(name, ensure_ascii=False)}:", as_json(column)]
        if not pieces:
            self._out.write(b"{}\n" * batch.num_rows)
            return
        lines = pc.binary_join_element_wise(*pieces, "}\n", "")
        ends = np.frombuffer(lines.buffers()[1], np.int32, len(lines) + 1)  # of a fresh array
        self._out.write(memoryview(lines.buffers()[2])[: int(ends[-1])])

    def close(self) -> None:
        """Write the end of the packed stream."""
        if self._packs:
            self._out.close()
