"""The short way for signals without keys: from a record batch straight through dense kernels to the sinks.

The nodes of a session decide anew at every push what to do with rows that are late, out of order,
twice there, or behind a gap. A push of a regular signal needs none of it, and its kernels take a few
microseconds, which is what one decision in Python takes. So where a plan is one signal without keys
and kernels that give a row for each row, what can be known before the first push is worked out once;
a push then checks that its rows are the next samples, and calls the kernels with the addresses of
Arrow's own memory. It leaves every node as the nodes themselves would; whatever is not as expected
goes the usual way, with nothing changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.compile.program import NodeSpec
from flowedge.lang.errors import InternalError
from flowedge.session.arrow import UTC, kind_of
from flowedge.session.batch import DTYPES
from flowedge.session.kernel import KernelNode
from flowedge.session.node import Node
from flowedge.session.sink import SinkNode
from flowedge.session.source import ROWS, SourceNode

_FLOATS = ("f64", "f32")
_PLAIN = ("f64", "f32", "i64", "u64")

# Words of a kernel's context; a name of this module is found sooner than one of another.
_ROW, _ROWS, _OUT, _OUT_ROOM = p.ROW, p.ROWS, p.OUT, p.OUT_ROOM
_WATERMARK, _FINISH, _TIME, _SLOT, _GAP = p.WATERMARK, p.FINISH, p.TIME, p.SLOT, p.GAP


@dataclass(slots=True)
class _Column:
    """A column on its way: where it lies, and what keeps it there."""

    address: int
    buffer: Any
    array: Any = None


@dataclass(frozen=True, slots=True)
class _Stop:
    """A kernel on the way.

    Attributes
    ----------
    reads : columns of its input by the word of the context that takes their address
    writes : (column, bytes of a row) by the word of the context
    passed : columns of its input that go by it
    """

    node: KernelNode
    input: int
    reads: tuple[tuple[int, str], ...]
    writes: tuple[tuple[int, str, int], ...]
    passed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Exit:
    """A sink on the way, and its columns behind the time: (name, Arrow type)."""

    node: SinkNode
    input: int
    columns: tuple[tuple[str, Any], ...]


class Express:
    """What is known of a plan before its rows come. Make it with `express_of`."""

    def __init__(
        self,
        source: SourceNode,
        stops: tuple[_Stop, ...],
        exits: tuple[_Exit, ...],
        kinds: dict[str, Any],
    ) -> None:
        self._source, self._stops, self._exits = source, stops, exits
        spec = source.spec
        self._fields = tuple(
            (name, kinds[raw], raw, DTYPES[field.store].itemsize)
            for name, raw, field in source.columns
        )
        self._time = spec.time
        self._schema: Any = None
        self._places: tuple[tuple[int, str, int], ...] = ()
        self._time_place = -1

    def push(self, rows: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """The rows of each sink; None if these rows must go the usual way.

        Parameters
        ----------
        rows : a record batch for partition "" of the source
        """
        n = rows.num_rows
        if not 0 < n <= ROWS or not self._fits(rows):
            return None
        columns: dict[str, _Column] = {}
        for place, name, width in self._places:
            array = rows.column(place)
            if array.null_count:
                return None
            buffer = array.buffers()[1]
            columns[name] = _Column(buffer.address + array.offset * width, buffer, array)
        time = self._times(rows, n)
        if time is None:
            return None
        newest = self._source.next_samples(time.address, n)
        if newest is None:
            return None
        return self._through(n, time, newest, columns)

    def _fits(self, rows: Any) -> bool:  # noqa: ANN401
        """Whether the rows have the columns, and are sound."""
        schema = rows.schema
        if self._schema is None or not self._schema.equals(schema):
            self._schema = None
            places = []
            for name, kind, raw, width in self._fields:
                at = schema.get_all_field_indices(raw)
                if len(at) != 1 or schema.field(at[0]).type != kind:
                    return False
                places.append((at[0], name, width))
            if self._time:
                at = schema.get_all_field_indices(self._time)
                if len(at) != 1 or schema.field(at[0]).type != UTC:
                    return False
                self._time_place = at[0]
            self._schema, self._places = schema, tuple(places)
        try:
            rows.validate(full=True)
        except (pa.ArrowInvalid, ValueError):
            return False  # the usual way says what is wrong
        return True

    def _times(self, rows: Any, n: int) -> _Column | None:  # noqa: ANN401
        if not self._time:
            buffer = pa.allocate_buffer(8 * n)
            self._source.count_times(buffer.address, n)
            return _Column(buffer.address, buffer)
        array = rows.column(self._time_place)
        if array.null_count:
            return None
        buffer = array.buffers()[1]
        return _Column(buffer.address + 8 * array.offset, buffer, array)

    def _through(
        self, n: int, time: _Column, newest: int, columns: dict[str, _Column]
    ) -> dict[str, Any]:
        here = {self._source.spec.id: columns}
        allocate = pa.allocate_buffer
        for stop in self._stops:
            before, node = here[stop.input], stop.node
            runner = node.runner
            ctx = runner.ctx
            ctx[_ROW] = ctx[_OUT] = ctx[_FINISH] = ctx[_SLOT] = ctx[_GAP] = 0
            ctx[_ROWS] = ctx[_OUT_ROOM] = n
            ctx[_WATERMARK], ctx[_TIME] = newest, time.address
            for word, name in stop.reads:
                ctx[word] = before.get(name, time).address
            made = {name: before[name] for name in stop.passed}
            for word, name, width in stop.writes:
                buffer = allocate(n * width)
                ctx[word] = address = buffer.address
                made[name] = _Column(address, buffer)
            if runner.call() != p.DONE:
                raise InternalError(
                    f"kernel `{node.spec.name}` stands still", expected="DONE", seen="FULL"
                )
            node.went_through(n, newest)
            here[node.spec.id] = made
        if time.array is None:
            time.array = pa.Array.from_buffers(UTC, n, [None, time.buffer])
        out = {}
        for end in self._exits:
            arrays, before = [time.array], here[end.input]
            for name, kind in end.columns:
                column = before[name]
                if column.array is None:
                    column.array = pa.Array.from_buffers(kind, n, [None, column.buffer])
                arrays.append(column.array)
            end.node.went_through(n, newest)
            out[end.node.spec.name] = pa.RecordBatch.from_arrays(arrays, schema=end.node.schema)
        return out


def express_of(nodes: Mapping[int, Node]) -> Express | None:
    """The short way through these nodes; None where there is none.

    There is one where the only source is a signal without keys whose columns are its raw fields,
    and all else is kernels that give a row for each row, and sinks.
    """
    order = list(nodes.values())
    sources = [n for n in order if isinstance(n, SourceNode)]
    if len(sources) != 1 or not sources[0].may_be_direct:
        return None
    source = sources[0]
    stops, exits = [], []
    for node in order:
        if isinstance(node, KernelNode):
            stop = _stop(node, nodes)
            if stop is None:
                return None
            stops.append(stop)
        elif isinstance(node, SinkNode):
            end = _exit(node)
            if end is None:
                return None
            exits.append(end)
        elif node is not source:
            return None
    raw = {f.name: f for f in source.spec.raw}
    if any(raw[name].store not in _PLAIN or raw[name].shape for _, name, _ in source.columns):
        return None
    if any(raw[name].store != field.store for _, name, field in source.columns):
        return None
    return Express(
        source, tuple(stops), tuple(exits), {name: kind_of(f) for name, f in raw.items()}
    )


def _stop(node: KernelNode, nodes: Mapping[int, Node]) -> _Stop | None:
    spec = node.spec
    if not spec.is_dense or len(spec.inputs) != 1 or spec.table >= 0:
        return None
    fields = {f.name: f for f in spec.fields}
    if any(fields[name].shape for name in spec.writes):
        return None
    before = _names(nodes[spec.inputs[0]].spec)
    if any(name not in before and name != "time" for _, name in spec.reads):
        return None
    first = p.COLUMNS + len(spec.reads)
    return _Stop(
        node, spec.inputs[0],
        tuple((p.COLUMNS + k, name) for k, (_, name) in enumerate(spec.reads)),
        tuple((first + k, name, DTYPES[fields[name].store].itemsize) for k, name in enumerate(spec.writes)),
        spec.passed,
    )  # fmt: skip


def _exit(node: SinkNode) -> _Exit | None:
    """A sink whose columns need no look at their values: floats have NaN for what is missing."""
    spec = node.spec
    if spec.keys or spec.has_start or any(f.store not in _FLOATS or f.shape for f in spec.fields):
        return None
    return _Exit(node, spec.inputs[0], tuple((f.name, kind_of(f)) for f in spec.fields))


def _names(spec: NodeSpec) -> Iterable[str]:
    return {f.name for f in spec.fields}
