"""A pipeline at work: push rows in, take rows out, stop anywhere, go on from there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError, InternalError, ModelError, SourceError
from flowedge.session.asking import Infers
from flowedge.session.expire import SLACK, forget_keys
from flowedge.session.express import Express
from flowedge.session.forget import held_in
from flowedge.session.gate import GateNode
from flowedge.session.kernel import KernelNode
from flowedge.session.keys import KeyTable
from flowedge.session.ledger import Counts, names_of
from flowedge.session.mapping import shape_of
from flowedge.session.merge import MergeNode
from flowedge.session.model import ModelNode
from flowedge.session.node import Node, Shared
from flowedge.session.order import OrderNode
from flowedge.session.rekey import RekeyNode
from flowedge.session.route import route_of
from flowedge.session.sink import SinkNode
from flowedge.session.snapshot import seal, tally, unseal, whole
from flowedge.session.source import ROWS, PartNode, SourceNode
from flowedge.session.strings import StringPool
from flowedge.session.tail import lay_out_tails

_NODES: dict[type[p.NodeSpec], Callable[[Any, Shared], Node]] = {
    p.SourceSpec: SourceNode,
    p.KernelSpec: KernelNode,
    p.SinkSpec: SinkNode,
    p.MergeSpec: MergeNode,
    p.OrderSpec: OrderNode,
    p.RekeySpec: RekeyNode,
    p.GateSpec: GateNode,
    p.PartSpec: PartNode,
}

Rows = dict[str, Any]
"""What a call gives: a record batch for each sink that has rows."""


class Session:
    """Runs a program. Pure: the same pushes and marks give the same rows, whenever and wherever.

    Rows of a source come in *partitions*, each a sequence in the order of arrival. How they are cut
    into pushes changes neither the rows at a sink nor their order.

    Parameters
    ----------
    program : the compiled pipeline
    models : by name, what answers for the models that the pipeline declares
    seed : of the hashes of keys and texts; no result depends on it

    Raises
    ------
    ModelError
        a model of the program is not among `models`

    Examples
    --------
    ::

        session = Session(program)
        out = session.push("ecg", batch)     # {"labels": RecordBatch}: what is final so far
        state = session.snapshot()
        out = session.finish()
    """

    def __init__(
        self, program: p.Program, models: Mapping[str, Infers] | None = None, *, seed: int = 0
    ) -> None:
        self.program = program
        self._models = dict(models or {})
        self._seed = seed
        self.key_slack = SLACK
        self._is_finished = False
        pool = StringPool(program.literals, seed)
        self._build(pool, [KeyTable(t, pool, limit, seed) for t, limit in _tables(program)])

    def _build(self, pool: StringPool, tables: list[KeyTable]) -> None:
        self._shared = shared = Shared(self.program, pool, tables, self._seed)
        self.nodes: dict[int, Node] = {}
        self.sources: dict[str, SourceNode] = {}
        self.sinks: dict[str, SinkNode] = {}
        for spec in self.program.nodes:
            self.nodes[spec.id] = node = self._node(spec, shared)
            for place, source in enumerate(spec.inputs):
                if isinstance(spec, p.PartSpec):
                    self._attach(self.nodes[source], node)
                else:
                    self.nodes[source].readers.append((node, place))
            if isinstance(node, SourceNode):
                self.sources[spec.name] = node
            elif isinstance(node, SinkNode):
                self.sinks[spec.name] = node
        self._waiting = [n for n in self.nodes.values() if n.is_waiting]
        self._find_short_ways()

    def _find_short_ways(self) -> None:
        lay_out_tails(self.nodes.values())
        route = route_of(self.nodes)
        self._express = None if route is None else Express(route)

    def go_the_long_way(self) -> None:
        """Pass all rows from node to node, so that each node can be looked at: the same rows, slower."""
        for node in self.nodes.values():
            if isinstance(node, KernelNode | ModelNode):
                node.tail = None
        self._express = None

    def _node(self, spec: p.NodeSpec, shared: Shared) -> Node:
        if isinstance(spec, p.ModelSpec):
            for call in spec.calls:
                if call.model not in self._models:
                    raise ModelError(f"the session was opened without the model `{call.model}`")
            return ModelNode(spec, shared, self._models)
        kind = _NODES.get(type(spec))
        if kind is None:
            raise InternalError("a node of an unknown kind", seen=type(spec).__name__)
        return kind(spec, shared)

    @staticmethod
    def _attach(source: Node, node: Node) -> None:
        assert isinstance(source, SourceNode)
        assert isinstance(node, PartNode)
        if node.spec.part == "late":
            source.late_part = node
        else:
            source.silent_part = node

    # ---- rows in, rows out

    def push(
        self,
        source: str,
        rows: Any,  # noqa: ANN401
        partition: str = "",
        *,
        received_ns: int | None = None,
    ) -> Rows:
        """Take rows of a source; what became final by them.

        Parameters
        ----------
        source : its name in the pipeline
        rows : a record batch (or a table) with the raw columns, in the order of arrival
        partition : the sequence that they belong to
        received_ns : when they came, for sources with `ahead D`; a replay hands in what was
            recorded [ns since 1970]

        Returns
        -------
        dict
            record batches by sink, without sinks that have no new rows

        Raises
        ------
        SourceError
            the rows do not fit the source
        RunError
            the data contradicts the pipeline: a rate that is off, a gap too large to fill
        """
        node = self._source(source)
        express = self._express
        if express is not None and isinstance(rows, pa.RecordBatch):
            out = express.push(rows, partition, received_ns)
            if out is not None:
                return out if express.is_whole else {**out, **self._out()}
            used = node.counts.used
            node.push(rows, partition, received_ns)
            if node.counts.used - used == rows.num_rows:
                express.learn(rows, partition)
        elif isinstance(rows, pa.Table):
            node.partition(partition)
            for start in range(0, rows.num_rows, ROWS):
                # Small chunks are put together: a block costs the same for one row and for many.
                for batch in rows.slice(start, ROWS).combine_chunks().to_batches():
                    node.push(batch, partition, received_ns)
        else:
            node.push(rows, partition, received_ns)
        return self._out()

    def mark(self, source: str, time: int, partition: str = "") -> Rows:
        """Say that no row of a partition before `time` [ns] will come; what became final by it.

        A mark before all times (`flowedge.compile.program.NEVER`) announces a partition, so that
        rows of others wait for it.
        """
        self._source(source).mark(time, partition)
        return self._out()

    def end(self, source: str, partition: str | None = None) -> Rows:
        """Say that no more rows will come, of one partition or of the whole source."""
        self._source(source).end(partition)
        return self._out()

    def shed_below(self, priority: int) -> None:
        """Leave out, until the next call, what only sinks of a lower priority need: a run cannot keep up.

        Rows are shed in front of the first stage that is for such sinks alone, and counted there.
        """
        for node in self.nodes.values():
            if isinstance(node, GateNode):
                node.is_shut = node.spec.priority < priority

    def turn_away(self, source: str, rows: int) -> None:
        """Note rows of a source that nobody has the time to take."""
        counts = self._source(source).counts
        counts.rows_in += rows
        counts.shed += rows

    def finish(self) -> Rows:
        """End all sources; the rest of the rows. The ledger is then checked."""
        for node in self.sources.values():
            node.end(None)
        out = self._out()
        self._is_finished = True
        self.ledger()
        return out

    def run(self, tables: Mapping[str, Any]) -> Rows:
        """Whole tables in, all rows out; for data that fits into memory.

        Parameters
        ----------
        tables : a record batch or a table by source

        Returns
        -------
        dict
            a table by sink; of no rows where nothing came out
        """
        parts: dict[str, list[Any]] = {name: [] for name in self.sinks}
        for name, table in tables.items():
            _collect(parts, self.push(name, table))
            _collect(parts, self.end(name))
        _collect(parts, self.finish())
        return {
            name: pa.Table.from_batches(batches, self.sinks[name].schema)
            for name, batches in parts.items()
        }

    def rejected(self, source: str) -> list[tuple[str, int, str]]:
        """Rows turned away since the last call: (partition, number of the row from 0, reason).

        For the file that ``on error quarantine`` names; `ledger` counts them.
        """
        node = self._source(source)
        out, node.rejected = node.rejected, []
        return out

    def _source(self, name: str) -> SourceNode:
        node = self.sources.get(name)
        if node is None:
            have = ", ".join(f"`{n}`" for n in self.sources)
            raise SourceError(f"the pipeline has no source `{name}`; it has {have}")
        return node

    def _out(self) -> Rows:
        for node in self._waiting:
            node.flush()
        out = {}
        for name, sink in self.sinks.items():
            batch = sink.out()
            if batch is not None:
                out[name] = batch
        forget_keys(self.sources.values(), self.nodes.values(), self.key_slack)
        pool = self._shared.pool
        if pool.is_swollen:
            states = [t.state() for t in self.tables] + [n.state() for n in self.nodes.values()]
            pool.forget(held_in(states, pool.count))
        return out

    @property
    def schemas(self) -> dict[str, Any]:
        """The Arrow schema of each sink."""
        return {name: sink.schema for name, sink in self.sinks.items()}

    @property
    def tables(self) -> list[KeyTable]:
        """The key tables, by number."""
        return self._shared.tables

    @property
    def nbytes(self) -> int:
        """Bytes of state: texts, keys, rows that wait, and the memory of kernels."""
        return self.texts_nbytes + sum(self.nbytes_by_node().values())

    @property
    def texts_nbytes(self) -> int:
        """Bytes of the texts that rows and keys refer to."""
        return self._shared.pool.nbytes

    def nbytes_by_node(self) -> dict[str, int]:
        """Bytes that each node keeps, by its label; the keys of a source count as its own."""
        out: dict[str, int] = {}
        counted: set[int] = set()
        for node in self.nodes.values():
            size, table = node.nbytes, node.spec.table
            if table >= 0 and table not in counted:
                counted.add(table)
                size += self.tables[table].nbytes
            label = node.spec.label or node.spec.name
            out[label] = out.get(label, 0) + size
        return out

    def watermark(self, name: str) -> int:
        """How far a sink has come [ns]: no row before this time will follow."""
        return self.sinks[name].watermark

    # ---- models

    @property
    def _model_nodes(self) -> list[ModelNode]:
        return [n for n in self.nodes.values() if isinstance(n, ModelNode)]

    def warm_up(self) -> None:
        """Ask every model about frames of zeros, so that the first row finds it ready.

        Raises
        ------
        ModelError
            a model cannot answer, or not what the pipeline declares
        """
        for node in self._model_nodes:
            node.warm_up()

    def try_model(self, name: str, model: Infers) -> None:
        """Ask another model about frames of zeros, as a model of this name; raises ModelError."""
        for node in self._model_nodes:
            node.warm_up(name, model)

    def replace_model(self, name: str, model: Infers) -> None:
        """Go on with another model; windows, keys and what is remembered stay as they are."""
        self._models[name] = model
        for node in self._model_nodes:
            node.replace(name, model)
        self._find_short_ways()

    def models_told(self) -> dict[str, dict[str, Any]]:
        """What became of the frames at each model node, by the node's stream and stage."""
        out: dict[str, dict[str, Any]] = {}
        for node in self._model_nodes:
            name = f"{node.spec.name}: {node.spec.label}"
            out[name if name not in out else f"{name} #{node.spec.id}"] = node.told()
        return out

    # ---- the ledger

    def ledger(self) -> dict[str, dict[str, int]]:
        """What became of the rows of each node, by the node's label.

        Raises
        ------
        InternalError
            rows are unaccounted for
        """
        out: dict[str, dict[str, int]] = {}
        for number, label in names_of(self.program.nodes).items():
            self.nodes[number].check()
            out[label] = self.nodes[number].counts.as_dict()
        return out

    # ---- snapshots

    def snapshot(self) -> bytes:
        """All state, as bytes; taken between any two calls."""
        return seal(self.state())

    def state(self) -> dict[str, Any]:
        """All state, as plain data; taken between any two calls."""
        nodes = {
            str(i): {
                "watermark": node.watermark,
                "counts": asdict(node.counts),
                "state": node.state(),
            }
            for i, node in self.nodes.items()
        }
        return {
            "program": self.program.digest,
            "shape": self._shape,
            "finished": self._is_finished,
            "pool": self._shared.pool.state(),  # after the nodes: telling theirs may look at a text
            "tables": [t.state() for t in self.tables],
            "nodes": nodes,
        }

    @cached_property
    def _shape(self) -> dict[str, Any]:
        return shape_of(self.program)

    @classmethod
    def restore(
        cls,
        program: p.Program,
        data: bytes,
        models: Mapping[str, Infers] | None = None,
        *,
        seed: int = 0,
    ) -> "Session":
        """A session that goes on where the snapshot was taken, bit for bit.

        Raises
        ------
        CheckpointError
            the bytes are damaged, or come from another pipeline
        """
        return cls.from_state(program, unseal(data), models, seed=seed)

    @classmethod
    def from_state(
        cls,
        program: p.Program,
        value: dict[str, Any],
        models: Mapping[str, Infers] | None = None,
        *,
        seed: int = 0,
    ) -> "Session":
        """As `restore`, from what `state` (or `adapted`) gave; raises CheckpointError."""
        if value.get("program") != program.digest:
            raise CheckpointError(
                "the snapshot was made by another pipeline, or by this one with other parameters; start afresh, or run "
                "the pipeline that made it"
            )
        session = cls(program, models, seed=seed)
        try:
            pool = StringPool(program.literals, seed)
            if value["pool"] is not None:
                pool = StringPool.restore(value["pool"], seed, is_text=not _holds_bytes(program))
                if [pool.text(i) for i in range(len(program.literals))] != [*program.literals]:
                    raise CheckpointError("the snapshot's texts are not those of the pipeline")
            tables = [
                KeyTable(is_text, pool, limit, seed)
                if state is None
                else KeyTable.restore(state, is_text, pool, limit, seed)
                for state, (is_text, limit) in zip(value["tables"], _tables(program), strict=True)
            ]
            session._build(pool, tables)
            session._is_finished = value["finished"] is True
            for i, node in session.nodes.items():
                part = value["nodes"].get(str(i))
                if part is None and value.get("afresh"):
                    continue
                if part is None:
                    raise KeyError(i)
                node.watermark = whole(part["watermark"])
                node.counts = Counts(**{n: tally(x) for n, x in part["counts"].items()})
                if isinstance(node, SourceNode):
                    node.settle.counts = node.counts
                node.load(part["state"])
            _require_balance(session.nodes.values())
        except _UNSOUND as error:
            raise CheckpointError(f"the snapshot does not fit this version: {error!r}") from error
        return session


