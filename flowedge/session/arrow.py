"""Arrow record batches to a session's arrays, and back: without copying where Arrow allows it."""

import json
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.compile.kernels import columns as unpacked
from flowedge.compile.program import Field, Program, SinkSpec
from flowedge.lang.errors import SourceError
from flowedge.session.batch import DTYPES, MISSING, WIRE, Array, Batch, require_within
from flowedge.session.strings import StringPool
from flowedge.session.valid import LOST, Misfits, fitted
from flowedge.types.arrays import masked, nullable, text_array, truths
from flowedge.types.metadata import LABELS, PIPELINE, RATE, UNIT, VERSION

UTC = pa.timestamp("ns", "UTC")

_KINDS: dict[str, Any] = {
    "f64": pa.float64(), "f32": pa.float32(), "i64": pa.int64(), "i32": pa.int32(), "i16": pa.int16(),
    "i8": pa.int8(), "u64": pa.uint64(), "u32": pa.uint32(), "u16": pa.uint16(), "u8": pa.uint8(), "bool": pa.bool_(),
    "string": pa.string(), "binary": pa.binary(), "time": UTC,
}  # fmt: skip
_NUMBER = pa.int32()
_LABEL = pa.dictionary(_NUMBER, pa.string())
_FEW = 64
"""Rows whose labels are looked up one by one."""
_VERY_FEW, _MOST_RECENT = 8, 1024
"""Labels of an array that is kept for when they come again, and such arrays of a sink."""


def kind_of(field: Field) -> Any:  # noqa: ANN401
    """The Arrow type of a field where it leaves the session.

    Lists of labels are lists of texts: readers of Parquet cannot put lists of dictionaries together (ARROW-5030).
    """
    is_label = field.labels is not None and field.store == "string" and not field.shape
    kind = _LABEL if is_label else _KINDS[field.store]
    for length in reversed(field.shape):
        kind = pa.list_(kind, length)
    return kind


def schema_of(program: Program, spec: SinkSpec) -> Any:  # noqa: ANN401
    """The schema of a sink: time, start of a span, keys, columns; with units, rate and pipeline."""
    fields = [pa.field("time", UTC)]
    if spec.has_start:
        fields.append(pa.field("start", UTC))
    for field in (
        *spec.keys,
        *(f for f in spec.fields if not (spec.has_start and f.name == "start")),
    ):
        metadata: dict[bytes, str] = {}
        if field.unit:
            metadata[UNIT] = field.unit
        if field.labels is not None:
            metadata[LABELS] = json.dumps(list(field.labels), ensure_ascii=False)
        fields.append(pa.field(field.name, kind_of(field), metadata=metadata or None))
    about = {PIPELINE: program.digest, VERSION: _version()}
    if spec.rate_hz is not None:
        about[RATE] = repr(float(spec.rate_hz))
    about |= {name.encode(): told for name, told in spec.about}
    return pa.schema(fields, about)


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("flowedge")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


# ---- in


