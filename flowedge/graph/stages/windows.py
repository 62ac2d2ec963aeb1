"""Frames of so much time or so many samples: window."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.stages.aggregates import Item, done, fold, made_of
from flowedge.graph.stages.frames import START, as_rows
from flowedge.graph.stages.kept import frames_of, is_folded_in_the_end
from flowedge.graph.stages.local import fits_a_day
from flowedge.graph.stages.model_inputs import TimeWindowForModel
from flowedge.graph.stages.order import ordered
from flowedge.lang import tree as t
from flowedge.types import units
from flowedge.types.schema import Frame


def window(
    c: Checker, flow: Flow, stage: t.Window, scope: Scope, after: Sequence[Item]
) -> tuple[Flow, int]:
    """`window` with the aggregate behind it; gives also how many of `after` it took in."""
    flow = as_rows(flow)
    place = Place(flow, scope)
    size = k.extent(c, stage.size, place, "a window")
    hop = size if stage.every is None else k.extent(c, stage.every, place, "a hop")
    zone = None if stage.zone is None else k.zone(c, stage.zone, place)
    following = after[0][0] if after else None
    if size is None or hop is None or (zone is None and stage.zone is not None):
        return _after_broken(c, flow, after)
    if (size.samples is None) != (hop.samples is None) and stage.every is not None:
        c.report(
            k.ValueOutOfRange.at(
                stage.every.span,
                "a window by time that moves by samples, or the other way round",
                fix="give both as durations, or both as samples",
            )
        )
        return _after_broken(c, flow, after)
    if size.samples is not None and hop.samples is not None:
        if zone is not None and stage.zone is not None:
            c.report(
                k.ValueOutOfRange.at(
                    stage.zone.span,
                    "a time zone for a window of samples",
                    why="samples know no calendar",
                    fix="leave it away",
                )
            )
        return _by_count(c, flow, stage, (size.samples, hop.samples), after)
    if stage.zone is not None:
        hop_tree, what = (stage.size, "a window") if stage.every is None else (stage.every, "a hop")
        if not fits_a_day(c, _exactly(c, hop_tree, place), hop_tree, stage.zone, what):
            return _after_broken(c, flow, after)
    rate = flow.type.rate_hz if flow.type.shape == "signal" else None
    for seconds, tree, what in (
        (size.seconds, stage.size, "a window"),
        (hop.seconds, stage.every, "a hop"),
    ):
        if rate and seconds is not None and tree is not None and seconds * rate < 1 - 1e-9:
            k.shorter_than_a_sample(c, tree.span, what, seconds, place, rate)
            return _after_broken(c, flow, after)
    size_ns, hop_ns = (
        k.ns(_exactly(c, tree, place)) for tree in (stage.size, stage.every or stage.size)
    )
    label = f"window {_short(size_ns)}"
    label += f" every {_short(hop_ns)}" if hop_ns != size_ns else ""
    label += "" if zone is None else f" in {zone}"
    if isinstance(following, t.Aggregate):
        flow, folds, results, columns, broken = fold(
            c, flow, following.bindings, after[0][1], following
        )
        flow = ordered(c, flow, stage.span)  # a `lead` in an aggregate waits for rows of its key
        out = made_of(flow.type, columns, 1e9 / hop_ns)
        made = c.stage(
            g.TimeWindow,
            flow,
            out,
            stage,
            label,
            size_ns=size_ns,
            hop_ns=hop_ns,
            zone=None if zone == "UTC" else zone,
            folds=folds,
            results=results,
        )
        return done(made, broken), 1
    if is_folded_in_the_end(after):
        flow = ordered(c, flow, stage.span)
        return c.stage(
            g.TimeWindow, flow, frames_of(flow.type, 1e9 / hop_ns), stage, label,
            size_ns=size_ns, hop_ns=hop_ns, zone=None if zone == "UTC" else zone, folds=(), results=(),
        ), 0  # fmt: skip
    kept = f"`window {stage.size.span.source}`"
    if isinstance(following, t.ClassifyModel):
        hint = (
            f" ({round(size.seconds * rate)} samples at {rate:g} Hz)"
            if rate and size.seconds
            else ""
        )
        c.report(TimeWindowForModel.at(stage.size.span, "a time window in front of a model", label="a varying number of samples",
                                       others=[(following.model.span, "takes frames of one length")], why="a gap or a lost row would change the length",
                                       fix=f"write `window N samples`{hint}, or `split at`"))  # fmt: skip
        return replace(flow.to(flow.type, -1), wild=True), 0
    c.not_yet(
        stage.span,
        f"{kept} whose rows are kept",
        "put `| aggregate …` behind it, or take `window N samples`",
    )
    return replace(flow.to(flow.type, -1), wild=True), _skip(after)


def _exactly(c: Checker, tree: t.Value, place: Place) -> Fraction:
    found = k.exact(c, tree, place, "a length")
    assert found is not None
    return units.convert(found.value, found.unit or units.SECOND, units.SECOND)


def _short(ns: int) -> str:
    for unit, size in (
        ("d", 86400 * 10**9),
        ("h", 3600 * 10**9),
        ("min", 60 * 10**9),
        ("s", 10**9),
        ("ms", 10**6),
        ("us", 10**3),
    ):
        if ns % size == 0 or (ns > size and ns * 1000 % size == 0):
            return f"{ns / size:g} {unit}"
    return f"{ns} ns"


def _skip(after: Sequence[Item]) -> int:
    """Where frames could not be made, the aggregate right behind is taken in too."""
    return 1 if after and isinstance(after[0][0], t.Aggregate) else 0


def _after_broken(c: Checker, flow: Flow, after: Sequence[Item]) -> tuple[Flow, int]:
    """Check the aggregate all the same, then go on with what it would give."""
    if after and isinstance(after[0][0], t.Aggregate):
        flow, _, _, columns, broken = fold(c, flow, after[0][0].bindings, after[0][1], after[0][0])
        return done(flow.to(made_of(flow.type, columns, None), -1), broken), 1
    return replace(flow.to(flow.type, -1), wild=True), 0


def _by_count(
    c: Checker, flow: Flow, stage: t.Window, lengths: tuple[int, int], after: Sequence[Item]
) -> tuple[Flow, int]:
    size, hop = lengths
    type_ = flow.type
    rate = type_.rate_hz if type_.shape == "signal" else None
    label = f"window {size} samples" + (f" every {hop} samples" if hop != size else "")
    if after and isinstance(after[0][0], t.Aggregate):
        following = after[0][0]
        flow, folds, results, columns, broken = fold(
            c, flow, following.bindings, after[0][1], following, length=size
        )
        out = made_of(flow.type, columns, rate / hop if rate else None)
        made = c.stage(
            g.CountWindow, flow, out, stage, label, size=size, hop=hop, folds=folds, results=results
        )
        return done(made, broken), 1
    samples = tuple(x for x in type_.columns if x.name != "start")
    frame = Frame(size, rate, whole=("start",), hop=hop)
    out = replace(
        type_,
        columns=(START, *samples),
        shape="frames",
        frame=frame,
        spans=True,
        rate_hz=rate / hop if rate else None,
    )
    made = c.stage(
        g.CountFrames,
        flow,
        out,
        stage,
        label,
        size=size,
        hop=hop,
        columns=tuple(x.name for x in samples),
    )
    return made, 0
