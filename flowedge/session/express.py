"""The short way for signals without keys: from a record batch straight through kernels to the sinks.

The nodes of a session decide anew at every push what to do with rows that are late, out of order,
twice there, or behind a gap. A push of a regular signal needs none of it, and its kernels take a few
microseconds, which is what one decision in Python takes. So where a plan is one signal without keys,
what can be known before the first push is worked out once; a push then checks that its rows are the
next samples, and calls the kernels with the addresses of Arrow's own memory, as far as they give a row
for each row. The first kernel that does not (a window, a condition) ends the short way: what comes out of
it, far more rarely, goes on from node to node, or by `flowedge.session.tail` through a model. It leaves
every node as the nodes themselves would; whatever is not as expected goes the usual way, with nothing changed.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.lang.errors import InternalError
from flowedge.session.arrow import UTC, kind_of
from flowedge.session.batch import DTYPES
from flowedge.session.kernel import KernelNode, Runner
from flowedge.session.labels import Labels
from flowedge.session.node import Node
from flowedge.session.places import Places
from flowedge.session.sink import SinkNode
from flowedge.session.source import ROWS, SourceNode

_FLOATS = ("f64", "f32")
_PLAIN = ("f64", "f32", "i64", "u64")

# Words of a kernel's context; a name of this module is found sooner than one of another.
_ROW, _ROWS, _OUT, _OUT_ROOM = p.ROW, p.ROWS, p.OUT, p.OUT_ROOM
_ALLOCATE, _ARRAY, _BATCH = pa.allocate_buffer, pa.Array.from_buffers, pa.RecordBatch.from_arrays
_WATERMARK, _FINISH, _TIME, _SLOT, _GAP = p.WATERMARK, p.FINISH, p.TIME, p.SLOT, p.GAP


@dataclass(frozen=True, slots=True)
class _Stop:
    """A kernel on the way. Columns are numbers of registers, of which 0 is the time.

    Attributes
    ----------
    reads : (word of the context that takes the address, register)
    writes : (word, register, bytes of a row)
    """

    runner: Runner
    reads: tuple[tuple[int, int], ...]
    writes: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A kernel at which it ends, and the registers that it reads: (word, register).

    Attributes
    ----------
    labels : where labels of a model that follows it come out
    """

    node: KernelNode
    reads: tuple[tuple[int, int], ...]
    labels: Labels | None