class Reader:
    """Takes the columns that a source needs out of record batches.

    Parameters
    ----------
    source : name of the source, for messages
    fields : columns to take
    texts : names of columns handed out as Arrow arrays of text instead of ids (a time to parse)
    fitting : fields whose values need not fit: what does not is told in `misfits`
    narrow : names of i32 columns handed out as int32 where no value is missing, and as int64 elsewhere

    Attributes
    ----------
    misfits : of the batch read last, by field, of those that hold any; shaped as the values
    """

    def __init__(
        self,
        source: str,
        fields: Sequence[Field],
        pool: StringPool,
        texts: frozenset[str],
        fitting: frozenset[str] = frozenset(),
        narrow: frozenset[str] = frozenset(),
    ) -> None:
        self.source, self.fields, self.pool, self.texts = source, tuple(fields), pool, texts
        self.fitting, self.narrow = fitting, narrow
        self.misfits: dict[str, Misfits] = {}
        self._schema: Any = None
        self._places: list[int] = []
        self._by_entry: set[int] = set()

    def read(self, batch: Any) -> dict[str, Any]:  # noqa: ANN401
        """The columns by name.

        Raises
        ------
        SourceError
            a column is missing, damaged, or of a type that does not go into the declared one
        """
        try:
            self._validate(batch)
        except (pa.ArrowInvalid, ValueError) as error:
            raise self._damaged(error) from None
        try:
            return self._read(batch)
        except pa.ArrowInvalid as error:  # in an entry of a dictionary
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> SourceError:
        reason = str(error).splitlines()[0]
        return SourceError(f"`{self.source}`: rows that came are damaged ({reason})")

    def _read_by_entry(self, schema: Any) -> set[int]:  # noqa: ANN401
        """Places of dictionaries of texts that are read, and judged, entry by entry."""
        return {
            place
            for field, place in zip(self.fields, self._places, strict=True)
            if field.store in ("string", "binary")
            and not field.shape
            and field.name not in self.texts
            and pa.types.is_dictionary(schema.field(place).type)
        }

    def _validate(self, batch: Any) -> None:  # noqa: ANN401
        """Raise ArrowInvalid where something is damaged, but for dictionaries that are read entry by entry."""
        batch.validate()
        if self._schema is None or not self._schema.equals(batch.schema):
            self._places = [self._place(batch.schema, f.name) for f in self.fields]
            self._schema, self._by_entry = batch.schema, self._read_by_entry(batch.schema)
        if not self._by_entry:
            batch.validate(full=True)
            return
        for place, column in enumerate(batch.columns):
            if place not in self._by_entry:
                column.validate(full=True)

    def _read(self, batch: Any) -> dict[str, Any]:  # noqa: ANN401
        out: dict[str, Any] = {}
        self.misfits = {}
        for field, place in zip(self.fields, self._places, strict=True):
            column = batch.column(place)
            if field.name in self.texts:
                out[field.name] = column
            elif field.name in self.fitting:
                out[field.name] = self._fitted(field, column)
            else:
                out[field.name] = self._column(field, column)
        return out

    def _place(self, schema: Any, name: str) -> int:  # noqa: ANN401
        places = schema.get_all_field_indices(name)
        if len(places) == 1:
            return places[0]
        if places:
            raise SourceError(
                f"`{self.source}`: the rows have {len(places)} columns named `{name}`"
            )
        have = ", ".join(schema.names) or "no column"
        raise SourceError(f"`{self.source}`: the rows have no column `{name}`; they have {have}")

    def told(self, batch: Any, name: str, row: int) -> str:  # noqa: ANN401
        """What a raw field says in a row, for messages."""
        return str(batch.column(self._place(batch.schema, name))[row].as_py())

    def _fitted(self, field: Field, column: Any) -> Array:  # noqa: ANN401
        """A column of which some values may not fit; those are noted."""
        try:
            return self._column(field, column)
        except SourceError:
            pass
        rows = len(column)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        wrong = np.zeros(rows, bool)
        for k, length in enumerate(field.shape):
            if k or not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
                try:
                    column = self._elements(field, column, length)
                except SourceError:
                    wrong[:] = True
                    break
                continue
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            wrong = valid & (np.diff(column.offsets.to_numpy()) != length)
            column = column.take(pa.array(np.arange(rows), mask=wrong))
            column = self._elements(field, column, length)
        if wrong.all() and rows and len(column) == rows and field.shape:
            size = rows * int(np.prod(field.shape))
            values, misfits = np.full(size, MISSING[field.store], DTYPES[field.store]), None
        elif field.store in ("string", "binary", "time") or field.store not in _KINDS:
            if field.store != "time" or not pa.types.is_timestamp(column.type):
                raise self._refused(field, column.type)
            values, misfits = self._times_that_fit(column)
        else:
            values, misfits = fitted(field.store, column)
        shape = (rows, *field.shape)
        found = np.zeros(shape, np.uint8) if misfits is None else misfits.reshape(shape)
        found[wrong] = LOST
        self.misfits[field.name] = found
        return values.reshape(shape)

    @staticmethod
    def _times_that_fit(column: Any) -> tuple[Array, Misfits]:  # noqa: ANN401
        """Instants in ns; those outside the years 1677 to 2262 are missing."""
        scale = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[column.type.unit]
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        whole = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        good = (np.abs(whole.astype(np.float64)) * scale < 2.0**63 - 1024) & valid
        values = np.where(good, np.where(good, whole, 0) * scale, MISSING["time"]).astype(np.int64)
        return values, np.where(valid & ~good, LOST, 0).astype(np.uint8)

    def _column(self, field: Field, column: Any) -> Array:  # noqa: ANN401
        kind = column.type
        if not field.shape:
            stays = field.store in _PLAIN or field.name in self.narrow
            if stays and kind == _KINDS[field.store] and not column.null_count:
                dtype = WIRE[field.store]
                return np.frombuffer(
                    column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize
                )
            return self._scalars(field, column)
        rows = len(column)
        for length in field.shape:
            column = self._elements(field, column, length)
        flat = self._scalars(field, column)
        return flat.reshape((rows, *field.shape))

    def _elements(self, field: Field, column: Any, length: int) -> Any:  # noqa: ANN401
        """The elements of lists of one length; a missing list has missing elements."""
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        kind = column.type
        if pa.types.is_fixed_size_list(kind):
            size = int(np.prod(field.shape))
            if kind.list_size == size and length == field.shape[0]:
                length = size  # a tensor may come as one flat list
            if kind.list_size != length:
                raise self._refused(field, kind)
            return column.flatten() if not column.null_count else self._spread(column, length)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            lengths = np.diff(column.offsets.to_numpy())
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            if (lengths[valid] != length).any():
                wrong = int(lengths[valid][lengths[valid] != length][0])
                raise SourceError(
                    f"`{self.source}`: `{field.name}` is declared with lists of {length}, but one of {wrong} came"
                )
            return self._spread(column, length) if column.null_count else column.flatten()
        if len(field.shape) > 1 and not pa.types.is_nested(kind):
            return column  # flattened already, see above
        raise self._refused(field, kind)

    @staticmethod
    def _spread(column: Any, length: int) -> Any:  # noqa: ANN401
        """Elements of lists of which some are missing: those are lists of missing elements."""
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        index = np.full((len(column), length), -1, np.int64)
        index[valid] = np.arange(int(valid.sum()) * length).reshape(-1, length)
        flat = index.reshape(-1)
        return column.drop_null().flatten().take(pa.array(flat, mask=flat < 0))

    def _scalars(self, field: Field, column: Any) -> Array:  # noqa: ANN401
        store, kind = field.store, column.type
        if isinstance(column, pa.ExtensionArray):
            column, kind = column.storage, column.type.storage_type
        if store in ("string", "binary"):
            value = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (_is_text(value) or pa.types.is_null(value)):
                raise self._refused(field, kind)
            return self.pool.intern(column)
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if store == "time":
            return self._time(field, column)
        if pa.types.is_duration(kind):
            column = self._counted(field, column)
            kind = column.type
        target = _KINDS[store]
        if kind != target:
            column = self._cast(field, column, target)
        return self._unpacked(store, column)

    @staticmethod
    def _unpacked(store: str, column: Any) -> Array:  # noqa: ANN401
        """The values of a column of its final type, with what stands for missing ones."""
        bits, values = column.buffers()
        first, rows = column.offset, len(column)
        valid = np.frombuffer(bits, np.uint8) if bits is not None and column.null_count else None
        if store == "bool":
            if not rows:
                return np.empty(0, np.uint8)
            return unpacked.bools(np.frombuffer(values, np.uint8), rows, valid, first)
        dtype, here = WIRE[store], DTYPES[store]
        if not rows:
            return np.empty(0, here)
        plain = np.frombuffer(values, dtype, rows, first * dtype.itemsize).astype(here, copy=False)
        if valid is None:
            return plain
        return np.where(unpacked.valid(valid, rows, first), plain, here.type(MISSING[store]))

    def _time(self, field: Field, column: Any) -> Array:  # noqa: ANN401
        kind = column.type
        if pa.types.is_date(kind):
            column = column.cast(pa.timestamp("ns"))
        elif pa.types.is_integer(kind) and kind.bit_width == 64:
            column = column.cast(pa.int64()).cast(pa.timestamp("ns"))
        elif not pa.types.is_timestamp(kind) and not pa.types.is_null(kind):
            raise self._refused(field, kind)
        try:
            column = column.cast(pa.timestamp("ns", getattr(column.type, "tz", None)))
        except pa.ArrowInvalid:
            raise SourceError(
                f"`{self.source}`: a time in `{field.name}` lies outside the years 1677 to 2262"
            ) from None
        bits, values = column.buffers()
        rows = len(column)
        if not rows:
            return np.empty(0, np.int64)
        plain = np.frombuffer(values, np.int64, rows, column.offset * 8)
        if bits is None or not column.null_count:
            return plain
        valid = np.frombuffer(bits, np.uint8)
        return unpacked.integers(plain, valid, column.offset)

    def _counted(self, field: Field, column: Any) -> Any:  # noqa: ANN401
        """Durations as whole numbers of the field's unit; of their own where it has none."""
        unit = column.type.unit if field.unit is None else field.unit
        if unit not in _UNITS_OF_TIME:
            raise self._refused(field, column.type)
        try:
            return column.cast(pa.duration(unit)).cast(pa.int64())
        except pa.ArrowInvalid:
            raise SourceError(
                f"`{self.source}`: a duration in `{field.name}` is no whole number of {unit}; declare it in {column.type.unit}"
            ) from None

    def _cast(self, field: Field, column: Any, target: Any) -> Any:  # noqa: ANN401
        """The column in the declared type, if no value changes but by rounding to a float."""
        kind = column.type
        numbers = (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        )
        if not (pa.types.is_null(kind) or (numbers and not pa.types.is_boolean(target))):
            raise self._refused(field, kind)
        try:
            return column.cast(target)
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise SourceError(
                f"`{self.source}`: `{field.name}` is declared {field.store}, but holds {kind} that does not fit ({reason})"
            ) from None

    def _refused(self, field: Field, kind: Any) -> SourceError:  # noqa: ANN401
        shape = f"<{', '.join(map(str, field.shape))}>" if field.shape else ""
        return SourceError(
            f"`{self.source}`: `{field.name}` is declared {field.store}{shape}, but the rows hold {kind}; "
            "declare the type that the data has"
        )


