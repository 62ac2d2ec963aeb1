"""Rows on the terminal, as a plain table."""

import sys
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.cells import flat
from flowedge.sinks.contract import Resumed, Sink, connector
from flowedge.types.connectors import Option, Signature


@connector("console")
class Console(Sink):
    """Print rows as they come, in columns; times in UTC, numbers with six digits.

    Missing values are shown as ``-``. Rows beyond `rows` are counted and not printed.
    """

    needs_address = False
    writes_files = False
    options = Signature(
        (Option("rows", "integer", 0, "print at most so many rows; 0: all", positional=True),)
    )

    def open(self, schema: pa.Schema, resumed: Resumed | None = None) -> None:
        """Nothing is printed before the first row."""
        self._widths: list[int] = []
        self._printed = self._left_out = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Print the rows now."""
        limit = self.given["rows"]
        room = batch.num_rows if not limit else max(0, limit - self._printed)
        self._left_out += max(0, batch.num_rows - room)
        shown = flat(batch.slice(0, room))
        if shown.num_rows == 0:
            return
        cells = [[_shown(v) for v in column.to_pylist()] for column in shown.columns]
        lines = []
        if not self._widths:
            self._widths = [
                max(len(name), *map(len, column))
                for name, column in zip(shown.schema.names, cells, strict=True)
            ]
            lines.append(self._line(shown.schema.names))
        lines += [self._line(row) for row in zip(*cells, strict=True)]
        self._printed += shown.num_rows
        self._say("".join(lines))

    def finish(self) -> None:
        """Say how many rows were not printed."""
        if self._left_out:
            self._say(f"… and {self._left_out} more rows\n")

    def abort(self) -> None:
        """What is printed stays."""

    def paths(self) -> list[str]:
        """None: nothing is stored."""
        return []

    def _line(self, row: Any) -> str:  # noqa: ANN401  # a list or tuple of texts
        """One line; a column grows when a wider cell comes, and stays so."""
        self._widths = [max(w, len(c)) for w, c in zip(self._widths, row, strict=True)]
        return "  ".join(c.ljust(w) for c, w in zip(row, self._widths, strict=True)).rstrip() + "\n"

    def _say(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise SinkError("the program that read the output has ended") from None
        except OSError as error:
            raise SinkError(f"cannot write to the console: {error.strerror or error}") from None


def _shown(value: object) -> str:
    """A cell as text; control characters cannot move the cursor."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text.endswith("Z") and "T" in text and "." in text:
        text = text[:-1].rstrip("0").rstrip(".") + "Z"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
