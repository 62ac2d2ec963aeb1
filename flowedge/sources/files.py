"""What all file sources share: files one after the other, captured keys, resuming, validation."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Piece, Position, Predicate, Source
from flowedge.sources.limits import TRUSTED, check_names, check_schema, check_texts
from flowedge.sources.paths import Found, captured_names, find, os_error
from flowedge.types.connectors import Signature

DAMAGED = (pa.ArrowException, OSError, OverflowError, EOFError, MemoryError, ValueError)
"""What reading damaged bytes may raise; Arrow's own errors are among the last."""


class FileSource(Source):
    """A source whose files are read one after the other, by the bytes of their paths.

    A connector says what one file holds (`schema_of`) and reads it (`read`); the rest is here.
    """

    suffix: ClassVar[str] = ""
    """Added to the address where the file is looked up."""
    raises: ClassVar[tuple[type[Exception], ...]] = ()
    """What else reading damaged bytes may raise."""

    def __init_subclass__(cls, **more: Any) -> None:  # noqa: ANN401
        """Every file source may be told that its files are trusted."""
        super().__init_subclass__(**more)
        if cls.options.option(TRUSTED.name) is None:
            cls.options = Signature((*cls.options.options, TRUSTED))

    @cached_property
    def found(self) -> list[Found]:
        """The files, looked up once."""
        return find(self.address, self.wanted_captures, suffix=self.suffix)

    @property
    def captures(self) -> tuple[str, ...]:
        """Names in braces in the address."""
        return captured_names(self.address, self.wanted_captures)

    def paths(self) -> list[str]:
        """The files, in the order in which they are read."""
        return [one.path + self.suffix for one in self.found]

    @abstractmethod
    def schema_of(self, path: str) -> pa.Schema:
        """The columns of one file, without captures."""

    @abstractmethod
    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Batches of one file of any size, without its first `skip` rows.

        `columns` are known to be in the file. Errors of Arrow and the system may pass through.
        """

    def schema(self) -> pa.Schema:
        """Columns of the first file, then the captures."""
        first = self.found[0]
        return self._with_captures_in_schema(self._guarded_schema(first.path), first)

    def batches(
        self,
        columns: Sequence[str] | None = None,
        predicate: Predicate | None = None,
        start: Position | None = None,
    ) -> Iterator[Piece]:
        """All files from `start` on, validated, cut to `BATCH_ROWS`, captures added."""
        start = start or Position()
        expected = self._guarded_schema(self.found[0].path) if len(self.found) > 1 else None
        for number in range(start.file, len(self.found)):
            one = self.found[number]
            row = start.row if number == start.file else 0
            inside = self._columns_inside(one, columns, expected)
            try:
                for whole in self.read(one.path, inside, predicate, row):
                    for at in range(0, whole.num_rows, BATCH_ROWS):
                        batch = whole.slice(at, BATCH_ROWS)
                        batch.validate(full=True)
                        if not self.given[TRUSTED.name]:
                            check_texts(one.path, batch)
                        row += batch.num_rows
                        yield self._with_captures(batch, one, columns), Position(number, row)
            except (*DAMAGED, *self.raises) as error:
                raise self.damaged(one.path, error) from None

    def damaged(self, path: str, error: BaseException) -> SourceError:
        """What is wrong with a file that could not be read, as one sentence."""
        if isinstance(error, OSError) and error.errno and not isinstance(error, pa.ArrowException):
            return os_error(path, error)
        return SourceError(
            f"`{path}` is damaged or cut short and cannot be read as {self.name} "
            f"({first_line(error)}); restore it from a good copy"
        )

    def _guarded_schema(self, path: str) -> pa.Schema:
        try:
            schema = self.schema_of(path)
        except (*DAMAGED, *self.raises) as error:
            raise self.damaged(path, error) from None
        if not self.given[TRUSTED.name]:
            check_schema(path, schema)
        check_names(path, schema.names)
        return schema

    def _columns_inside(
        self, one: Found, columns: Sequence[str] | None, expected: pa.Schema | None
    ) -> list[str] | None:
        """Which columns to read from this file; refuses unknown ones and changed types."""
        if columns is None and expected is None:
            return None
        here = self._guarded_schema(one.path)
        names = [n for n in columns if n not in one.captured] if columns is not None else None
        for name in names or ():
            if name not in here.names:
                raise no_column(one.path, name, here.names)
        if expected is not None:
            for wanted in expected:
                if names is not None and wanted.name not in names:
                    continue
                if wanted.name not in here.names:
                    raise no_column(one.path, wanted.name, here.names)
                if (seen := here.field(wanted.name)).type != wanted.type:
                    raise SourceError(
                        f"column `{wanted.name}` is {seen.type} in `{one.path}` and {wanted.type} "
                        f"in `{self.found[0].path}`; read files of one type at a time"
                    )
            names = [f.name for f in expected] if names is None else names
        return names

    def _capture_fields(self, one: Found) -> list[pa.Field]:
        fields = []
        for name in one.captured:
            declared = None
            if self.declared is not None and name in self.declared.names:
                declared = self.declared.field(name).type
            text = pa.dictionary(pa.int32(), pa.string())
            is_text = declared is None or pa.types.is_string(declared)
            fields.append(pa.field(name, text if is_text else declared))
        return fields

    def _with_captures_in_schema(self, schema: pa.Schema, one: Found) -> pa.Schema:
        kept = [f for f in schema if f.name not in one.captured]
        return pa.schema([*kept, *self._capture_fields(one)], metadata=schema.metadata)

    def _with_captures(
        self, batch: pa.RecordBatch, one: Found, columns: Sequence[str] | None
    ) -> pa.RecordBatch:
        """Add what the path says as constant columns, and put the columns into the order asked for."""
        if not one.captured and (columns is None or list(columns) == batch.schema.names):
            return batch
        arrays = {
            f.name: (f, batch.column(i))
            for i, f in enumerate(batch.schema)
            if f.name not in one.captured
        }
        for f in self._capture_fields(one):
            text = one.captured[f.name]
            arrays[f.name] = (f, constant(text, f.type, batch.num_rows, one.path, f.name))
        order = list(arrays) if columns is None else [n for n in columns if n in arrays]
        return (
            pa.RecordBatch.from_arrays(
                [arrays[n][1] for n in order],
                schema=pa.schema([arrays[n][0] for n in order], metadata=batch.schema.metadata),
            )
            if order
            else batch.select([])
        )


def constant(text: str, kind: pa.DataType, rows: int, path: str, name: str) -> pa.Array:
    """A column that says the same in each row; text becomes one dictionary entry.

    Raises
    ------
    SourceError : what the path says does not fit the declared type
    """
    if pa.types.is_dictionary(kind):
        zeros = pa.repeat(pa.scalar(0, pa.int32()), rows)
        return pa.DictionaryArray.from_arrays(zeros, pa.array([text]))
    try:
        return pa.repeat(pa.scalar(text).cast(kind), rows)
    except pa.ArrowException:
        raise SourceError(
            f"`{path}` says `{name}` = `{text}`, which is not the declared {kind}; "
            f"declare `{name}: key string`, or rename the file"
        ) from None


def no_column(path: str, name: str, known: Sequence[str]) -> SourceError:
    """A column that the file does not have, with the nearest that it has."""
    lower = {k.lower(): k for k in reversed(known)}
    near = get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    if near:
        advice = f"did you mean `{lower[near[0]]}`?"
    else:
        advice = (
            "it has " + (", ".join(f"`{k}`" for k in known[:8]) or "none") + " …" * (len(known) > 8)
        )
    return SourceError(f"`{path}` has no column `{name}`; {advice}")


def other_rate(path: str, rate: float, first: str, first_rate: float | None) -> SourceError:
    """Files of one source that are sampled differently."""
    return SourceError(
        f"`{path}` is sampled at {rate:g} Hz and `{first}` at {first_rate:g} Hz; "
        "read recordings of one rate at a time"
    )


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].strip().rstrip(".")[:200]
