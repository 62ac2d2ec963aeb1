"""What can be known of the short way before the first rows come: which kernels and sinks are on it, and where their columns lie.

See `flowedge.session.express`. Each column on the way has a register, which is the number of its address; 0 is the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowedge.compile import program as p
from flowedge.session.arrow import UTC, kind_of
from flowedge.session.batch import DTYPES
from flowedge.session.kernel import KernelNode
from flowedge.session.labels import Labels
from flowedge.session.node import Node
from flowedge.session.runner import Runner
from flowedge.session.sink import SinkNode
from flowedge.session.source import SourceNode
from flowedge.types.schema import LATE as LATE_COLUMN

LATE, _FIRST_TEXT = -1, -2
"""Registers that are none: what marks late rows, of which there are none here; columns that only pass."""
_FLOATS = ("f64", "f32")
_PLAIN = ("f64", "f32", "i64", "u64")
_AS_THEY_ARE = (*_PLAIN, "time")
"""Stores of columns that lie in the engine's memory as in Arrow's."""
_TEXTS = ("string", "binary")
_KEYS = ("i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8")


@dataclass(frozen=True, slots=True)
class Stop:
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
class Cut:
    """A kernel at which it ends, and the registers that it reads: (word, register).

    Attributes
    ----------
    labels : where labels of a model that follows it come out
    """

    node: KernelNode
    reads: tuple[tuple[int, int], ...]
    labels: Labels | None


@dataclass(frozen=True, slots=True)
class Exit:
    """A sink on the way.

    Attributes
    ----------
    columns : (register, Arrow type) of each, the time first
    made : the fields of those whose values the sink has to look at, by place
    """

    node: SinkNode
    columns: tuple[tuple[int, Any], ...]
    made: Mapping[int, p.Field]


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
    stops: tuple[Stop, ...]
    exits: tuple[Exit, ...]
    cuts: tuple[Cut, ...]
    nodes: tuple[Node, ...]
    registers: int


def route_of(nodes: Mapping[int, Node]) -> Route | None:
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
    return way.route()


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
        self._stops: list[Stop] = []
        self._cuts: list[Cut] = []
        self._exits: list[Exit] = []
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
            self._cuts.append(Cut(node, tuple(reads), labels))
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
        self._stops.append(Stop(
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
            register = LATE if field.name == LATE_COLUMN and spec.adds_late else keys[field.name]
            if field.shape or (register < 0 and register != LATE and field.labels is not None):
                return False
            if register > 0 and field.store not in _FLOATS:
                made[len(columns)] = field
            columns.append((register, kind_of(field)))
        self._exits.append(Exit(node, tuple(columns), made))
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
