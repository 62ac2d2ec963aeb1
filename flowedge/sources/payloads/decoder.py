"""What live sources use: payloads in, rows of the declared fields out, and readings turned away."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.sources.payloads import arrow, cbor, csv, json, msgpack
from flowedge.sources.payloads.bounds import PayloadError, width_of
from flowedge.sources.payloads.fast import Fast, Part
from flowedge.sources.payloads.formats import FORMATS, Format, format_of
from flowedge.sources.payloads.rows import Rejected, Rows
from flowedge.types.arrays import size_of

_TREES: Mapping[str, Callable[[bytes], Any]] = {
    "msgpack": msgpack.unpacked,
    "json": json.unpacked,
    "cbor": cbor.unpacked,
}
"""Formats of maps, lists and values."""
_TEXT = pa.dictionary(pa.int32(), pa.string())
_MOST_AT_ONCE, _MOST_TAKEN = 256 << 20, 1 << 30
"""Bytes of payloads, and of rows, that become one batch: a column of text holds 2 GiB at most."""


class Decoder:
    """Payloads to rows of the declared fields, and to readings turned away.

    A *reading* is a map from names to values. A payload is one of them, a list of them, or *columns*; see
    ``docs/payloads.md``. A field that is absent or null is missing; one that is not declared is left out.

    Parameters
    ----------
    schema : declared fields; numbers, truth, text, binary, times, and lists of fixed length of numbers
    format : of all payloads; "auto" tells that of each, see `format_of`
    extra : fields that stand behind these, of which each message has one value for all its rows, such as what
        its topic captures, or when it came; texts come as a dictionary, whatever is said here
    fitting : of fields "reject", "null" or "clamp", for values of readings that do not fit, see
        `flowedge.sources.contract.Source`

    Attributes
    ----------
    schema : of the rows, `extra` included
    rejected : readings turned away; whoever takes them empties the list
    seen : readings that came, good or bad; a payload that cannot be unpacked counts as one
    rows : those that wait for `take`
    refused : int64 (payloads,), of the last `add_many` how many readings of each payload were turned away

    Examples
    --------
    >>> decoder = Decoder(pa.schema([("v", pa.float32())]), extra=pa.schema([("device", pa.string())]))
    >>> decoder.add_many([b'{"v": 1.5}', b'[{"v": 2}, {"v": "x"}, {}]'], {"device": ["a", "b"]}).tolist()
    [1, 2]
    >>> decoder.take().to_pylist()
    [{'v': 1.5, 'device': 'a'}, {'v': 2.0, 'device': 'b'}, {'v': None, 'device': 'b'}]
    >>> decoder.rejected
    [Rejected(number=3, reason='`v` is not a number', text="{'v': 'x'}", by_policy=False)]
    """

    def __init__(
        self,
        schema: pa.Schema,
        format: Format = "auto",  # noqa: A002  # the word of the language
        *,
        extra: pa.Schema | None = None,
        fitting: Mapping[str, str] | None = None,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"`{format}` is no format of payloads; there are {', '.join(FORMATS)}")
        self.format: Format = format
        self._extra = [f.with_type(_TEXT) if pa.types.is_string(f.type) else f for f in extra or ()]
        self.schema = pa.schema([*schema, *self._extra], schema.metadata)
        self.rejected: list[Rejected] = []
        self.rows = 0
        self.refused: NDArray[np.int64] = np.zeros(0, np.int64)
        self._declared = schema
        self._gathered = Rows(schema, width_of(self.schema), fitting)
        self._gathered.rejected = self.rejected
        self._parts: list[pa.RecordBatch] = []
        self._fast = Fast(schema, format, self._gathered.width)

    @property
    def seen(self) -> int:
        """Readings that came, good or bad."""
        return self._gathered.seen

    def prepare(self) -> None:
        """Load the kernels now and not with the first payloads; where they are not in the cache, that takes seconds."""
        self._fast.prepare()

    def add(self, payload: bytes, **extra: Any) -> int:  # noqa: ANN401
        """Take one payload, see `add_many`; the rows that it gave."""
        return int(self.add_many([payload], {k: [v] for k, v in extra.items()})[0])

    def add_many(
        self, payloads: Sequence[bytes], extra: Mapping[str, Sequence[Any]] | None = None
    ) -> NDArray[np.int64]:
        """Take payloads, each whole and of any origin; nothing that they say raises.

        Parameters
        ----------
        payloads : in order
        extra : of each extra field one value for each payload, as an array of Arrow or a list

        Returns
        -------
        counts : int64 (payloads,), the rows that each gave
        """
        self._gathered.rejected = self.rejected
        if len(payloads) > 1 and sum(map(len, payloads)) > _MOST_AT_ONCE:
            half = len(payloads) // 2
            halves = (slice(half), slice(half, None))
            found, refused = [], []
            for one in halves:
                found.append(self.add_many(payloads[one], {k: v[one] for k, v in (extra or {}).items()}))  # fmt: skip
                refused.append(self.refused)
            self.refused = np.concatenate(refused)
            return np.concatenate(found)
        self.refused = np.zeros(len(payloads), np.int64)
        if self._fast.is_worth_it(len(payloads)):
            parts, counts = self._quickly(payloads)
        else:
            counts = np.fromiter(map(self._noted, payloads, range(len(payloads))), np.int64, len(payloads))  # fmt: skip
            parts = self._gathered.take()
        rows = int(counts.sum())
        if rows:
            self._parts += self._with_extra(parts, counts, extra or {})
        self.rows += rows
        return counts

    def turn_away(self, reason: str, what: str) -> None:
        """Count a reading that came past this."""
        self._gathered.rejected = self.rejected
        self._gathered.turn_away(reason, what)

    def take(self) -> pa.RecordBatch:
        """The rows since the last call; of more than 1 GiB the first, and `rows` says how many still wait."""
        if len(self._parts) == 1:
            (part,) = self._parts
            self._parts, self.rows = [], 0
            return part
        count, size = 0, 0
        for part in self._parts:
            size += size_of(part)
            if count and size > _MOST_TAKEN:
                break
            count += 1
        parts, self._parts = self._parts[:count], self._parts[count:]
        self.rows = sum(part.num_rows for part in self._parts)
        return parts[0] if count == 1 else _joined(parts, self.schema)

    def take_altered(self) -> dict[str, tuple[int, int]]:
        """By field how many values became missing, and how many the nearest that fits, since the last call."""
        out, self._gathered.altered = self._gathered.altered, {}
        return out

    def _quickly(self, payloads: Sequence[bytes]) -> tuple[list[pa.RecordBatch], NDArray[np.int64]]:
        """The rows by kernels, and of what these leave one by one; and how many each payload gave."""
        found, left = self._fast.run(payloads)
        gathered = self._gathered
        if len(found) == 1 and not len(left):
            gathered.seen += found[0].rows.num_rows
            return [found[0].rows], found[0].counts
        counts = np.zeros(len(payloads), np.int64)
        for part in found:
            counts += part.counts
        before = gathered.seen + np.cumsum(counts)
        slow = np.zeros(len(payloads), np.int64)
        seen = 0
        for i, quick in zip(left.tolist(), before[left].tolist(), strict=True):
            gathered.seen = quick + seen
            slow[i] = self._noted(payloads[i], i)
            seen = gathered.seen - quick
        gathered.seen = seen + int(before[-1]) if len(before) else gathered.seen
        found += [Part(_joined(gathered.take(), self._declared), slow)] if slow.any() else []
        return _in_order(found), counts + slow

    def _noted(self, payload: bytes, place: int) -> int:
        """As `_one`, and note how much was turned away."""
        before = len(self.rejected)
        count = self._one(payload)
        self.refused[place] = len(self.rejected) - before
        return count

    def _one(self, payload: bytes) -> int:
        """One payload the slow way; the rows that it gave."""
        rows = self._gathered
        before = rows.waiting
        try:
            name = format_of(payload) if self.format == "auto" else self.format
            if name in _TREES:
                rows.tree(self._tree(name, payload), len(payload))
            elif name == "arrow":
                rows.batch(arrow.unpacked(payload, self._declared, rows.width))
            else:
                self._lines(csv.unpacked(payload, self._declared, rows.width))
        except PayloadError as error:
            rows.turn_away(str(error), payload)
        return rows.waiting - before

    def _tree(self, name: str, payload: bytes) -> Any:  # noqa: ANN401
        """The maps and lists of a payload; of what is CBOR and was taken for msgpack the reason says so."""
        try:
            return _TREES[name](payload)
        except PayloadError as error:
            if self.format != "auto" or name != "msgpack" or not _is_list_of_cbor(payload):
                raise
            hint = "a list of CBOR has to begin with the tag 55799, or the format to be named"
            raise PayloadError(f"{error}; {hint}") from None

    def _lines(self, found: csv.Lines) -> None:
        """Rows and readings turned away, in the order of the lines."""
        rows, at, taken = self._gathered, 0, 0
        for place, reason in enumerate(found.lines):
            if reason is None:
                continue
            good = place - at
            rows.batch(found.rows.slice(taken, good))
            rows.turn_away(reason, ",".join(found.cells[place]))
            taken, at = taken + good, place + 1
        rows.batch(found.rows.slice(taken))

    def _with_extra(
        self,
        parts: list[pa.RecordBatch],
        counts: NDArray[np.int64],
        extra: Mapping[str, Sequence[Any]],
    ) -> list[pa.RecordBatch]:
        """The rows of one call, each with what its message has besides."""
        if not self._extra:
            return parts
        rows = _joined(parts, self._declared)
        messages = pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
        columns = list(rows.columns)
        for field in self._extra:
            if pa.types.is_dictionary(field.type):
                values = pa.array(extra[field.name], pa.string())
                columns.append(pa.DictionaryArray.from_arrays(messages, values))
            else:
                columns.append(pa.array(extra[field.name], field.type).take(messages))
        return [pa.RecordBatch.from_arrays(columns, schema=self.schema)]


def decode(
    data: bytes,
    schema: pa.Schema,
    format: Format = "auto",  # noqa: A002
) -> tuple[pa.RecordBatch, list[Rejected]]:
    """Rows of one payload, and its readings that were turned away.

    Examples
    --------
    >>> batch, bad = decode(b'[{"v": 1.5}, {"v": "x"}]', pa.schema([("v", pa.float64())]))
    >>> batch.to_pylist(), bad
    ([{'v': 1.5}], [Rejected(number=2, reason='`v` is not a number', text="{'v': 'x'}", by_policy=False)])
    """
    decoder = Decoder(schema, format)
    decoder.add(data)
    return decoder.take(), decoder.rejected


def _is_list_of_cbor(payload: bytes) -> bool:
    try:
        return isinstance(cbor.unpacked(payload), list)
    except PayloadError:
        return False


def _in_order(parts: list[Part]) -> list[pa.RecordBatch]:
    """Rows in the order of their messages, where each part is by itself."""
    places = [np.repeat(np.arange(len(p.counts)), p.counts) for p in parts]
    rows = [p.rows for p in parts]
    if all(a[-1] < b[0] for a, b in pairwise(places)):
        return rows
    order = np.argsort(np.concatenate(places), kind="stable")
    return [_joined(rows, rows[0].schema).take(pa.array(order))]


def _joined(parts: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Batches as one."""
    table = pa.Table.from_batches(parts, schema).combine_chunks()
    found = table.to_batches()
    return (
        found[0]
        if found
        else pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
    )


__all__ = ["Decoder", "decode"]
