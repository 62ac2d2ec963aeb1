"""The shortest deadline that can be kept: from the receipt of the first row to the hand-over."""

from collections.abc import Sequence

from flowedge.graph import nodes as g
from flowedge.operators import grids


def floors(nodes: Sequence[g.Node]) -> dict[int, float | None]:
    """For each node, the longest time [s] that a row of a source may wait in it; None: no bound is known."""
    out: dict[int, float | None] = {}
    for node in nodes:
        inputs = [out[i] for i in node.inputs]
        before = (
            None
            if any(x is None for x in inputs)
            else max((x for x in inputs if x is not None), default=0.0)
        )
        more = own(node, nodes)
        out[node.id] = None if before is None or more is None else before + more
    return out


def own(node: g.Node, nodes: Sequence[g.Node]) -> float | None:
    """What one node adds [s]; None: no bound."""
    of = {n.id: n for n in nodes}
    rate = None
    if node.inputs:
        stream = of[node.inputs[0]].out
        rate = stream.rate_hz if stream.shape == "signal" else None
    match node:
        case g.Source():
            return node.late_s + (node.gaps_up_to_s or 0.0 if node.gaps == "linear" else 0.0)
        case g.TimeWindow():
            return window_s(node)
        case g.CountWindow() | g.CountFrames():
            return None if rate is None else (node.size - 1) / rate
        case g.SplitAt(is_even=False):
            return None
        case g.SplitAt() | g.SplitRows():
            return (max(node.to_ns, 0) - min(node.from_ns, 0)) / 1e9
        case g.Cut(how="gap", gap_ns=int(gap_ns), up_to_ns=int(up_to_ns)):
            return (up_to_ns + gap_ns) / 1e9  # a piece is over when the silence after it is
        case g.SplitNext() | g.Cut():
            return None if node.up_to_ns is None else node.up_to_ns / 1e9
        case g.Resample():
            if node.method == "hold":
                return 0.0
            if node.up_to_ns is not None:
                return node.up_to_ns / 1e9
            return None if rate is None else step_s(node)
        case g.InOrder():
            return None if stream.strays else 0.0  # late rows wait for the end of the input
        case g.Join():
            return 0.0 if node.method == "before" else (node.within_ns or 0) / 1e9
        case g.Peaks():
            return float(node.operator.wait_s)
        case g.Ahead():
            return None if rate is None else max(n for _, _, n in node.values) / rate
        case g.Compress():
            return 0.0 if node.is_at_once else None
        case g.Unnest(frame=int()):
            return None if node.reach_ns is None else 0.0  # the window has counted the frame
        case _:
            return 0.0


def window_s(node: g.TimeWindow) -> float:
    """How long a window lasts at most [s]: in a zone it may see clocks go back."""
    if node.zone is None:
        return node.size_ns / 1e9
    return grids.longest_ns(node.zone, node.size_ns, node.hop_ns) / 1e9


def step_s(node: g.Resample) -> float:
    """How far apart two points of a grid lie at most [s]."""
    period_s = node.rate[1] / node.rate[0]
    if node.zone is None:
        return period_s
    period_ns = round(period_s * 1e9)
    return grids.longest_ns(node.zone, period_ns, period_ns) / 1e9
