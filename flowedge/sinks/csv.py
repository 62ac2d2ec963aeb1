"""Comma-separated text."""

import io

import pyarrow as pa
import pyarrow.csv as pacsv

from flowedge.lang.errors import SinkError
from flowedge.sinks.atomic import AtomicFile
from flowedge.sinks.cells import flat
from flowedge.sinks.contract import connector
from flowedge.sinks.files import FileSink
from flowedge.sinks.packed import is_packed, text_file
from flowedge.sinks.part import Writer
from flowedge.types.connectors import Option, Signature


@connector("csv")
class Csv(FileSink):
    """Write comma-separated text with a header; gzipped if the name ends in ``.gz``.

    Missing values, NaN among them, are empty cells. Times are ISO 8601 in UTC. A list of fixed
    length takes a cell for each element, ``x_0, x_1`` and so on; the `csv` source reads it back.
    """

    options = Signature(
        (
            Option("sep", "text", ",", "the character between two cells"),
            Option("header", "flag", default=True, doc="begin with the names of the columns"),
        )
    )

    def writer(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """Write the header."""
        if len(self.given["sep"]) != 1:
            raise SinkError(f"`sep` takes one character, not {self.given['sep']!r}")
        return _Text(file, schema, self.given["sep"], header=self.given["header"])

    def writer_again(self, file: AtomicFile, schema: pa.Schema) -> Writer:
        """The header stands there."""
        file.repeat()
        return _Text(file, schema, self.given["sep"], header=False)

    @property
    def appends(self) -> bool:
        """Unless it is packed."""
        return not is_packed(self.address)


class _Text:
    """Blocks as lines."""

    def __init__(self, file: AtomicFile, schema: pa.Schema, sep: str, *, header: bool) -> None:
        self._out, self._packs = text_file(file)
        self._options = pacsv.WriteOptions(include_header=False, delimiter=sep)
        if header:
            names = flat(_empty(schema)).schema.names
            self._out.write((sep.join(_quoted(n, sep) for n in names) + "\n").encode())

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append the rows."""
        text = io.BytesIO()
        pacsv.write_csv(flat(batch), text, self._options)
        self._out.write(text.getvalue())

    def close(self) -> None:
        """Write the end of the packed stream."""
        if self._packs:
            self._out.close()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _quoted(name: str, sep: str) -> str:
    """A name as a cell; quoted only where it must be."""
    special = any(c in name for c in (sep, '"', "\n", "\r")) or name != name.strip()
    return '"' + name.replace('"', '""') + '"' if special else name
