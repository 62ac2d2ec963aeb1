"""JSON lines: one object a line, read in blocks; bad lines can be counted and kept."""

import json
from collections.abc import Iterator
from heapq import merge
from itertools import count

import pyarrow as pa
import pyarrow.json as pajson

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import MOST_TEXT, Predicate, connector
from flowedge.sources.files import FileSource
from flowedge.sources.limits import LIMITS, exceeded
from flowedge.sources.text import convert, nearest, noun

_BLOCK = 1 << 20
"""Bytes of text parsed at once."""


@connector("jsonl")
class Jsonl(FileSource):
    """Read one JSON object a line; ``.gz``, ``.bz2`` and ``.zst`` by name.

    Types are those that the pipeline declares; the others are inferred from the first mebibyte.
    A field that a line does not have is missing.
    """

    converts = True

    def schema_of(self, path: str) -> pa.Schema:
        """Declared and inferred types; a field that the first mebibyte lacks is no column."""
        declared = pa.schema([f for f in self.declared or () if f.name not in self.captures])
        first = next(self._blocks(path), None)
        if first is None:
            raise SourceError(f"`{path}` has no lines")
        try:
            seen = _with_times(_parse(first[1], declared, others=True))
        except (pa.ArrowException, ValueError):
            lines = first[1].splitlines()
            none = pa.schema([])  # a line that is no object says nothing, one with a bad value does
            bad = {place for place, _ in _problems(lines, none)}
            good = [line for i, line in enumerate(lines) if line.strip() and i not in bad]
            seen = _agreed(good, declared)
            is_stopped = self.on_error == "stop" and not self.fitting
            if is_stopped or not (good or len(declared)):
                raise self._first_bad_line(path, 1, lines, _with_types(seen, declared)) from None
        return _with_types(seen, declared)

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """One batch for each block of lines."""
        schema = self.schema_of(path)
        if columns is not None:
            schema = pa.schema([schema.field(n) for n in columns])
        passed = 0
        for first, block in self._blocks(path):
            try:
                batch = _typed(_parse(block, schema), schema)
            except (pa.ArrowException, ValueError):
                batch = self._line_by_line(path, first, block.splitlines(), schema)
                if passed < skip:
                    self.rejects.forget()
            passed += batch.num_rows
            if passed > skip:
                yield batch.slice(max(0, batch.num_rows - (passed - skip)))

    def _blocks(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Whole lines, about a mebibyte at a time, with the number of the first (from 1)."""
        number = 1
        with pa.input_stream(path, compression="detect") as stream:
            parts: list[bytes] = []
            for i in count():
                data = stream.read(_BLOCK)
                if i == 0:
                    data = data.removeprefix(b"\xef\xbb\xbf")
                end = data.find(b"\n")
                size = sum(map(len, parts)) + (end if end >= 0 else len(data))
                if size > LIMITS.line_bytes and not self.given["trusted"]:
                    what = f"is longer than {LIMITS.line_bytes:,} bytes in line {number}"
                    raise exceeded(path, what, "that")
                if data and end < 0:
                    parts.append(data)
                    continue
                cut = data.rfind(b"\n") + 1
                block = b"".join((*parts, data[:cut]))
                parts = [data[cut:]]
                if block.strip():
                    yield number, block
                number += block.count(b"\n")
                if not data:
                    return

    def _line_by_line(
        self, path: str, first: int, lines: list[bytes], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Leave out the bad lines, or raise at the first."""
        if self.on_error == "stop" and not self.fitting:
            raise self._first_bad_line(path, first, lines, schema)
        good: list[bytes] = list(lines)
        for place, found in _problems(lines, schema):
            line = lines[place]
            mended = self._mended(line, schema, found) if self.fitting else (line, found)
            good[place], problem = mended
            if problem is None:
                continue
            if self.on_error == "stop" and not self._rejects(problem):
                raise self._first_bad_line(path, first + place, [line], schema)
            good[place] = b""
            shown = line[:MOST_TEXT].decode("utf-8", "backslashreplace")
            self.rejects.add(path, first + place, problem, shown)
        return _typed(_parse(b"\n".join(good), schema), schema)

    def _rejects(self, problem: str) -> bool:
        """Whether a policy has the row rejected that has this problem."""
        return any(
            problem.startswith(f"`{name}` ") for name, p in self.fitting.items() if p == "reject"
        )

    def _mended(self, line: bytes, schema: pa.Schema, problem: str) -> tuple[bytes, str | None]:
        """The line without the values that a policy makes missing or clamps, and what else is wrong."""
        if not problem.startswith("`"):
            return line, problem
        found = json.loads(line)
        changed: list[tuple[str, bool]] = []
        for one in schema:
            policy = self.fitting.get(one.name)
            if policy not in ("null", "clamp"):
                continue
            if _bad_field(line, pa.schema([one])) is None:
                continue
            value, near = found.pop(one.name, None), None
            if (
                policy == "clamp"
                and pa.types.is_integer(one.type)
                and isinstance(value, int | float | str)
            ):
                near = nearest(str(value), one.type)
                found[one.name] = near
            changed.append((one.name, near is not None))
        mended = json.dumps(found, ensure_ascii=False).encode()
        still = _problem(mended, schema)
        if still is None:
            for name, is_near in changed:
                self.rejects.alter(name, nulled=not is_near, clamped=is_near)
        return mended, still

    def _first_bad_line(
        self, path: str, first: int, lines: list[bytes], schema: pa.Schema
    ) -> SourceError:
        for place, problem in _problems(lines, schema):
            shown = lines[place][:80].decode("utf-8", "backslashreplace")
            return SourceError(
                f"`{path}` line {first + place}: {problem}: `{shown}`; mend the line, or add "
                "`on error skip` to the source"
            )
        return SourceError(
            f"`{path}` from line {first}: a field changes its type; declare it in the source"
        )


def _with_types(seen: pa.Schema, declared: pa.Schema) -> pa.Schema:
    """The fields in the order in which they were seen, those declared with their declared type."""
    rest = {f.name: f for f in declared}
    fields = [rest.pop(f.name, None) or _nanoseconds(f) for f in seen]
    return pa.schema([*fields, *rest.values()])


def _with_times(table: pa.Table) -> pa.Schema:
    """The schema of a table, in which texts that are all times are times.

    Arrow sees them by itself only where they are written without fractions of a second.
    """
    schema = table.schema
    for i, field in enumerate(schema):
        if not pa.types.is_string(field.type) or table.column(i).null_count == table.num_rows:
            continue
        for kind in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
            try:
                table.column(i).cast(kind)
            except pa.ArrowException:
                continue
            schema = schema.set(i, field.with_type(kind))
            break
    return schema


def _agreed(lines: list[bytes], declared: pa.Schema) -> pa.Schema:
    """The fields of lines that do not all agree: declared, else as the longest beginning has them."""
    found = [json.loads(line) for line in lines]
    fields = []
    for name in dict.fromkeys(name for one in found for name in one):
        if name in declared.names:
            fields.append(declared.field(name))
            continue
        if len(fields) > LIMITS.columns:  # each costs a look at all lines
            break
        own = [json.dumps({name: one[name]}).encode() for one in found if name in one]
        while own:
            try:
                fields += _with_times(_parse(b"\n".join(own), pa.schema([]), others=True))
                break
            except (pa.ArrowException, ValueError):
                own = own[: len(own) // 2]
    return pa.schema(fields)


def _parse(block: bytes, schema: pa.Schema, *, others: bool = False) -> pa.Table:
    """Parse lines into these fields (`others`: and into whatever else they have).

    Times and lists of fixed length are converted later, since Arrow's reader knows few types.
    """
    if not block.strip():
        return schema.empty_table()
    explicit = pa.schema([pa.field(f.name, _readable(f.type)) for f in schema])
    options = pajson.ParseOptions(
        explicit_schema=explicit,
        unexpected_field_behavior="infer" if others else "ignore",
        newlines_in_values=False,
    )
    return pajson.read_json(
        pa.BufferReader(block),
        read_options=pajson.ReadOptions(use_threads=False, block_size=max(len(block) + 1, 1 << 16)),
        parse_options=options,
    )


def _readable(kind: pa.DataType) -> pa.DataType:
    """What Arrow's JSON reader is asked for in the place of a type that it does not know."""
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_readable(kind.value_type))
    if pa.types.is_timestamp(kind) or pa.types.is_binary(kind) or pa.types.is_dictionary(kind):
        return pa.string()
    return kind


def _typed(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for one in schema:
        array = table.column(one.name).combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        if array.type != one.type:
            if pa.types.is_string(array.type):
                values, bad = convert(array, one.type)
                if bad:
                    raise pa.ArrowInvalid(f"{array[bad[0]]} is not {noun(one.type)}")
                array = values
            else:
                array = array.cast(one.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _nanoseconds(one: pa.Field) -> pa.Field:
    """What was inferred, with times in ns and columns without any value as numbers."""
    if pa.types.is_timestamp(one.type):
        return one.with_type(pa.timestamp("ns", one.type.tz))
    return one.with_type(pa.float64()) if pa.types.is_null(one.type) else one


def _problems(lines: list[bytes], schema: pa.Schema) -> Iterator[tuple[int, str]]:
    """(place, what is wrong) of each line that is no object of these fields, in order."""
    broken = {i: told for i, line in enumerate(lines) if (told := _no_object(line)) is not None}
    objects = [i for i, line in enumerate(lines) if i not in broken and line.strip()]
    return merge(broken.items(), _misfits(lines, objects, schema))


def _misfits(lines: list[bytes], places: list[int], schema: pa.Schema) -> Iterator[tuple[int, str]]:
    """Halve what does not go together until the lines with a bad field stand alone."""
    if not places:
        return
    try:
        _typed(_parse(b"\n".join(lines[i] for i in places), schema), schema)
    except (pa.ArrowException, ValueError):
        if len(places) > 1:
            middle = len(places) // 2
            yield from _misfits(lines, places[:middle], schema)
            yield from _misfits(lines, places[middle:], schema)
        elif (problem := _bad_field(lines[places[0]], schema)) is not None:
            yield places[0], problem


def _problem(line: bytes, schema: pa.Schema) -> str | None:
    """What is wrong with a line; None if nothing is."""
    return next((told for _, told in _problems([line], schema)), None)


def _no_object(line: bytes) -> str | None:
    """Why a line is no object; None if it is one, or blank."""
    if not line.strip():
        return None
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg.lower()})"
    except (ValueError, RecursionError):
        return "not JSON (too long a number, or nested too deeply)"
    return None if isinstance(value, dict) else "not an object in braces"


def _bad_field(line: bytes, schema: pa.Schema) -> str | None:
    """The field of an object that does not fit; None if all do."""
    for one in schema:
        try:
            _typed(_parse(line, pa.schema([one])), pa.schema([one]))
        except (pa.ArrowException, ValueError):
            return f"`{one.name}` is not {noun(one.type)}"
    try:
        _parse(line, schema)
    except (pa.ArrowException, ValueError):
        return "not an object that can be read"
    return None
