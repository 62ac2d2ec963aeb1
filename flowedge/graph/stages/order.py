"""Order in time: where a stage needs it, where evenly spaced rows lose it, and where they have it for sure."""

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


_AS_THEY_COME = (g.Derive, g.Select, g.Rules, g.Where, g.InOrder, g.Ahead)
"""Nodes that give on all samples of a signal: a `where` of one looks at keys alone. `lead` knows no gaps, and promises nothing."""


def is_even(c: Checker, node: int) -> bool:
    """Whether samples of one key are less than one and a half periods apart, unless a gap is between them.

    A source sees to it. What gives samples on under other keys, or leaves some out without showing a gap, does not.
    """
    while node >= 0:
        one = c.nodes[node]
        match one:
            case g.Source():
                return one.out.shape == "signal"
            case g.Resample():
                return True
            case g.Unnest():
                return one.reach_ns is not None
            case g.Classify() if one.otherwise[0] == "drop":
                return False
            case g.Compress() if one.method != "decimate":
                return False
            case g.Join() if one.method != "before" or one.has_more_keys:
                return False
            case g.Rekey() if set(one.keys) != {k.name for k in c.nodes[one.inputs[0]].out.keys}:
                return False
            case g.Classify() | g.Compress() | g.Join() | g.Rekey():
                pass
            case _ if not isinstance(one, _AS_THEY_COME):
                return False
        node = one.inputs[0]
    return False