@dataclass(frozen=True, slots=True)
class _Exit:
    """A sink on the way, and its columns: (register, Arrow type), the time first."""

    name: str
    schema: Any
    columns: tuple[tuple[int, Any], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a plan before its rows come.

    Attributes
    ----------
    fields : (Arrow type, raw field, register, bytes of a row) of the source's columns
    cuts : kernels at which it ends
    nodes : those on the way behind the source, which note what went through them
    registers : how many columns there are on the way, with the time
    """

    source: SourceNode
    fields: tuple[tuple[Any, str, int, int], ...]
    stops: tuple[_Stop, ...]
    exits: tuple[_Exit, ...]
    cuts: tuple[_Cut, ...]
    nodes: tuple[Node, ...]
    registers: int


class Express:
    """The short way of one plan. Make it with `express_of`.

    Attributes
    ----------
    is_whole : the rows of all sinks come this way; else some wait in the nodes behind
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        self.is_whole = all(cut.labels is not None for cut in route.cuts)
        self._time = route.source.spec.time
        self._fields = route.fields if not self._time else (*route.fields, (UTC, self._time, 0, 8))
        self._schema: Any = None
        self._places = Places(())
        self._registers: tuple[int, ...] = ()
        self._numbers: dict[int, int] = {}

    def push(self, rows: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """The rows of each sink on the way; None if these rows must go the usual way.

        Parameters
        ----------
        rows : a record batch for partition "" of the source
        """
        n = rows.num_rows
        if not 0 < n <= ROWS or not self._fits(rows):
            return None
        route = self._route
        found = self._places.of(rows)
        if found is None:
            return None
        # Where each column lies, and what keeps it there, if it is not the rows themselves.
        at: list[int] = [0] * route.registers
        kept: list[Any] = [None] * route.registers
        for register, address in zip(self._registers, found, strict=True):
            at[register] = address
        if not self._time:
            kept[0] = buffer = _ALLOCATE(8 * n)
            at[0] = buffer.address
        newest = route.source.next_samples(at[0], n)
        if newest is None:
            return None
        for stop in route.stops:
            runner = stop.runner
            ctx = runner.ctx
            ctx[_ROW] = ctx[_OUT] = ctx[_FINISH] = ctx[_SLOT] = ctx[_GAP] = 0
            ctx[_ROWS] = ctx[_OUT_ROOM] = n
            ctx[_WATERMARK], ctx[_TIME] = newest, at[0]
            for word, register in stop.reads:
                ctx[word] = at[register]
            for word, register, width in stop.writes:
                kept[register] = buffer = _ALLOCATE(n * width)
                ctx[word] = at[register] = buffer.address
            if runner.call() != p.DONE:
                raise InternalError(
                    f"kernel `{runner.spec.entry}` stands still", expected="DONE", seen="FULL"
                )
        for node in route.nodes:
            node.went_through(n, newest)
        for cut in route.cuts:
            ctx = cut.node.runner.ctx
            for word, register in cut.reads:
                ctx[word] = at[register]
            cut.node.take_at(n, at[0], newest)
        out = {}
        for end in route.exits:
            columns = [
                rows.column(self._numbers[register])
                if kept[register] is None
                else _ARRAY(kind, n, [None, kept[register]])
                for register, kind in end.columns
            ]
            out[end.name] = _BATCH(columns, schema=end.schema)
        for cut in route.cuts:
            if cut.labels is not None:
                cut.labels.model.flush()
                found = cut.labels.sink.out()
                if found is not None:
                    out[cut.labels.sink.spec.name] = found
        return out

    def _fits(self, rows: Any) -> bool:  # noqa: ANN401
        """Whether the rows have the columns, and are sound."""
        schema = rows.schema
        if self._schema is None or not self._schema.equals(schema):
            self._schema = None
            places = []
            for kind, raw, register, width in self._fields:
                at = schema.get_all_field_indices(raw)
                if len(at) != 1 or schema.field(at[0]).type != kind:
                    return False
                places.append((at[0], register, width))
            self._schema, self._registers = schema, tuple(r for _, r, _ in places)
            self._numbers = {register: number for number, register, _ in places}
            self._places = Places([(number, width) for number, _, width in places])
        try:
            rows.validate(full=True)
        except (pa.ArrowInvalid, ValueError):
            return False  # the usual way says what is wrong
        return True


def express_of(nodes: Mapping[int, Node]) -> Express | None:
    """The short way through these nodes; None where there is none.

    There is one where the only source is a signal without keys whose columns are its raw fields, and what reads them
    is kernels and plain sinks.
    """
    order = list(nodes.values())
    sources = [n for n in order if isinstance(n, SourceNode)]
    if len(sources) != 1 or not sources[0].may_be_direct:
        return None
    source = sources[0]
    kernels: list[KernelNode] = []
    cuts: list[KernelNode] = []
    sinks: list[SinkNode] = []
    on, behind = {source.spec.id}, set[int]()
    for node in order:
        inputs = set(node.spec.inputs)
        if node is source:
            continue
        if inputs <= behind:
            behind.add(node.spec.id)
        elif not inputs <= on:
            return None
        elif isinstance(node, KernelNode) and _is_on_the_way(node, nodes):
            kernels.append(node)
            on.add(node.spec.id)
        elif (
            isinstance(node, KernelNode)
            and not node.spec.is_dense
            and _reads_what_is_there(node, nodes)
        ):
            cuts.append(node)
            behind.add(node.spec.id)
        elif isinstance(node, SinkNode) and _is_plain(node.spec):
            sinks.append(node)
        else:
            return None
    raw = {f.name: f for f in source.spec.raw}
    if any(raw[name].store not in _PLAIN or raw[name].shape for _, name, _ in source.columns):
        return None
    if any(raw[name].store != field.store for _, name, field in source.columns):
        return None
    return Express(_route(source, kernels, cuts, sinks))


def _is_on_the_way(node: KernelNode, nodes: Mapping[int, Node]) -> bool:
    """Whether a kernel gives a row for each row, from columns that are there."""
    spec = node.spec
    fields = {f.name: f for f in spec.fields}
    if not spec.is_dense or any(fields[name].shape for name in spec.writes):
        return False
    return _reads_what_is_there(node, nodes)


def _reads_what_is_there(node: KernelNode, nodes: Mapping[int, Node]) -> bool:
    """Whether a kernel reads columns of one stream without keys."""
    spec = node.spec
    if len(spec.inputs) != 1 or spec.table >= 0:
        return False
    before = {f.name for f in nodes[spec.inputs[0]].spec.fields}
    return all(name in before or name == "time" for _, name in spec.reads)


def _is_plain(spec: p.SinkSpec) -> bool:
    """Whether a sink's columns need no look at their values: floats have NaN for what is missing."""
    return not spec.keys and not spec.has_start and all(
        f.store in _FLOATS and not f.shape for f in spec.fields
    )  # fmt: skip


def _route(
    source: SourceNode,
    kernels: Sequence[KernelNode],
    cuts: Sequence[KernelNode],
    sinks: Sequence[SinkNode],
) -> Route:
    """Give each column on the way a register."""
    raw = {f.name: f for f in source.spec.raw}
    count = itertools.count(1)
    here: dict[int, dict[str, int]] = {
        source.spec.id: {n: next(count) for n, _, _ in source.columns}
    }
    fields = tuple(
        (kind_of(raw[name]), name, here[source.spec.id][column], DTYPES[field.store].itemsize)
        for column, name, field in source.columns
    )
    stops = []
    for node in kernels:
        spec, before = node.spec, here[node.spec.inputs[0]]
        kinds = {f.name: f for f in spec.fields}
        made = here[spec.id] = {
            **{name: before[name] for name in spec.passed},
            **{name: next(count) for name in spec.writes},
        }
        first = p.COLUMNS + len(spec.reads)
        stops.append(_Stop(
            node.runner,
            _reads(spec, before),
            tuple((first + k, made[name], DTYPES[kinds[name].store].itemsize) for k, name in enumerate(spec.writes)),
        ))  # fmt: skip
    ends = tuple(
        _Cut(
            node,
            _reads(node.spec, here[node.spec.inputs[0]]),
            None if node.tail is None else node.tail.labels,
        )
        for node in cuts
    )
    exits = tuple(
        _Exit(
            node.spec.name, node.schema,
            ((0, UTC), *((here[node.spec.inputs[0]][f.name], kind_of(f)) for f in node.spec.fields)),
        )
        for node in sinks
    )  # fmt: skip
    return Route(source, fields, tuple(stops), exits, ends, (*kernels, *sinks), next(count))


def _reads(spec: p.KernelSpec, before: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Words of a kernel that take addresses, and the registers of what lies there."""
    return tuple((p.COLUMNS + k, before.get(name, 0)) for k, (_, name) in enumerate(spec.reads))
