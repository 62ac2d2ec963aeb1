"""From the typed graph to a program: chains become kernels, the rest becomes nodes of the session."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from flowedge.compile import program as p
from flowedge.compile.emit.chain import FILTERS, Chain, has_long_memory, is_fusable
from flowedge.compile.emit.frames import aggregate_frames, derive_frames
from flowedge.compile.emit.kernel import Kernel, Tail, field_of
from flowedge.compile.emit.tails import TAILS
from flowedge.compile.emit.tails.count_frames import frame_type
from flowedge.compile.emit.tails.frames_in_place import FramesInPlaceTail
from flowedge.compile.emit.tails.join import JoinTail
from flowedge.compile.frames import framed
from flowedge.compile.fused import abreast, behind_join, columns_out, over_frames
from flowedge.compile.gates import with_gates
from flowedge.graph import nodes as g
from flowedge.graph.ends import ends_of
from flowedge.graph.expressions import Read, reads
from flowedge.graph.floors import floors
from flowedge.types.schema import Column, Stream

Build = Callable[[str, dict[str, object]], str]
"""Compiles the source of a kernel with its names; returns the key of the object code."""


_MANY_CELLS = 9
"""Of three biquads: a chain of so much memory takes longer than rows do from one kernel to the next."""


@dataclass
class Place:
    """Where a graph node's stream comes out in the program."""

    id: int
    table: int
    gaps: bool
    stream: Stream
    fields: tuple[p.Field, ...]


