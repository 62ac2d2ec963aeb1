"""The short way: from a record batch straight through kernels to the sinks.

The nodes of a session decide anew at every push what to do with rows that are late, out of order,
twice there, behind a gap, or of a new key. A push of a regular signal needs none of it, nor do a few rows in
order of keys that are known, and their kernels take a few microseconds, which is what one decision in Python takes.
So where a plan has one source, what can be known before the first push is worked out once; a push then checks
that its rows are the next ones, and calls the kernels with the addresses of Arrow's own memory, as far as they give
a row for each row. The first kernel that does not (a window, a condition) ends the short way: what comes out of
it, far more rarely, goes on from node to node, or by `flowedge.session.tail` through a model. It leaves
every node as the nodes themselves would; whatever is not as expected goes the usual way, with nothing changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.compile import program as p
from flowedge.lang.errors import InternalError
from flowedge.session.arrow import UTC, kind_of
from flowedge.session.batch import DTYPES
from flowedge.session.kernel import KernelNode, Runner
from flowedge.session.known import MOST_ROWS, Known, fits
from flowedge.session.labels import Labels
from flowedge.session.node import Node
from flowedge.session.places import Places
from flowedge.session.sink import SinkNode
from flowedge.session.source import ROWS, SourceNode
from flowedge.session.words import address as address_of
from flowedge.types.arrays import truths
from flowedge.types.schema import LATE

_FLOATS = ("f64", "f32")
_PLAIN = ("f64", "f32", "i64", "u64")
_AS_THEY_ARE = (*_PLAIN, "time")
"""Stores of columns that lie in the engine's memory as in Arrow's."""
_TEXTS = ("string", "binary")
_KEYS = ("i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8")
_LATE, _FIRST_TEXT = -1, -2
"""Registers that are none: what marks late rows, of which there are none here; columns that only pass."""

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
    """A sink on the way.

    Attributes
    ----------
    columns : (register, Arrow type) of each, the time first
    made : the fields of those whose values the sink has to look at, by place
    """

    node: SinkNode
    columns: tuple[tuple[int, Any], ...]
    made: Mapping[int, p.Field]


_Column = Callable[[Any, Sequence[Any], int], Any]
"""Makes a column of a sink of the rows, what the registers keep, and how many rows there are."""


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a plan before its rows come.

    Attributes
    ----------
    fields : (Arrow type, raw field, register, bytes of a row) of the source's columns
    texts : (store, raw field, register) of those that only pass, keys first: texts, and keys that are numbers
    keys : how many keys there are
    cuts : kernels at which it ends
    nodes : those on the way behind the source, which note what went through them
    registers : how many columns there are on the way, with the time
    """

    source: SourceNode
    fields: tuple[tuple[Any, str, int, int], ...]
    texts: tuple[tuple[str, str, int], ...]
    keys: int
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
        self._exits: list[tuple[SinkNode, list[_Column]]] = []
        self._known: Known | None = None
        self._most = ROWS
        if route.keys:
            self._known = route.source.known = Known()
            self._most = MOST_ROWS

    def push(
        self, rows: Any, partition: str = "", received_ns: int | None = None  # noqa: ANN401
    ) -> dict[str, Any] | None:  # fmt: skip
        """The rows of each sink on the way; None if these rows must go the usual way.

        Parameters
        ----------
        rows : a record batch of a partition of the source
        received_ns : when they came
        """
        n = rows.num_rows
        route = self._route
        source = route.source
        if not 0 < n <= self._most or not source.is_direct(partition) or not self._fits(rows):
            return None
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
        slot, slots = 0, None
        if self._known is not None:
            slots = self._known.slots(self._key_columns(rows))
            if slots is None or not source.settle.live_on(slots[1], at[0]):
                return None
            slot = address_of(slots[0])
        newest = source.next_rows(
            partition, at[0], n, received_ns, None if slots is None else slots[0]
        )
        if newest is None:
            return None
        if slots is not None:
            source.settle.lived_on(slots[1], at[0])
        for stop in route.stops:
            runner = stop.runner
            ctx = runner.ctx
            ctx[_ROW] = ctx[_OUT] = ctx[_FINISH] = ctx[_GAP] = 0
            ctx[_ROWS] = ctx[_OUT_ROOM] = n
            ctx[_WATERMARK], ctx[_TIME], ctx[_SLOT] = newest, at[0], slot
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
            cut.node.take_at(n, at[0], newest, slot)
        out = {
            node.spec.name: _BATCH([of(rows, kept, n) for of in columns], schema=node.schema)
            for node, columns in self._exits
        }
        for cut in route.cuts:
            if cut.labels is not None:
                cut.labels.model.flush()
                found = cut.labels.sink.out()
                if found is not None:
                    out[cut.labels.sink.spec.name] = found
        return out

    def learn(self, rows: Any, partition: str) -> None:  # noqa: ANN401
        """Note the keys of rows that went the usual way, and all of them through, where the next could go this one."""
        source, known = self._route.source, self._known
        if known is None or rows.num_rows > self._most or not source.is_direct(partition):
            return
        if not self._fits(rows):
            return
        columns = self._key_columns(rows)
        found = known.slots(columns)
        if found is None or not source.settle.are_in(found[1]):
            known.learn(columns, *source.slots_of(rows))

    def _key_columns(self, rows: Any) -> list[Any]:  # noqa: ANN401
        numbers = self._numbers
        return [rows.column(numbers[r]) for _, _, r in self._route.texts[: self._route.keys]]

    def _column_of(self, end: _Exit, place: int, schema: Any) -> _Column:  # noqa: ANN401
        """How a column of a sink is had from rows of a schema."""
        register, kind = end.columns[place]
        field, number = end.made.get(place), self._numbers.get(register)
        if register == _LATE:
            return lambda _, __, n: truths(np.zeros(n, np.bool_))
        if number is None and field is None:
            return lambda _, kept, n: _ARRAY(kind, n, [None, kept[register]])
        if field is None:
            if schema.field(number).type == kind:
                return lambda rows, _, __: rows.column(number)
            return lambda rows, _, __: rows.column(number).dictionary_decode()
        dtype, made = DTYPES[field.store], end.node.column
        if number is None:
            return lambda _, kept, n: made(field, np.frombuffer(kept[register], dtype, n))

        def looked_at(rows: Any, _: Sequence[Any], n: int) -> Any:  # noqa: ANN401
            column = rows.column(number)
            skip = column.offset * dtype.itemsize
            return made(field, np.frombuffer(column.buffers()[1], dtype, n, skip))

        return looked_at

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
            numbers = {register: number for number, register, _ in places}
            for store, raw, register in self._route.texts:
                at = schema.get_all_field_indices(raw)
                if len(at) != 1 or not fits(schema.field(at[0]).type, store):
                    return False
                numbers[register] = at[0]
            self._schema, self._registers = schema, tuple(r for _, r, _ in places)
            self._numbers = numbers
            self._exits = [
                (end.node, [self._column_of(end, k, schema) for k in range(len(end.columns))])
                for end in self._route.exits
            ]
            self._places = Places([(number, width) for number, _, width in places])
        try:
            rows.validate(full=True)
        except (pa.ArrowInvalid, ValueError):
            return False  # the usual way says what is wrong
        return True


