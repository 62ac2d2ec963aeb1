"""Order in time: where a stage needs it, and where evenly spaced rows lose it."""

from dataclasses import replace

from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.lang.span import Span
from flowedge.types.schema import Stream


def ordered(c: Checker, flow: Flow, span: Span) -> Flow:
    """Rows in the order of time over all keys, where a stage needs it; late rows wait for the end."""
    if flow.type.in_order or flow.node < 0:
        return flow
    wait = None if flow.type.strays else flow.type.wait_s
    out = replace(flow.type, in_order=True, strays=False, wait_s=wait)
    node = c.put(g.InOrder, (flow,), out, name=flow.name, label="in order", span=span)
    return replace(flow, type=out, node=node)


def as_irregular(type_: Stream) -> Stream:
    """The same rows without a promise of their rate, which becomes a bound."""
    return replace(type_, shape="rows") if type_.shape == "signal" else type_
