"""Frames as the compiler sees them: windows of samples in two steps, and samples with their times."""

from collections.abc import Sequence
from dataclasses import replace

from flowedge.compile.emit.frames import SAMPLE_NUMBER, SAMPLE_TIME
from flowedge.graph import nodes as g
from flowedge.graph.expressions import Expr, Fold, Read, reads, walk
from flowedge.types.schema import I64, TIME, Column, Frame

TAKEN, NTH = Column(SAMPLE_TIME, TIME), Column(SAMPLE_NUMBER, I64)


def framed(graph: g.Graph) -> g.Graph:
    """The same graph, in which every frame has what is asked of it."""
    graph = _joined(_timed(graph))
    return replace(graph, nodes=tuple(x for n in graph.nodes for x in _apart(n, graph)))


def _asks_for_times(exprs: tuple[Expr, ...]) -> bool:
    return any(isinstance(e, Fold) and e.aggregate.needs_time for x in exprs for e in walk(x))


def _timed(graph: g.Graph) -> g.Graph:
    """Frames that are kept carry the times of their samples, and a number, as far as something asks for them.

    Before: ``CountFrames(x) -> FrameDerive(w) -> FrameAggregate(slope(w))``; after: each of the
    first two has the hidden column `SAMPLE_TIME` too. Rows come unevenly, and samples may jitter:
    when one was taken is known only where it goes into the frame. `unnest` tells by `SAMPLE_NUMBER`, too, which
    samples it has given already, and whether some are missing.
    """
    nodes = {n.id: n for n in graph.nodes}
    for source in graph.nodes:
        if not isinstance(source, g.CountFrames):
            continue
        reached, hidden = [source.id], []
        for node in graph.nodes:
            if node.inputs and node.inputs[0] in reached:
                if isinstance(node, g.Unnest) and node.frame is not None:
                    hidden = [TAKEN, NTH]
                elif not hidden and _asks_for_times(g.expressions_of(node)):
                    hidden = [TAKEN]
                if node.out.shape == "frames" and len(node.inputs) == 1:
                    reached.append(node.id)
        if hidden:
            nodes.update({i: _with_hidden(nodes[i], hidden) for i in reached})
    return replace(graph, nodes=tuple(nodes[n.id] for n in graph.nodes))


def _joined(graph: g.Graph) -> g.Graph:
    """Frames of any length, the stages inside and their aggregate as one node: frames never leave a kernel.

    Before: ``TimeWindow -> FrameDerive -> FrameAggregate``; after: one `TimeWindow` with the results
    of the last, and the others as its `kept`. Where two streams read the same frames, each keeps its own.
    """
    nodes = {n.id: n for n in graph.nodes}
    out: list[g.Node] = []
    for node in graph.nodes:
        if node.out.frame is not None and node.out.frame.length is None:
            continue  # it goes into what reads it
        inside: list[g.Node] = []
        if isinstance(node, g.FrameAggregate):
            before = nodes[node.inputs[0]]
            while isinstance(before, g.FrameDerive | g.Derive):
                inside.insert(0, before)
                before = nodes[before.inputs[0]]
            if isinstance(before, g.TimeWindow | g.Cut | g.SplitRows | g.SplitNext):
                joined = replace(
                    before, id=node.id, out=node.out, name=node.name, folds=node.folds,
                    results=node.results, kept=(before, *inside),
                )  # fmt: skip
                out.append(joined)
                continue
        out.append(node)
    return replace(graph, nodes=tuple(out))


def _with_hidden(node: g.Node, hidden: Sequence[Column]) -> g.Node:
    frame = node.out.frame
    assert frame is not None
    whole = (*frame.whole, *(c.name for c in hidden if c is NTH))
    out = replace(node.out, columns=(*node.out.columns, *hidden), frame=replace(frame, whole=whole))
    match node:
        case g.CountFrames():
            samples = (c.name for c in hidden if c is TAKEN)
            return replace(node, out=out, columns=(*node.columns, *samples))
        case g.Select():
            more = ((c.name, Read(c.name, c.type)) for c in hidden)
            return replace(node, out=out, bindings=(*node.bindings, *more))
        case _:
            return replace(node, out=out)


def _apart(node: g.Node, graph: g.Graph) -> tuple[g.Node, ...]:
    """A window of samples with its aggregates as the two steps that it is: frames, then one row for each."""
    if not isinstance(node, g.CountWindow):
        return (node,)
    before = graph.node(node.inputs[0]).out
    wanted = {name for _, e in node.folds for name in reads(e)} - {"time"}
    columns = tuple(c for c in (*before.columns, *before.keys) if c.name in wanted)
    if _asks_for_times(tuple(e for _, e in node.folds)):
        columns = (*columns, TAKEN)
    frames = replace(
        before, columns=(Column("start", TIME), *columns), shape="frames", spans=True,
        frame=Frame(node.size, before.rate_hz, whole=("start",), hop=node.hop),
    )  # fmt: skip
    made = g.CountFrames(
        id=-node.id - 1, inputs=node.inputs, out=frames, name=node.name, label=node.label, span=node.span, size=node.size,
        hop=node.hop, columns=tuple(c.name for c in columns),
    )  # fmt: skip
    folded = g.FrameAggregate(
        id=node.id, inputs=(made.id,), out=node.out, name=node.name, label=f"aggregate of {node.label}", span=node.span,
        folds=node.folds, results=node.results,
    )  # fmt: skip
    return made, folded
