"""Tails: what stands at the end of a chain and holds rows back, one file each."""

from collections.abc import Callable
from typing import Any

from flowedge.compile.emit.frames import SAMPLE_TIME
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.ahead import AheadTail
from flowedge.compile.emit.tails.compress import AutoTail, ConstantTail, SwingTail
from flowedge.compile.emit.tails.count_frames import CountFramesTail
from flowedge.compile.emit.tails.cut import CutTail
from flowedge.compile.emit.tails.expand import ExpandTail
from flowedge.compile.emit.tails.join import JoinTail
from flowedge.compile.emit.tails.join_many import JoinManyTail
from flowedge.compile.emit.tails.peaks import PeaksTail
from flowedge.compile.emit.tails.resample import ResampleTail
from flowedge.compile.emit.tails.split_at import SplitAtTail
from flowedge.compile.emit.tails.split_next import SplitNextTail
from flowedge.compile.emit.tails.split_rows import SplitRowsTail
from flowedge.compile.emit.tails.time_window import TimeWindowTail
from flowedge.compile.emit.tails.unnest import SamplesTail, UnnestTail
from flowedge.graph import nodes as g
from flowedge.types.schema import TIME, Column, Stream


def _frames(kernel: Kernel, node: g.CountFrames, streams: tuple[Stream, ...]) -> Tail:
    taken = Column(SAMPLE_TIME, TIME)
    columns = {c.name: c for c in (*_values(streams[0]), *streams[0].keys, taken)}
    return CountFramesTail(kernel, node, tuple(columns[n] for n in node.columns))


def _split_at(kernel: Kernel, node: g.SplitAt, streams: tuple[Stream, ...]) -> Tail:
    period = round(1e9 / (streams[0].rate_hz or 1.0))
    return SplitAtTail(kernel, node, streams[0].columns, _values(streams[1]), period)


def _join(kernel: Kernel, node: g.Join, streams: tuple[Stream, ...]) -> Tail:
    kind = JoinManyTail if node.has_more_keys else JoinTail
    return kind(kernel, node, _values(streams[0]), (*_values(streams[1]), *streams[1].keys))


def _compress(kernel: Kernel, node: g.Compress, streams: tuple[Stream, ...]) -> Tail:
    kind = {"swing": SwingTail, "auto": AutoTail, "constant": ConstantTail}[node.method]
    return kind(kernel, node, _values(streams[0]))


def _unnest(kernel: Kernel, node: g.Unnest, streams: tuple[Stream, ...]) -> Tail:
    kind = UnnestTail if node.frame is None else SamplesTail
    return kind(kernel, node, _values(streams[0]))


def _values(stream: Stream) -> tuple[Column, ...]:
    """What a row holds: frames that go on as rows hold lists."""
    return stream.stored()


TAILS: dict[type[g.Node], tuple[type[Tail], Callable[[Kernel, Any, tuple[Stream, ...]], Tail]]] = {
    g.TimeWindow: (TimeWindowTail, lambda k, n, s: TimeWindowTail(k, n, spans=s[0].spans)),
    g.CountFrames: (CountFramesTail, _frames),
    g.Cut: (CutTail, lambda k, n, s: CutTail(k, n)),
    g.Compress: (SwingTail, _compress),
    g.Expand: (ExpandTail, lambda k, n, s: ExpandTail(k, n, _values(s[0]), n.out.rate_hz or 1.0)),
    g.Resample: (ResampleTail, lambda k, n, s: ResampleTail(k, n, _values(s[0]))),
    g.Unnest: (UnnestTail, _unnest),
    g.Ahead: (AheadTail, lambda k, n, s: AheadTail(k, n, _values(s[0]))),
    g.Join: (JoinTail, _join),
    g.Peaks: (PeaksTail, lambda k, n, s: PeaksTail(k, n, _values(s[0]), s[0].rate_hz)),
    g.SplitAt: (SplitAtTail, _split_at),
    g.SplitRows: (SplitRowsTail, lambda k, n, s: SplitRowsTail(k, n, _values(s[1]))),
    g.SplitNext: (SplitNextTail, lambda k, n, s: SplitNextTail(k, n, _values(s[1]))),
}
"""How each node that ends a kernel is made: its class, and a call with the streams that come in."""
