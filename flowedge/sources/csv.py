"""Comma- and tab-separated text, read in a stream; bad rows can be counted and kept."""

import csv as reader_of_rows
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import Predicate, connector
from flowedge.sources.files import FileSource, first_line, no_column
from flowedge.sources.limits import LIMITS, check_names, exceeded
from flowedge.sources.text import as_written, convert, noun, nulls_where, row_number, with_nearest
from flowedge.types.connectors import Option, Signature

_BLOCK = LIMITS.csv_row_bytes
"""Bytes of text parsed at once; what is inferred about types is inferred from the first block."""
_TRUSTED_BLOCK = 64 << 20
"""The same of a file from a known place, whose rows may be as long."""

reader_of_rows.field_size_limit(_TRUSTED_BLOCK)

_NULLS = ("", "#N/A", "N/A", "n/a", "NA", "NULL", "null", "NaN", "nan", "-nan", "-NaN", "None")


def options_with(sep: str) -> Signature:
    """What text in columns may be told; `sep` is the default between two cells."""
    return Signature(
        (
            Option("sep", "text", sep, "the character between two cells"),
            Option("null", "texts", None, "cells that mean missing"),
            Option("header", "flag", default=True, doc="the first row names the columns"),
            Option("index", "flag", default=False, doc="the first column is an unnamed row number"),
            Option(
                "timestamp", "text", "", "how times are written, as for strptime; else ISO 8601"
            ),
            Option("decimal", "text", ".", "the sign before the fraction"),
            Option("quote", "text", '"', "the character around a cell that contains `sep`"),
            Option("skip", "integer", 0, "lines to leave out before the header"),
            Option("encoding", "text", "utf-8", "of the text, for example latin-1"),
        )
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the first lines of a file say.

    Attributes
    ----------
    cells : name of each cell of a row
    skip_lines : lines before the first row of values
    groups : list columns, made of several cells
    """

    cells: tuple[str, ...]
    skip_lines: int
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, lists as one."""
        inside = {cell: name for name, cells in self.groups.items() for cell in cells}
        return tuple(dict.fromkeys(inside.get(c, c) for c in self.cells if c))


@connector("csv")
class Csv(FileSource):
    """Read comma-separated text, with a header or without; ``.gz``, ``.bz2`` and ``.zst`` by name.

    Types are those that the pipeline declares; the others are inferred from the first mebibyte.
    A declared list takes one cell per element: ``x_0, x_1, …`` under a header, the next cells
    without. Without a header the cells take the declared names in order. Empty cells are missing.
    With ``on error skip`` or ``quarantine`` a row with a cell that does not convert, or with too
    many or too few cells, is left out, counted and noted.
    """

    converts = True
    options = options_with(",")

    def schema_of(self, path: str) -> pa.Schema:
        """Declared and inferred types, in the order of the file."""
        layout = self._layout(path)
        kinds = self._kinds(path, layout)
        return pa.schema([self._field(name, kinds, layout) for name in layout.columns])

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """One batch for each block of text."""
        layout = self._layout(path)
        kinds = self._kinds(path, layout)
        names = columns if columns is not None else list(layout.columns)
        if self.on_error != "stop":
            yield from self._carefully(path, names, layout, kinds, skip)
            return
        rows = 0
        try:
            for batch in self._fast(path, names, layout, kinds):
                rows += batch.num_rows
                if rows > skip:
                    yield batch.slice(max(0, batch.num_rows - (rows - skip)))
            return
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if not self.fitting:
                raise self._first_bad_row(path, names, layout, kinds, error) from None
        yield from self._carefully(path, names, layout, kinds, max(skip, rows), strict=True)

    def _fast(
        self, path: str, names: list[str], layout: _Layout, kinds: dict[str, pa.DataType]
    ) -> Iterator[pa.RecordBatch]:
        """Parsed straight into the types; the first bad cell raises."""
        cells = _cells_of(names, layout)
        direct = {c: pa.string() if pa.types.is_timestamp(kinds[c]) else kinds[c] for c in cells}
        for batch in self._open(path, layout, cells, direct, None):
            arrays = {}
            for name, array in zip(cells, batch.columns, strict=True):
                arrays[name] = array
                if pa.types.is_timestamp(kinds[name]):
                    values, bad = self._converted(nulls_where(array, self._null_texts), kinds[name])
                    if bad:
                        raise pa.ArrowInvalid(f"`{array[bad[0]]}` is not a time")
                    arrays[name] = values
                elif pa.types.is_string(kinds[name]) and self.given["null"] is None:
                    arrays[name] = nulls_where(array, ("",))
            yield self._assembled(arrays, names, layout, kinds)

    def _carefully(
        self,
        path: str,
        names: list[str],
        layout: _Layout,
        kinds: dict[str, pa.DataType],
        skip: int = 0,
        *,
        strict: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Read as bytes, then convert; rows that would not go are noted and left out.

        `skip` counts rows that an earlier reading handed out; `strict`: what no policy speaks of stops.
        """
        cells = _cells_of(names, layout)
        of = {cell: name for name in names for cell in layout.groups.get(name, (name,))}
        policies = {cell: self.fitting.get(name, "") for cell, name in of.items()}
        ragged: list[int] = []
        stopped: list[int] = []

        def note(row: pacsv.InvalidRow) -> str:
            number = row.number - layout.skip_lines
            ragged.append(number)
            text = self._shown(str(row.text).encode())
            self.rejects.add(
                path,
                number,
                f"has {row.actual_columns} cell{'s' * (row.actual_columns != 1)}, expected {row.expected_columns}",
                text,
            )
            if strict:
                stopped.append(number)
            return "skip"

        seen = passed = 0
        for batch in self._open(path, layout, cells, dict.fromkeys(cells, pa.binary()), note):
            arrays: dict[str, pa.Array] = {}
            bad_rows: dict[int, tuple[str, bytes]] = {}
            for name, array in zip(cells, batch.columns, strict=True):
                is_text = pa.types.is_string(kinds[name]) or pa.types.is_binary(kinds[name])
                nulls = ("",) if is_text and self.given["null"] is None else self._null_texts
                original = as_written(array) if self._is_utf8 else array
                arrays[name], bad = self._converted(nulls_where(original, nulls), kinds[name])
                if bad and policies[name] in ("null", "clamp"):
                    arrays[name], near = with_nearest(arrays[name], original, bad, policies[name])
                    self.rejects.alter(of[name], nulled=len(bad) - near, clamped=near)
                    continue
                for place in bad:
                    bad_rows.setdefault(place, (name, array[place].as_py()))
            if strict and not stopped:
                stopped += [
                    row_number(seen + place, ragged)
                    for place, (name, _) in bad_rows.items()
                    if not policies[name]
                ]
            if bad_rows:
                for place, (name, cell) in sorted(bad_rows.items()):
                    shown = self._shown(cell)
                    reason = f"`{name}` is not {noun(kinds[name])}"
                    if pa.types.is_string(kinds[name]):
                        reason = f"`{name}` is not UTF-8"
                    self.rejects.add(path, row_number(seen + place, ragged), reason, shown)
                keep = np.ones(batch.num_rows, bool)
                keep[list(bad_rows)] = False
                mask = pa.array(keep)
                arrays = {n: a.filter(mask) for n, a in arrays.items()}
            if stopped:
                noted = self.rejects.take()
                rows = noted.to_pylist() if noted is not None else []
                first = next(r for r in rows if r["row"] == min(stopped))
                raise SourceError(
                    f"`{path}` row {first['row']}: {first['reason']}: `{first['text'][:80]}`; mend the row, "
                    "or add `on error skip` to the source"
                )
            seen += batch.num_rows
            out = self._assembled(arrays, names, layout, kinds)
            if passed < skip:
                self.rejects.forget()  # the earlier reading has noted them
            passed += out.num_rows
            if passed > skip:
                yield out.slice(max(0, out.num_rows - (passed - skip)))

    def _first_bad_row(
        self,
        path: str,
        names: list[str],
        layout: _Layout,
        kinds: dict[str, pa.DataType],
        error: Exception,
    ) -> SourceError:
        """Read again with care up to the row that stopped the fast way."""
        try:
            for _ in self._carefully(path, names, layout, kinds):
                if self.rejects.count:
                    break
        except (pa.ArrowException, OSError, UnicodeDecodeError) as again:
            return SourceError(f"`{path}` is no readable {self.name} ({first_line(again)})")
        noted = self.rejects.take()
        if noted is None:
            return SourceError(f"`{path}` is no readable {self.name} ({first_line(error)})")
        self.rejects.count = 0
        first = min(noted.to_pylist(), key=lambda r: r["row"])
        declared = self.declared.names if self.declared is not None else []
        name = first["reason"].split("`")[1] if first["reason"].startswith("`") else None
        advice = "mend the row, or add `on error skip` to the source"
        if name is not None and name not in declared and "UTF-8" not in first["reason"]:
            advice = (
                f"the type was inferred from the first rows: declare `{name}: string` or "
                f"`{name}: f64`, or add `on error skip`"
            )
        elif "UTF-8" in first["reason"]:
            advice = 'give its `encoding`, for example `encoding="latin-1"`'
        return SourceError(
            f"`{path}` row {first['row']}: {first['reason']}: `{first['text']}`; {advice}"
        )

    @property
    def _is_utf8(self) -> bool:
        return self.given["encoding"].lower().replace("_", "-") in ("utf-8", "utf8")

    def _shown(self, cell: bytes) -> str:
        """A cell of the careful reading, as it stands in the file."""
        if not self._is_utf8:
            return cell.decode()[:200]
        return cell.decode().encode("latin-1").decode("utf-8", "backslashreplace")[:200]

    @property
    def _null_texts(self) -> tuple[str, ...]:
        given = self.given["null"]
        return tuple(given) if given is not None else _NULLS

    def _converted(self, cells: pa.Array, kind: pa.DataType) -> tuple[pa.Array, list[int]]:
        return convert(
            cells, kind, time_format=self.given["timestamp"], decimal=self.given["decimal"]
        )

    def _open(
        self,
        path: str,
        layout: _Layout,
        cells: list[str],
        types: dict[str, pa.DataType],
        on_ragged: Callable[[Any], str] | None,
    ) -> Iterator[pa.RecordBatch]:
        # Whoever is called with a row cannot be given one that is no UTF-8: bytes pass as Latin-1.
        bytewise = on_ragged is not None and self._is_utf8
        # A cell without a name is never asked for, but needs one.
        names = [name or f"\0{i}" for i, name in enumerate(layout.cells)]
        ragged = 0

        def counted(row: pacsv.InvalidRow) -> str:
            nonlocal ragged
            ragged += 1
            return on_ragged(row) if on_ragged is not None else "error"

        rows = 0
        try:
            batches = pacsv.open_csv(
                pa.input_stream(path, compression="detect"),
                read_options=pacsv.ReadOptions(
                    use_threads=False,  # only so are row numbers known
                    block_size=self._block,
                    column_names=names,
                    skip_rows=layout.skip_lines,
                    encoding="latin-1" if bytewise else self.given["encoding"],
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=self.given["sep"],
                    quote_char=self.given["quote"],
                    newlines_in_values=True,
                    invalid_row_handler=on_ragged and counted,
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=types,
                    include_columns=cells or names[:1],
                    null_values=list(self._null_texts),
                    strings_can_be_null=self.given["null"] is not None,
                    quoted_strings_can_be_null=self.given["null"] is not None,
                    decimal_point=self.given["decimal"],
                    check_utf8=True,
                ),
            )
            with batches:
                for batch in batches:
                    yield batch
                    rows += batch.num_rows
        except pa.ArrowInvalid as error:
            if "straddl" in str(error):
                raise self._too_long(path, rows + ragged + 1) from None
            raise

    @property
    def _block(self) -> int:
        return _TRUSTED_BLOCK if self.given["trusted"] else _BLOCK

    def _too_long(self, path: str, row: int) -> SourceError:
        """What a row is called that does not end within a block."""
        what = f"is longer than {self._block:,} bytes in row {row}, or a quote is not closed there"
        if self.given["trusted"]:
            return SourceError(f"`{path}` {what}; break the row up")
        return exceeded(path, what, "that")

    def _layout(self, path: str) -> _Layout:
        """Read the header, or give the cells the declared names."""
        rows = self._first_rows(path)
        given, skip = self.given, self.given["skip"]
        if len(rows) <= skip:
            raise SourceError(f"`{path}` has no rows behind the {skip} lines that are left out")
        first = rows[skip]
        if not given["header"]:
            cells = self._names_without_header(path, len(first))
            return _Layout(cells[0], skip, cells[1])
        header = [name.strip() for name in first]
        values = rows[skip + 1] if len(rows) > skip + 1 else None
        if given["index"]:
            if values is not None and len(values) == len(header) + 1:
                header = ["", *header]
            elif header and header[0]:
                raise SourceError(
                    f"`{path}` has no unnamed first column: its first is `{header[0]}`; "
                    "leave `index=true` out"
                )
        elif values is not None and len(values) == len(header) + 1:
            raise SourceError(
                f"`{path}` has {len(header)} names and {len(values)} cells in its first row; "
                "if the first cell is a row number, say `index=true`"
            )
        check_names(path, filter(None, header))
        return _Layout(tuple(header), skip + 1, self._groups(path, header))

    def _first_rows(self, path: str) -> list[list[str]]:
        """The rows that decide the layout, parsed from the first block."""
        with pa.input_stream(path, compression="detect") as stream:
            head = stream.read(self._block)
        if len(head) == self._block and b"\n" not in head:
            raise self._too_long(path, 1)
        try:
            text = head.decode(self.given["encoding"], "replace").removeprefix("\ufeff")
        except LookupError:
            raise SourceError(f"there is no encoding `{self.given['encoding']}`") from None
        if "\0" in text[:4096]:
            raise SourceError(
                f"`{path}` is not text: it contains NUL bytes; which format is it in?"
            )
        lines = io.StringIO(text, newline="")
        for _ in range(self.given["skip"]):
            lines.readline()
        rows: list[list[str]] = [[]] * self.given["skip"]
        try:
            for row in reader_of_rows.reader(
                lines, delimiter=self.given["sep"], quotechar=self.given["quote"]
            ):
                if row:
                    rows.append(row)
                if len(rows) >= self.given["skip"] + 2:
                    break
        except (reader_of_rows.Error, TypeError, ValueError) as error:
            raise SourceError(f"`{path}` is no readable {self.name} ({error})") from None
        return rows

    def _names_without_header(
        self, path: str, width: int
    ) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Declared names take the cells in order, lists as many as they are long."""
        cells: list[str] = [""] if self.given["index"] else []
        groups: dict[str, tuple[str, ...]] = {}
        for one in self.declared or ():
            if one.name in self.captures:
                continue
            if pa.types.is_fixed_size_list(one.type):
                groups[one.name] = tuple(f"{one.name}_{i}" for i in range(one.type.list_size))
                cells += groups[one.name]
            else:
                cells.append(one.name)
        if len(cells) > width:
            raise SourceError(f"`{path}` has {width} cells in a row, and {len(cells)} are declared")
        cells += [f"c{i}" for i in range(len(cells), width)]
        return tuple(cells), groups

    def _groups(self, path: str, header: list[str]) -> dict[str, tuple[str, ...]]:
        """Cells of the declared lists, ``x_0, x_1, …``; refuses declared columns that are absent."""
        groups: dict[str, tuple[str, ...]] = {}
        for one in self.declared or ():
            if one.name in self.captures or one.name in header:
                continue
            if pa.types.is_fixed_size_list(one.type):
                cells = tuple(f"{one.name}_{i}" for i in range(one.type.list_size))
                if all(c in header for c in cells):
                    groups[one.name] = cells
                    continue
            raise no_column(path, one.name, [n for n in header if n])
        return groups

    def _kinds(self, path: str, layout: _Layout) -> dict[str, pa.DataType]:
        """The type of each cell: declared, else inferred from the first block."""
        kinds: dict[str, pa.DataType] = {}
        for one in self.declared or ():
            if one.name in layout.groups:
                kinds |= dict.fromkeys(layout.groups[one.name], one.type.value_type)
            elif one.name in layout.cells:
                kinds[one.name] = one.type
        unknown = [c for c in layout.cells if c and c not in kinds]
        if unknown:
            kinds |= self._inferred(path, layout, unknown)
        return kinds

    def _inferred(self, path: str, layout: _Layout, unknown: list[str]) -> dict[str, pa.DataType]:
        """Types of the first block: times in ns, columns without any value as numbers, except `time`."""
        try:
            with_ragged = self._open(path, layout, unknown, {}, lambda _: "skip")
            seen = next(iter(with_ragged), None)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if self.on_error != "stop" or "UTF8" in str(error):
                return dict.fromkeys(unknown, pa.string())
            raise SourceError(
                f"`{path}` is no readable {self.name} ({first_line(error)})"
            ) from None
        out = {}
        for name in unknown:
            kind = seen.schema.field(name).type if seen is not None else pa.null()
            if pa.types.is_null(kind):
                kind = pa.timestamp("ns") if name == "time" else pa.float64()
            elif pa.types.is_timestamp(kind):
                kind = pa.timestamp("ns", kind.tz)
            elif pa.types.is_binary(kind) or pa.types.is_temporal(kind):
                kind = pa.string() if not pa.types.is_date(kind) else pa.timestamp("ns")
            elif seen is not None and pa.types.is_string(kind) and self.given["timestamp"]:
                cells = nulls_where(seen.column(name), self._null_texts)
                if not self._converted(cells, pa.timestamp("ns"))[1]:
                    kind = pa.timestamp("ns")
            out[name] = kind
        return out

    def _field(self, name: str, kinds: dict[str, pa.DataType], layout: _Layout) -> pa.Field:
        if name in layout.groups:
            cells = layout.groups[name]
            return pa.field(name, pa.list_(kinds[cells[0]], len(cells)))
        return pa.field(name, kinds[name])

    def _assembled(
        self,
        arrays: dict[str, pa.Array],
        names: list[str],
        layout: _Layout,
        kinds: dict[str, pa.DataType],
    ) -> pa.RecordBatch:
        """Columns in the order asked for; the cells of a list become one value."""
        out = []
        for name in names:
            if name not in layout.groups:
                out.append(arrays[name])
                continue
            cells = [arrays[c] for c in layout.groups[name]]
            stacked = pa.chunked_array(cells).combine_chunks()
            order = np.arange(len(stacked)).reshape(len(cells), -1).T.ravel()
            out.append(pa.FixedSizeListArray.from_arrays(stacked.take(pa.array(order)), len(cells)))
        return pa.RecordBatch.from_arrays(
            out, schema=pa.schema([self._field(n, kinds, layout) for n in names])
        )


def _cells_of(names: list[str], layout: _Layout) -> list[str]:
    return [cell for name in names for cell in layout.groups.get(name, (name,))]
