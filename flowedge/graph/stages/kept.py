"""Frames of any length whose rows are kept until the aggregate: what time windows and cuts give to `derive`."""

from collections.abc import Sequence
from dataclasses import replace

from flowedge.graph.names import Scope
from flowedge.graph.stages.frames import START
from flowedge.lang import tree as t
from flowedge.types.schema import Column, Frame, Stream

Item = tuple[t.Stage, Scope]


def is_folded_in_the_end(after: Sequence[Item]) -> bool:
    """Whether `derive` follows, once or more, and then `aggregate`: nothing else can take such frames."""
    stages = [stage for stage, _ in after]
    count = next((k for k, s in enumerate(stages) if not isinstance(s, t.Derive)), len(stages))
    return 0 < count < len(stages) and isinstance(stages[count], t.Aggregate)


def frames_of(type_: Stream, rate_hz: float | None, whole: Sequence[Column] = (START,)) -> Stream:
    """The type of frames over a stream's rows, `rate_hz` of them a second; they stand for (start, time].

    `whole` are the columns of the frame itself; they hide those of its rows.
    """
    names = tuple(x.name for x in whole)
    samples = tuple(x for x in type_.columns if x.name not in names)
    inside = type_.rate_hz if type_.shape == "signal" else None
    return replace(
        type_,
        columns=(*whole, *samples),
        shape="frames",
        frame=Frame(None, inside, whole=names),
        spans=True,
        rate_hz=rate_hz,
    )