@dataclass
class Lowering:
    """State of the translation.

    Attributes
    ----------
    build : compiles one kernel
    fuse : put chains into one kernel; off, each stage is a kernel of its own (same rows, slower)
    """

    graph: g.Graph
    build: Build
    fuse: bool = True
    nodes: list[p.NodeSpec] = field(default_factory=list)
    tables: list[p.TableSpec] = field(default_factory=list)
    literals: list[str] = field(default_factory=list)
    connectors: list[tuple[str, str, str, dict[str, object], tuple[str, ...]]] = field(
        default_factory=list
    )
    places: dict[int, Place] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Take nodes apart that are several steps for the compiler."""
        self._floors = floors(self.graph.nodes)
        self.graph = framed(self.graph)

    def run(self) -> tuple[tuple[p.NodeSpec, ...], tuple[p.TableSpec, ...]]:
        """Translate every node; returns nodes and key tables."""
        for node in self.graph.nodes:
            if node.id not in self._done:
                self._node(node)
        asked = {n.ends_at for n in self.nodes if isinstance(n, p.KernelSpec)}
        nodes = (
            replace(n, wants_ends=True) if isinstance(n, p.SourceSpec) and n.id in asked else n
            for n in self.nodes
        )
        return with_gates(tuple(nodes)), tuple(self.tables)

    def text_id(self, text: str) -> int:
        """The number that a text of the pipeline has in the session's pool."""
        if text not in self.literals:
            self.literals.append(text)
        return self.literals.index(text)

    def _next_id(self) -> int:
        return len(self.nodes)

    def _table(self, columns: Sequence[Column]) -> int:
        if not columns:
            return -1
        self.tables.append(p.TableSpec(fields=tuple(field_of(c) for c in columns)))
        return len(self.tables) - 1

    def _put(self, node: g.Node, spec: p.NodeSpec) -> None:
        self.nodes.append(spec)
        self.places[node.id] = Place(spec.id, spec.table, spec.gaps, node.out, spec.fields)

    def _node(self, node: g.Node) -> None:
        match node:
            case g.Source():
                self._source(node)
            case g.SourcePart():
                self._part(node)
            case g.Sink():
                self._sink(node)
            case g.Rekey():
                self._rekey(node)
            case g.Union():
                self._union(node)
            case g.InOrder():
                place = self.places[node.inputs[0]]
                spec = p.OrderSpec(id=self._next_id(), inputs=(place.id,), fields=place.fields, table=place.table,
                                   gaps=place.gaps, name=node.name, label=node.label)  # fmt: skip
                self._put(node, spec)
            case g.Classify():
                self._classify(node)
            case _:
                self._kernel(node)

    # ---- sources and sinks

    def _source(self, node: g.Source) -> None:
        fields = tuple(field_of(c) for c in node.out.columns)
        table = self._table(node.out.keys)
        signal = node.out.shape == "signal"
        prepare, columns, keys, time = self._prepare(node)
        gaps = signal
        spec = p.SourceSpec(
            id=self._next_id(), fields=fields, table=table, gaps=gaps, name=node.name, label=node.name,
            raw=_raw_fields(node), prepare=prepare,
            columns=columns, keys=keys, time=time, time_scale_ns=1.0, time_parse=node.parse, always=node.always,
            start_ns=node.start_ns, rate_hz=node.out.rate_hz, is_signal=signal, late_ns=_ns(node.late_s),
            late_per_key=node.late_per_key, ahead_ns=_ns(node.ahead_s), sort_first=node.sort_first,
            duplicates=node.duplicates, jitter=node.jitter, gaps_policy=node.gaps, gaps_up_to_ns=_ns(node.gaps_up_to_s),
            on_error=node.on_error, silence_ns=_ns(node.silence_s), idle_ns=_ns(node.idle_s), expire_ns=_ns(node.expire_s),
            max_keys=-1 if node.max_keys is None else node.max_keys,
            valid=_valid(node), fitting=_fitting(node),
            wants_late=self._wants(node, "late"), wants_silent=self._wants(node, "silent"),
        )  # fmt: skip
        self._put(node, spec)
        options = {
            **node.options,
            "on_error": node.on_error,
            "quarantine": node.quarantine,
            "captures": node.captures,
            "predicate": node.predicate,
        }
        self.connectors.append(
            (node.name, node.connector, node.address, options, tuple(name for name, _ in node.raw))
        )

    def _wants(self, node: g.Node, part: str) -> bool:
        return any(
            isinstance(n, g.SourcePart) and n.part == part for n in self.graph.readers(node.id)
        )

    def _prepare(
        self, node: g.Source
    ) -> tuple[
        p.KernelSpec | None, tuple[tuple[str, str], ...], tuple[tuple[p.Field, str], ...], str
    ]:
        """A dense kernel for columns and time that are expressions over the raw fields, if there are any."""
        raw = dict(node.raw)
        computed = [c for c in (*node.columns, *node.keys) if c.expr is not None]
        types = {c.name: c.type for c in (*node.out.columns, *node.out.keys)}
        columns = tuple(
            (c.name, c.name if c.expr is not None else str(c.raw)) for c in node.columns
        )
        keys = tuple(
            (field_of(Column(c.name, types[c.name])), c.name if c.expr is not None else str(c.raw))
            for c in node.keys
        )
        time = ""
        bindings = [(c.name, c.expr) for c in computed]
        if node.time is not None:
            if isinstance(node.time, Read) and node.time.name in raw:
                time = node.time.name
            else:
                time = "_time"
                bindings.append((time, node.time))
        if not bindings:
            return None, columns, keys, time
        kernel = Kernel(keyed=False, gaps=False, text_id=self.text_id)
        outs = [Column(n, types.get(n, e.type)) for n, e in bindings if e is not None]

        def body() -> None:
            if any("time" in reads(e) for _, e in bindings if e is not None):
                # Here `time` is a field as it was read: the event time is yet to be made of it.
                (kernel.values.time,) = kernel.read("time", raw["time"])
            held = {n: kernel.values.named(e, n) for n, e in bindings if e is not None}
            for column in outs:
                kernel.write(column.name, column.type, held[column.name])

        source = kernel.finish(
            body, dense=True, stages=[f"{node.name}: columns from the raw fields"]
        )
        key = self.build(source, kernel.names.table)
        spec = p.KernelSpec(
            id=-1, fields=tuple(kernel.writes), object=key, reads=tuple(kernel.reads),
            writes=tuple(f.name for f in kernel.writes), is_dense=True, record=kernel.state.record.size,
            record_init=kernel.state.record.initial(), block=kernel.state.block, globals_init=kernel.globals_init(), scratch=kernel.scratch_words,
            source=source, name=node.name, label="columns",
        )  # fmt: skip
        return spec, columns, keys, time

    def _part(self, node: g.SourcePart) -> None:
        source = self.places[node.inputs[0]]
        fields = tuple(field_of(c) for c in node.out.columns)
        spec = p.PartSpec(id=self._next_id(), inputs=(source.id,), fields=fields, table=source.table, gaps=False,
                          name=node.name, label=node.label, part=node.part)  # fmt: skip
        self._put(node, spec)

    def _sink(self, node: g.Sink) -> None:
        place = self.places[node.inputs[0]]
        fields = tuple(f for f in _fields(node.out) if not f.name.startswith("_"))
        spec = p.SinkSpec(
            id=self._next_id(), inputs=(place.id,), fields=fields, table=place.table, gaps=False, name=node.name,
            label=node.label, connector=node.connector, address=node.address, options=node.options,
            keys=tuple(field_of(c) for c in node.out.keys), rate_hz=node.out.rate_hz if node.out.shape == "signal" else None,
            has_start=node.out.spans, deadline_ns=_ns(node.deadline_s), otherwise=node.otherwise,
            durability=node.durability, sync_ns=round(node.sync_s * 1e9), signed_by=node.signed_by,
            about=node.about, buffer_bytes=node.buffer_bytes, floor_ns=_ns(self._floors.get(node.inputs[0])), adds_late=node.adds_late, priority=node.priority,
        )  # fmt: skip
        self._put(node, spec)

    # ---- nodes that the session runs itself

    def _rekey(self, node: g.Rekey) -> None:
        place = self.places[node.inputs[0]]
        fields = tuple(field_of(c) for c in node.out.columns)
        spec = p.RekeySpec(
            id=self._next_id(), inputs=(place.id,), fields=fields, table=self._table(node.out.keys), gaps=place.gaps,
            name=node.name, label=node.label, keys=node.keys, keep=tuple((f.name, f.name) for f in fields),
        )  # fmt: skip
        self._put(node, spec)

    def _aligned(self, node: g.Node, keys: tuple[Column, ...]) -> list[Place]:
        """The inputs of a node brought to one key table; those that have it already as they are."""
        places = [self.places[i] for i in node.inputs]
        tables = {q.table for q in places}
        if len(tables) == 1:
            return places
        table = self._table(keys)
        out = []
        for place in places:
            spec = p.RekeySpec(
                id=self._next_id(), inputs=(place.id,), fields=place.fields, table=table, gaps=place.gaps,
                name=node.name, label=f"{node.label} keys", keys=tuple(c.name for c in keys),
                keep=tuple((f.name, f.name) for f in place.fields),
            )  # fmt: skip
            self.nodes.append(spec)
            out.append(replace(place, id=spec.id, table=table))
        return out

    def _union(self, node: g.Union) -> None:
        places = self._aligned(node, node.out.keys)
        fields = tuple(field_of(c) for c in node.out.columns)
        take = []
        for k, place in enumerate(places):
            scales = {
                name: (factor, offset)
                for name, factor, offset in (node.scales[k] if node.scales else ())
            }
            have = {f.name for f in place.fields}
            take.append(tuple(
                (f.name, f.name if f.name in have else None, *scales.get(f.name, (1.0, 0.0))) for f in fields
            ))  # fmt: skip
        branches = node.branches if any(f.name == "branch" for f in fields) else ()
        spec = p.MergeSpec(
            id=self._next_id(), inputs=tuple(q.id for q in places), fields=fields, table=places[0].table,
            gaps=any(q.gaps for q in places), name=node.name, label=node.label, take=tuple(take), branches=branches,
        )  # fmt: skip
        for branch in branches:
            self.text_id(branch)
        self._put(node, spec)

    def _classify(self, node: g.Classify) -> None:
        place = self.places[node.inputs[0]]
        fields = _fields(node.out)
        names = {f.name for f in fields}
        for _, labels, _ in (head for call in node.calls for head in call.heads):
            for label in labels:
                self.text_id(label)
        if node.otherwise[0] == "label":
            self.text_id(node.otherwise[1])
        call, other, shadow = (
            None if x is None else _call(x, names) for x in (node.call, node.other, node.shadow)
        )
        assert call is not None
        written = {name for name, _, _ in call.made} | (
            {"late"} if node.otherwise[0] == "keep" else set()
        )
        spec = p.ModelSpec(
            id=self._next_id(), inputs=(place.id,), fields=fields, table=place.table, gaps=place.gaps, name=node.name,
            label=node.label, call=call, other=other, shadow=shadow,
            passed=tuple(f.name for f in fields if f.name not in written),
            deadline_ns=-1 if node.deadline_s is None else round(node.deadline_s * 1e9), otherwise=node.otherwise,
            breaker=(node.breaker[0], min(round(node.breaker[1] * 1e9), p.FOREVER)),
        )  # fmt: skip
        self._put(node, spec)

    # ---- kernels

    def _kernel(self, first: g.Node) -> None:
        """A kernel that begins with this node and takes in as much of the chain behind it as it can."""
        nodes = [first]
        while self.fuse and is_fusable(nodes[-1]):
            readers = self.graph.readers(nodes[-1].id)
            if len(readers) != 1 or len(readers[0].inputs) != 1:
                break
            if not is_fusable(readers[0]) and not (
                type(readers[0]) in TAILS and TAILS[type(readers[0])][0].follows_chain
            ):
                break
            if self._stands_alone(nodes, readers[0]):
                break
            nodes.append(readers[0])
        places = [self.places[i] for i in first.inputs]
        if isinstance(first, g.SplitAt | g.SplitRows | g.SplitNext):
            places = self._aligned(first, first.out.keys)
        over = over_frames(self.graph, first, places[0].table) if self.fuse else []
        behind = behind_join(self.graph, first) if self.fuse else []
        chain = [n for n in nodes if is_fusable(n)]
        nodes += [*over, *behind]
        last = nodes[-1]
        head = first if over or behind else last
        place = places[0]
        join = self._join_tables(first, places) if isinstance(first, g.Join) else None
        on_frames = isinstance(first, g.FrameDerive | g.FrameAggregate)
        dense = (
            len(chain) == len(nodes) and not any(isinstance(n, FILTERS) for n in chain)
        ) or on_frames
        kernel = Kernel(
            keyed=place.table >= 0, gaps=any(q.gaps for q in places), text_id=self.text_id, ports=len(places),
            joins=join is not None and join[2] >= 0 and not join[0] == join[1] == join[2],
        )  # fmt: skip
        if isinstance(first, g.Join):
            kernel.joins = True
        before = places[0].stream if not chain or len(chain) == len(nodes) else chain[-1].out
        ends = self._ends(head, places)
        kernel.ends_ns = None if ends is None else ends[1]
        tail: Tail | None = None
        if isinstance(first, g.CountFrames) and over:
            tail = FramesInPlaceTail(kernel, first, over, before)
        elif not is_fusable(head) and not on_frames:
            tail = TAILS[type(head)][1](kernel, head, (before, *(q.stream for q in places[1:])))
        if isinstance(tail, JoinTail):
            tail.behind = behind
        kernel.tail, kernel.is_bare = tail, not chain
        out_gaps = (
            kernel.gaps if tail is None else tail.makes_gaps or (kernel.gaps and tail.out_gaps)
        )
        if out_gaps and not dense:
            kernel.carry_gaps()
        passed: tuple[str, ...] = ()
        rows = Chain(kernel, alias={f.name: f.name for f in place.fields})

        def body() -> None:
            nonlocal passed
            if isinstance(first, g.FrameDerive):
                derive_frames(kernel, place.stream, first.bindings, first.out.columns)
                made = {f.name for f in kernel.writes}
                passed = tuple(
                    f.name
                    for f in _fields(first.out)
                    if f.name not in made and f.name in {x.name for x in place.fields}
                )
                return
            if isinstance(first, g.FrameAggregate):
                aggregate_frames(
                    kernel, place.stream, first.folds, first.results, first.out.columns
                )
                made = {name for name, _ in first.results}
                have = {f.name for f in place.fields}
                passed = tuple(
                    c.name for c in first.out.columns if c.name not in made and c.name in have
                )
                return
            with ExitStack() as end:
                rows.run(chain, end)
                if tail is not None:
                    tail.row(kernel, rows)
                    return
                passed = rows.write(columns_out(last.out, place.fields), dense=dense)
                if not dense:
                    kernel.emit("t", "slot")

        source = kernel.finish(body, dense=dense, stages=[n.label or n.name for n in nodes])
        key = self.build(source, kernel.names.table)
        state = kernel.state
        abreast, scratch = "", kernel.scratch_words
        if dense and chain and kernel.keyed:
            abreast, words = self._abreast(kernel, chain, place)
            scratch = max(scratch, words)
        written = {f.name for f in kernel.writes}
        fields = tuple(f for f in _fields(last.out) if f.name in written or f.name in passed)
        fields = (*fields, *(f for f in kernel.writes if f.name not in {x.name for x in fields}))
        fields = (
            *fields,
            *(
                f
                for f in place.fields
                if f.name in passed and f.name not in {x.name for x in fields}
            ),
        )
        spec = p.KernelSpec(
            id=self._next_id(), inputs=tuple(q.id for q in places), fields=fields,
            table=place.table, gaps=out_gaps, name=last.name, label=head.label, object=key, reads=tuple(kernel.reads),
            writes=tuple(f.name for f in kernel.writes), passed=passed, is_dense=dense,
            is_filter=tail is None and not dense, record=state.record.size,
            record_init=state.record.initial(), block=state.block, globals_init=kernel.globals_init(), scratch=scratch,
            has_arena=state.uses_arena, has_touched=kernel.uses_touched, join=join, ranks_right=kernel.ranks_right,
            ends_at=-1 if ends is None else ends[0],
            busy=tuple(state.offset(x) for x in state.busy), stays=tuple(state.offset(x) for x in state.stays),
            lost=tuple((state.offset(x), sign) for x, sign in state.lost), bounds=kernel.bounds(),
            totals=tuple((state.offset(x), kernel.place(total)) for x, total in state.totals),
            ring_slots=tuple(
                (*map(state.offset, cells), words, word, places[side].table)
                for cells, words, word, side in state.ring_slots
            ),
            room=1.0 if tail is None else tail.rows_per_row, source=source, stages=tuple(n.label or n.name for n in nodes), abreast=abreast,
        )  # fmt: skip
        self.nodes.append(spec)
        self._done.update(n.id for n in nodes)
        for n in nodes:
            self.places[n.id] = Place(spec.id, spec.table, spec.gaps, last.out, spec.fields)

    def _abreast(self, kernel: Kernel, chain: Sequence[g.Node], place: Place) -> tuple[str, int]:
        """The same chain for eight keys at a time: its object key and the scratch words that it needs; "" where it has no such form."""
        twin, found = abreast(chain, place.fields, self.text_id, gaps=kernel.gaps)
        same = (twin.reads, twin.writes, twin.state.record.initial(), twin.state.block) == (
            kernel.reads, kernel.writes, kernel.state.record.initial(), kernel.state.block,
        )  # fmt: skip
        if found is None or not same:
            return "", 0
        source, words = found
        return self.build(source, twin.names.table), words

    def _stands_alone(self, chain: Sequence[g.Node], behind: g.Node) -> bool:
        """Whether a chain is faster by itself than with what stands behind it, whose loop goes row by row.

        Much memory is stepped in passes over strips, or eight keys at a time; windows that lie side by side are copied whole
        where nothing stands before them.
        """
        if any(isinstance(n, FILTERS) or not is_fusable(n) for n in chain):
            return False
        if is_fusable(behind) and not isinstance(behind, FILTERS):
            return False
        place = self.places[chain[0].inputs[0]]
        exprs = [e for n in chain if isinstance(n, g.Derive | g.Select) for _, e in n.bindings]
        is_long = any(has_long_memory(e) for e in exprs)
        if place.table < 0 and not is_fusable(behind):
            copies = isinstance(behind, g.CountFrames) and behind.hop == behind.size
            return copies or is_long
        if place.table < 0 and not is_long:
            return False
        twin, found = abreast(chain, place.fields, self.text_id, gaps=place.gaps)
        has_much = len(twin.state.registers) >= _MANY_CELLS
        return has_much and (place.table < 0 or found is not None)

    def _ends(self, node: g.Node, places: list[Place]) -> tuple[int, int] | None:
        """The source whose keys a node sees end, by its number here, and so long after their last row [ns]."""
        found = ends_of(self.graph, node)
        if found is None:
            return None
        source, late_ns = found
        place = self.places[source.id]
        if place.table < 0 or any(q.table != place.table for q in places):
            return None
        return place.id, min(_ns(source.expire_s) + late_ns, 2**61)

    def _join_tables(self, node: g.Join, places: list[Place]) -> tuple[int, int, int]:
        left, right = places[0], places[1]
        shared = {c.name: c for c in left.stream.keys}
        if left.table == right.table:
            return (left.table, right.table, left.table)
        table = self._table([shared[name] for name in node.on])
        return (left.table, right.table, table)


