"""Carry and read only the columns that something behind needs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flowedge.graph import nodes as g
from flowedge.graph.expressions import Expr, reads
from flowedge.graph.passes.rewrite import with_nodes
from flowedge.types.schema import Stream

Names = frozenset[str]
Pairs = tuple[tuple[str, Expr], ...]
ALWAYS: Names = frozenset({"start", "end", "_branch"})
"""Columns that travel with the row's time, or steer it."""


def prune_columns(graph: g.Graph) -> g.Graph:
    """A column that no sink sees and no stage behind reads is neither read, nor computed, nor carried.

    Always sound: nothing but sinks and expressions looks at a column; what decides which rows there
    are (conditions, bounds of `compress`, the time and the keys) is kept.
    """
    of = {n.id: n for n in graph.nodes}
    needed: dict[int, set[str]] = {n.id: set() for n in graph.nodes}
    out: dict[int, g.Node] = {}
    for node in reversed(graph.nodes):
        wanted = frozenset(needed[node.id]) | (ALWAYS & {c.name for c in node.out.columns})
        new, asks = _pruned(node, wanted, [of[i] for i in node.inputs])
        out[node.id] = new
        for source, names in zip(node.inputs, asks, strict=True):
            needed[source] |= names
    return with_nodes(graph, [out[n.id] for n in graph.nodes])


def only(stream: Stream, names: Names) -> Stream:
    """A stream type with these columns only."""
    columns = tuple(c for c in stream.columns if c.name in names)
    frame = stream.frame
    if frame is not None:
        frame = replace(frame, whole=tuple(n for n in frame.whole if n in names))
    return replace(stream, columns=columns, frame=frame)


def _has(node: g.Node) -> Names:
    return frozenset(c.name for c in node.out.columns)


def _read(exprs: Sequence[Expr]) -> Names:
    found: set[str] = set()
    for e in exprs:
        found |= reads(e)
    return frozenset(found)


def _kept(bindings: Pairs, wanted: Names) -> tuple[Pairs, Names]:
    """Bindings that are needed, those needed by needed ones among them, and all that they read."""
    live, kept = wanted, [b for b in bindings if b[0] in wanted]
    while True:
        live = wanted | _read([e for _, e in kept])
        more = [b for b in bindings if b[0] in live]
        if len(more) == len(kept):
            return tuple(kept), live
        kept = more


def _pruned(
    node: g.Node, wanted: Names, inputs: Sequence[g.Node]
) -> tuple[g.Node, list[Names]]:  # one return a kind of node
    """The node with only what is wanted, and what it asks of its inputs."""
    out = only(node.out, wanted)
    match node:
        case g.Sink():
            every = _has(node)
            return node, [every]
        case g.Source():
            # A column whose bad values reject the row decides which rows there are.
            wanted |= {v.column for v in node.valid if v.policy == "reject"} & _has(node)
            out = only(node.out, wanted)
            columns = tuple(c for c in node.columns if c.name in wanted)
            valid = tuple(v for v in node.valid if v.column in wanted or v.column not in _has(node))
            asked = {
                f
                for c in (*columns, *node.keys)
                for f in (reads(c.expr) if c.expr is not None else [c.raw or c.name])
            }
            asked |= reads(node.time) if node.time is not None else set()
            asked |= {name for name, _, _ in node.predicate}
            raw = tuple(r for r in node.raw if r[0] in asked)
            return replace(node, out=out, columns=columns, raw=raw, valid=valid), []
        case g.SourcePart():
            return replace(node, out=out), [_has(inputs[0]) & wanted]
        case g.Derive() | g.FrameDerive():
            bindings, live = _kept(node.bindings, wanted)
            return replace(node, out=out, bindings=bindings), [live]
        case g.Select():
            chosen = tuple(b for b in node.bindings if b[0] in wanted)
            return replace(node, out=out, bindings=chosen), [_read([e for _, e in chosen])]
        case g.Ahead():
            values = tuple(v for v in node.values if v[0] in wanted)
            if not values:
                values = node.values[:1]
                out = only(node.out, wanted | {values[0][0]})
            return replace(node, out=out, values=values), [wanted | _read([v[1] for v in values])]
        case g.TimeWindow() | g.Cut() if node.out.shape == "frames":
            test = node.condition if isinstance(node, g.Cut) else None
            asks = wanted - {"start"} | (frozenset() if test is None else _read([test]))
            return replace(node, out=out), [asks]
        case g.TimeWindow() | g.CountWindow() | g.FrameAggregate() | g.Cut():
            results, folds = _results(node, wanted)
            asks = _read([f for _, f in folds]) | (
                _read([node.condition])
                if isinstance(node, g.Cut) and node.condition is not None
                else frozenset()
            )
            carried = (
                wanted - {n for n, _ in node.results}
                if isinstance(node, g.FrameAggregate)
                else frozenset()
            )
            return replace(node, out=out, results=results, folds=folds), [asks | carried]
        case g.CountFrames():
            names = tuple(n for n in node.columns if n in wanted)
            return replace(node, out=out, columns=names), [frozenset(names)]
        case g.SplitNext() | g.SplitRows() if node.out.frame is not None:
            pairs = tuple(p for p in node.event_columns if p[1] in wanted)
            asks = wanted - frozenset(node.out.frame.whole)
            events = frozenset(p[0] for p in pairs)
            return replace(node, out=out, event_columns=pairs), [asks, events]
        case g.SplitAt():
            pairs = tuple(p for p in node.event_columns if p[1] in wanted)
            names = tuple(n for n in node.columns if n in wanted)
            new = replace(node, out=out, columns=names, event_columns=pairs)
            return new, [frozenset(names), frozenset(p[0] for p in pairs)]
        case g.SplitNext():
            results, folds = _results(node, wanted)
            pairs = tuple(p for p in node.event_columns if p[1] in wanted)
            asks = _read([f for _, f in folds])
            return replace(node, out=out, event_columns=pairs, results=results, folds=folds), [
                asks,
                frozenset(p[0] for p in pairs),
            ]
        case g.Join():
            made = frozenset(n for _, n in node.names)
            pairs = tuple(p for p in node.names if p[1] in wanted)
            return replace(node, out=out, names=pairs), [
                wanted - made,
                frozenset(p[0] for p in pairs),
            ]
        case g.Union():
            scales = tuple(tuple(s for s in one if s[0] in wanted) for one in node.scales)
            return replace(node, out=out, scales=scales), [wanted & _has(i) for i in inputs]
        case g.Compress() | g.Expand():
            asks = wanted | frozenset(node.columns)
            return replace(node, out=only(node.out, asks)), [asks]
        case g.Rekey():
            return replace(node, out=out), [wanted | frozenset(node.keys)]
        case g.Unnest():
            kept = tuple(n for n in node.columns if n in wanted) or node.columns[:1]
            return replace(node, out=only(node.out, wanted | frozenset(kept)), columns=kept), [
                wanted | frozenset(kept)
            ]
        case g.Classify():
            asks = wanted.union(*(call.inputs_by_name for call in node.calls))
            made = _has(node) - _has(inputs[0])
            return replace(node, out=only(node.out, asks | made)), [asks - made]
        case _:
            asks = wanted | _read(g.expressions_of(node))
            return replace(node, out=out), [asks]


def _results(node: Any, wanted: Names) -> tuple[Pairs, Pairs]:  # five kinds of nodes have both  # noqa: ANN401
    """Aggregates that are wanted, with the folds that they read."""
    results: Pairs = tuple(r for r in node.results if r[0] in wanted)
    used = _read([e for _, e in results])
    return results, tuple(f for f in node.folds if f[0] in used)