_UNITS_OF_TIME = ("s", "ms", "us", "ns")


def _is_text(kind: Any) -> bool:  # noqa: ANN401
    t = pa.types
    return bool(
        t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind) or t.is_large_binary(kind)
        or t.is_string_view(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind)
    )  # fmt: skip


_PLAIN = {store for store, dtype in WIRE.items() if dtype == DTYPES[store]}
"""Stores whose values are used where Arrow has them."""


# ---- out


class Writer:
    """Makes record batches of a sink's rows.

    Parameters
    ----------
    spec : the sink
    schema : what `schema_of` says
    """

    def __init__(self, spec: SinkSpec, schema: Any, pool: StringPool) -> None:  # noqa: ANN401
        self.spec, self.schema, self.pool = spec, schema, pool
        self.may_lack_time = True
        """Whether a source is `time always`, so that rows without a time may come."""
        self._places: dict[str, Array] = {}
        """By column and the id of a text, its place among the labels; -1: it is none of them."""
        self._numbers: dict[str, dict[int, int]] = {}
        """The same for few rows, for which it takes NumPy longer to begin than Python to do it."""
        self._recent: dict[tuple[Any, ...], Any] = {}
        """By column and places, arrays of very few labels."""
        self._labels = {
            f.name: text_array(f.labels)
            for f in (*spec.keys, *spec.fields)
            if f.labels is not None and f.store == "string"
        }

    def write(self, batch: Batch, keys: dict[str, Array]) -> Any:  # noqa: ANN401
        """A record batch over the same memory.

        Parameters
        ----------
        keys : values of the key columns by row
        """
        if self.may_lack_time:
            columns = [self._times(batch.time)]
        else:
            time = batch.time
            columns = [pa.Array.from_buffers(UTC, batch.n, [None, pa.py_buffer(time)])]
        if self.spec.has_start:
            columns.append(self._times(batch.columns["start"]))
        columns += [self.column(f, keys[f.name]) for f in self.spec.keys]
        columns += [
            self.column(f, batch.columns[f.name])
            for f in self.spec.fields
            if not (self.spec.has_start and f.name == "start")
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    @staticmethod
    def _times(values: Array) -> Any:  # noqa: ANN401
        # Every real time is above -2⁶³ + 1, which stands for a row without a time.
        return masked(values, UTC, values <= MISSING["time"] + 1)

    def column(self, field: Field, values: Array) -> Any:  # noqa: ANN401
        """One column as an Arrow array."""
        flat = values.reshape(-1) if field.shape else values
        out = self._scalars(field, flat)
        if field.shape and pa.types.is_dictionary(out.type):
            out = out.dictionary_decode()
        for length in reversed(field.shape):
            out = pa.FixedSizeListArray.from_arrays(out, length)
        return out

    def few_labels(self, field: Field, values: list[int]) -> Any:  # noqa: ANN401
        """A column of a few texts of a known set; None where one is missing, or not of the set.

        Of very few it is the same array as before, where these come again.
        """
        key = (field.name, *values) if len(values) <= _VERY_FEW else ()
        if key in self._recent:
            return self._recent[key]
        places = values if field.literals else self._few_places(field.name, values)
        if places is None or min(places, default=0) < 0:
            return None
        numbers = pa.py_buffer(array("i", places))
        indices = pa.Array.from_buffers(_NUMBER, len(places), [None, numbers])
        found = pa.DictionaryArray.from_arrays(indices, self._labels[field.name])
        if key and len(self._recent) < _MOST_RECENT:
            self._recent[key] = found
        return found

    def _scalars(self, field: Field, values: Array) -> Any:  # noqa: ANN401
        store = field.store
        if store in ("f64", "f32"):
            return pa.Array.from_buffers(_KINDS[store], len(values), [None, pa.py_buffer(values)])
        if store == "time":
            return self._times(values)
        if store == "bool":
            return truths(values == 1, values == 2)
        if store in ("string", "binary"):
            if field.name in self._labels:
                return self._labelled(field, values)
            return self.pool.arrow(values, _KINDS[store])
        gone = values == MISSING[store]
        narrow = np.ascontiguousarray(values.astype(WIRE[store], copy=False))
        return masked(narrow, _KINDS[store], gone)

    def _labelled(self, field: Field, values: Array) -> Any:  # noqa: ANN401
        """Texts of a known set, as numbers into it."""
        labels = self._labels[field.name]
        places: Array | None
        if len(values) <= _FEW:
            ids = values.tolist()
            found = self.few_labels(field, ids)
            if found is not None:
                return found
            few = ids if field.literals else self._few_places(field.name, ids)
            places = None if few is None else np.array(few, np.int32)
        elif field.literals:
            places = values.astype(np.int32)
        else:
            places = self._many_places(field.name, values)
        if places is None:  # a text that nobody had announced, or that a damaged snapshot made up
            require_within(values, self.pool.count, "a text that is not there", least=-1)
            return self.pool.arrow(values, _LABEL)
        return pa.DictionaryArray.from_arrays(nullable(places, _NUMBER), labels)

    def _few_places(self, name: str, values: list[int]) -> list[int] | None:
        """The places of texts among the labels, -1 for none; None where one is not among them."""
        known = self._numbers.get(name)
        if known is None:
            ids = self.pool.pin(self._labels[name]).tolist()
            known = self._numbers[name] = {-1: -1, **{k: place for place, k in enumerate(ids)}}
        try:
            return [known[k] for k in values]
        except KeyError:
            return None

    def _many_places(self, name: str, values: Array) -> Array | None:
        """The same by a table, whose last place is that of -1."""
        table = self._places.get(name)
        if table is None:
            ids = self.pool.pin(self._labels[name])
            table = np.full(int(ids.max(initial=-1)) + 2, -1, np.int32)
            table[ids] = np.arange(len(ids), dtype=np.int32)
            self._places[name] = table
        if int(values.min()) < -1 or int(values.max()) >= len(table) - 1:
            return None
        places: Array = table[values]
        if int(places.min()) < 0 and ((places < 0) & (values >= 0)).any():
            return None
        return places