def _call(call: g.ModelCall, names: Collection[str]) -> p.CallSpec:
    """A call of a model, without the columns that nobody reads."""
    made = tuple(x for x in call.made if x[0] in names)
    return p.CallSpec(model=call.model, inputs_by_name=call.inputs_by_name, heads=call.heads, made=made, batch=call.batch,
                      scaling=call.scaling, states=call.states)  # fmt: skip


def _fields(stream: Stream) -> tuple[p.Field, ...]:
    """The columns of a stream as fields; samples of frames as lists."""
    if stream.shape == "frames" and stream.frame is not None and stream.frame.length is not None:
        length, whole = stream.frame.length, stream.frame.whole
        return tuple(
            field_of(c if c.name in whole else Column(c.name, frame_type(c.type, length)))
            for c in stream.columns
        )
    return tuple(field_of(c) for c in stream.columns)


def _raw_fields(node: g.Source) -> tuple[p.Field, ...]:
    """What a source is asked for: a field that is a column as it stands has the declared type."""
    declared = {c.name: c.type for c in (*node.out.columns, *node.out.keys)}
    plain = {
        str(c.raw): declared[c.name]
        for c in (*node.columns, *node.keys)
        if c.expr is None and c.name in declared
    }
    return tuple(field_of(Column(name, plain.get(name, type_))) for name, type_ in node.raw)