_UNSOUND = (
    KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, AssertionError, MemoryError,
)  # fmt: skip
"""What taking over a state may raise that has another shape than one of ours."""


def _require_balance(nodes: Iterable[Node]) -> None:
    """Refuse a snapshot in which rows are unaccounted for."""
    for node in nodes:
        try:
            node.check()
        except InternalError as error:
            name = node.spec.label or node.spec.name
            raise CheckpointError(
                f"the snapshot's counts of `{name}` do not add up: {error.expected}, and {error.seen} accounted for"
            ) from error


def _holds_bytes(program: p.Program) -> bool:
    """Whether some of the texts of a session may be strings of bytes."""
    fields = [f for n in program.nodes for f in n.fields]
    fields += [f for n in program.nodes if isinstance(n, p.SourceSpec) for f in n.raw]
    return any(f.store == "binary" for f in fields)


def _tables(program: p.Program) -> list[tuple[list[bool], int | None]]:
    """For each key table which columns are texts, and how many keys there may be.

    A source whose keys expire counts their lives in one more column.
    """
    lives = {n.table for n in program.nodes if isinstance(n, p.SourceSpec) and n.expire_ns >= 0}
    limits = {
        n.table: n.max_keys
        for n in program.nodes
        if isinstance(n, p.SourceSpec) and n.max_keys >= 0 and n.expire_ns < 0
    }
    out: list[tuple[list[bool], int | None]] = []
    for i, table in enumerate(program.tables):
        texts = [f.store in ("string", "binary") for f in table.fields]
        out.append((texts + [False] * (i in lives), limits.get(i)))
    return out


def _collect(parts: dict[str, list[Any]], out: Rows) -> None:
    for name, batch in out.items():
        parts[name].append(batch)
