"""Where a stage may take the end of a key from: when no row of it can come any more, ``expire key after D``.

A key of the source has ended once its time is at its last row + D. A stage that keeps something of a key until its next
row (`lead`, `compress`, cuts without a silence, `resample hold`) gives it then, and not at the end of the input, where
it knows by how much its rows may be newer than the source's own, and has them in order of time.
"""

from flowedge.graph import nodes as g
from flowedge.graph.floors import step_s, window_s

Ends = tuple[g.Source, int]
"""A source whose keys end, and so long after its last row + D [ns] no row of a key comes to a node any more."""

_AT_ONCE = (
    g.Where, g.Derive, g.Select, g.Rules, g.Branch, g.Route, g.InOrder, g.Classify, g.FrameDerive, g.FrameAggregate,
    g.Ahead, g.Compress, g.Expand, g.Cut, g.CountFrames, g.Peaks, g.Edges, g.Union, g.Join, g.SplitAt, g.SplitRows,
    g.SplitNext,
)  # fmt: skip
"""Nodes whose rows have the time of a row that has come, or an earlier one."""


def ends_of(graph: g.Graph, node: g.Node) -> Ends | None:
    """The ends of keys that a node goes by.

    None where it waits for none, where no bound is known, and where rows come in no order.
    """
    if not _waits(node) or not all(graph.node(i).out.in_order for i in node.inputs):
        return None
    return _before(graph, node)


def _waits(node: g.Node) -> bool:
    """Whether it keeps something of a key for ever, unless the key ends."""
    match node:
        case g.Ahead():
            return True
        case g.Compress():
            return not node.is_at_once
        case g.Cut():
            return node.how != "gap" and node.up_to_ns is None
        case g.SplitNext() | g.Resample(method="hold"):
            return node.up_to_ns is None
        case _:
            return False


def _before(graph: g.Graph, node: g.Node) -> Ends | None:
    """The same of the rows that come to a node, in whatever order."""
    found = [_behind(graph, graph.node(i)) for i in node.inputs]
    known = [each for each in found if each is not None]
    if len(known) < len(found) or len({source.id for source, _ in known}) != 1:
        return None
    return known[0][0], max(late for _, late in known)


def _behind(graph: g.Graph, node: g.Node) -> Ends | None:
    """The same of the rows that a node gives."""
    if isinstance(node, g.Source):
        ends = node.expire_s is not None and bool(node.keys) and not node.late_per_key
        return (node, 0) if ends else None
    before = _before(graph, node)
    if before is None:
        return None
    source, late = before
    match node:
        case g.TimeWindow():
            more = window_s(node)
        case g.Resample(method="hold"):
            more = step_s(node)
            more += (source.expire_s or 0.0) if node.up_to_ns is None else node.up_to_ns / 1e9
        case g.Resample() | g.Unnest(rate_hz=None) | g.Unnest(frame=int()):
            more = 0.0
        case _ if isinstance(node, _AT_ONCE):
            more = 0.0
        case _:
            return None
    return source, late + round(more * 1e9)