def _ns(seconds: float | None) -> int:
    return -1 if seconds is None else round(seconds * 1e9)


def _valid(node: g.Source) -> tuple[tuple[str, str, float | None, float | None, str, str], ...]:
    """What is said of values, column by column."""
    types = {c.name: c.type for c in (*node.out.columns, *node.out.keys)}
    units = {n: "" if t.unit is None else str(t.unit) for n, t in types.items()}
    return tuple(
        (v.column, v.policy, v.low, v.high, v.told, units.get(v.column, "")) for v in node.valid
    )


def _fitting(node: g.Source) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Raw fields of which all readers have a policy, so that a value that does not fit need not stop the run."""
    policies = {v.column: v.policy for v in node.valid}
    readers: dict[str, list[tuple[str, bool]]] = {}
    for column in (*node.columns, *node.keys):
        names = [column.raw or column.name] if column.expr is None else list(reads(column.expr))
        for name in names:
            readers.setdefault(name, []).append((column.name, column.expr is not None))
    for name in reads(node.time) if node.time is not None else ():
        readers.setdefault(name, []).append(("time", False))
    out = []
    for name, found in readers.items():
        given = [policies.get(column) for column, _ in found]
        if name not in dict(node.raw) or None in given:
            continue
        policy = next((p for p in ("reject", "null") if p in given), "clamp")
        out.append((name, policy, tuple(column for column, computed in found if computed)))
    return tuple(out)