def express_of(nodes: Mapping[int, Node]) -> Express | None:
    """The short way through these nodes; None where there is none.

    There is one where the only source's columns and keys are its raw fields, and what reads them is kernels and plain sinks.
    """
    order = list(nodes.values())
    sources = [n for n in order if isinstance(n, SourceNode)]
    if len(sources) != 1 or not sources[0].may_be_direct:
        return None
    way = _way(sources[0])
    if way is None:
        return None
    for node in order:
        inputs = set(node.spec.inputs)
        if node is sources[0]:
            continue
        if inputs <= way.behind:
            way.behind.add(node.spec.id)
        elif not inputs <= way.here.keys() or not way.takes(node):
            return None
    return Express(way.route())


class _Way:
    """The short way as far as it is known: each column on it has a register, negative where no kernel can read it.

    Parameters
    ----------
    fields, texts : see `Route`
    here : by node on the way, the registers of its columns
    """

    def __init__(
        self,
        source: SourceNode,
        fields: tuple[tuple[Any, str, int, int], ...],
        texts: tuple[tuple[str, str, int], ...],
        here: Mapping[str, int],
    ) -> None:
        self._source, self._fields, self._texts = source, fields, texts
        self.here: dict[int, Mapping[str, int]] = {source.spec.id: here}
        self._keys = {f.name: texts[k][2] for k, (f, _) in enumerate(source.spec.keys)}
        self.behind: set[int] = set()
        self._registers = 1 + max([0, *here.values()])
        self._stops: list[_Stop] = []
        self._cuts: list[_Cut] = []
        self._exits: list[_Exit] = []
        self._through: list[Node] = []

    def takes(self, node: Node) -> bool:
        """Whether a node whose input is on the way can be on it as well, or end it."""
        spec = node.spec
        before = self.here[spec.inputs[0]]
        if isinstance(node, SinkNode):
            return self._ends_in(node, before)
        if not isinstance(node, KernelNode) or len(spec.inputs) != 1:
            return False
        names = [name for _, name in node.spec.reads]
        here = {"time": 0, **before}
        if spec.table != self._source.spec.table or not here.keys() >= set(names):
            return False
        reads = [(p.COLUMNS + k, here[name]) for k, name in enumerate(names)]
        if any(register < 0 for _, register in reads):
            return False
        if not node.spec.is_dense:
            labels = None if node.tail is None else node.tail.labels
            self._cuts.append(_Cut(node, tuple(reads), labels))
            self.behind.add(spec.id)
            return True
        kinds = {f.name: f for f in spec.fields}
        made = [kinds[name] for name in node.spec.writes]
        if any(f.shape or (f.store in _TEXTS and f.labels is None) for f in made):
            return False
        if not set(node.spec.passed) <= before.keys():
            return False
        first, start = p.COLUMNS + len(reads), self._registers
        self._registers += len(made)
        self._stops.append(_Stop(
            node.runner, tuple(reads),
            tuple((first + k, start + k, DTYPES[f.store].itemsize) for k, f in enumerate(made)),
        ))  # fmt: skip
        self.here[spec.id] = {
            **{name: before[name] for name in node.spec.passed},
            **{f.name: start + k for k, f in enumerate(made)},
        }
        self._through.append(node)
        return True

    def _ends_in(self, node: SinkNode, before: Mapping[str, int]) -> bool:
        """Whether the columns of a sink are there as Arrow wants them, or values that it can look at."""
        spec = node.spec
        if spec.has_start:
            return False
        columns = [(0, UTC)]
        made = {}
        for field in (*spec.keys, *spec.fields):
            keys = self._keys if field in spec.keys else before
            register = _LATE if field.name == LATE and spec.adds_late else keys[field.name]
            if field.shape or (register < 0 and register != _LATE and field.labels is not None):
                return False
            if register > 0 and field.store not in _FLOATS:
                made[len(columns)] = field
            columns.append((register, kind_of(field)))
        self._exits.append(_Exit(node, tuple(columns), made))
        self._through.append(node)
        return True

    def route(self) -> Route:
        """The whole."""
        return Route(
            self._source, self._fields, self._texts, len(self._keys), tuple(self._stops), tuple(self._exits), tuple(self._cuts),
            tuple(self._through), self._registers,
        )  # fmt: skip


def _way(source: SourceNode) -> _Way | None:
    """The columns of a source on the way; None where one is not as the rows bring it."""
    raw = {f.name: f for f in source.spec.raw}
    fields: list[tuple[Any, str, int, int]] = []
    texts: list[tuple[str, str, int]] = []
    here: dict[str, int] = {}
    for field, name in source.spec.keys:
        if raw.get(name) is None or raw[name].store != field.store or raw[name].shape:
            return None
        if not (field.store == "string" or field.store in _KEYS):
            return None
        texts.append((field.store, name, _FIRST_TEXT - len(texts)))
    for column, name, field in source.columns:
        store = raw[name].store
        if store != field.store or raw[name].shape:
            return None
        if store == "string" and field.labels is None:
            texts.append((store, name, _FIRST_TEXT - len(texts)))
            here[column] = texts[-1][2]
        elif store == "time" and name == source.spec.time:
            here[column] = 0
        elif store in _AS_THEY_ARE:
            here[column] = 1 + len(fields)
            fields.append((kind_of(raw[name]), name, here[column], DTYPES[store].itemsize))
        else:
            return None
    return _Way(source, tuple(fields), tuple(texts), here)
