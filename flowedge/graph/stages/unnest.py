"""`unnest`: lists are taken apart, and frames give their samples back."""

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import reads
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.quantities import LengthsDiffer, WrongType
from flowedge.graph.stages.frames import as_rows, sample_columns
from flowedge.graph.stages.order import is_even
from flowedge.graph.stages.rows import look_up
from flowedge.graph.stages.shapes import grid
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import Column, Frame, Stream


class SamplesHaveTimes(Rule):
    """Samples of a frame come out at the times at which they were taken; `at` is for lists that do not know them.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 10 samples | unnest v at 50 Hz to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 10 samples | unnest v to console
    """

    code = "FE419"


class SamplesWithoutTimes(Rule):
    """A frame knows the times of its samples, through `where`, `derive`, `select` and `classify`.

    Behind a join, a union or `key` it is a row with lists, which has the time of the last sample alone. So it is taken
    apart before.

    Wrong::

        source s (time, device: key, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 10 samples | key none | unnest v to console

    Right::

        source s (time, device: key, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 10 samples | unnest v | key none to console
    """

    code = "FE512"


def unnest(c: Checker, flow: Flow, stage: t.Unnest, scope: Scope) -> Flow:
    """One row per element of list columns of equal length."""
    frame, samples = flow.type.frame, _samples(flow.type)
    flow = as_rows(flow)
    rate = None if stage.rate is None else grid(c, stage.rate, Place(flow, scope))
    lists, good = _lists(c, flow, stage, scope, samples)
    good = good and (stage.rate is None or rate is not None)
    columns = tuple(lists.get(x.name, x) for x in flow.type.columns if x.name != "start")
    out = replace(flow.type, columns=columns, spans=False)
    label = "unnest " + ", ".join(lists)
    if frame is not None and samples & lists.keys():
        if stage.rate is not None and rate is not None:
            good = _has_rate(c, flow, frame, stage.rate, rate) and good
        reach = _reach_s(c, flow, frame)
        out = replace(
            out,
            shape="signal" if frame.rate_hz else "rows",
            rate_hz=frame.rate_hz,
            in_order=out.in_order and not out.keys,  # other keys are in the midst of their frames
            wait_s=None if reach is None or out.wait_s is None else out.wait_s + reach,
        )
        if good:
            return c.stage(g.Unnest, flow, out, stage, label, columns=tuple(lists), rate_hz=frame.rate_hz,
                           frame=frame.length, reach_ns=None if reach is None else _most_ns(reach))  # fmt: skip
    else:
        hz = None if rate is None else float(rate)
        out = replace(out, shape="signal" if hz else "rows", rate_hz=hz)
        # The next list may begin before this one has ended: messages come with jitter.
        out = replace(out, in_order=out.in_order and rate is None)
        told = [_are_no_samples(c, flow, stage, ident, lists, scope) for ident in stage.names]
        if good and all(told):
            made = c.stage(
                g.Unnest, flow, out, stage, label, columns=tuple(lists), rate_hz=out.rate_hz
            )
            return replace(made, rate_at=stage.rate.span if stage.rate is not None else None)
    return flow.to(out, -1).breaks(*(scope.column_name(i) for i in stage.names if i.name not in lists))  # fmt: skip


def _samples(type_: Stream) -> frozenset[str]:
    """Columns of frames that follow each other which have a value for each sample."""
    frame = type_.frame
    return frozenset() if frame is None or frame.hop is None else sample_columns(type_)


def _lists(
    c: Checker, flow: Flow, stage: t.Unnest, scope: Scope, samples: frozenset[str]
) -> tuple[dict[str, Column], bool]:
    """What each list gives, by its name, and whether nothing was wrong with them."""
    lists: dict[str, Column] = {}
    good, first = True, ""
    for ident in stage.names:
        column = look_up(c, flow, ident, scope)
        if column is None:
            good = False
            continue
        name, type_ = column.name, column.type
        if not type_.shape:
            c.report(
                WrongType.at(
                    ident.span,
                    f"`{name}` is {type_}, no list",
                    fix="name columns of lists, for example `f32<60>`",
                )
            )
            good = False
            continue
        lists[name] = Column(name, replace(type_, shape=type_.shape[1:]))
        first = first or name
        other = flow.type.column(first)
        assert other is not None
        if other.type.shape[0] != type_.shape[0]:
            c.report(LengthsDiffer.at(ident.span, f"lists of {other.type.shape[0]} and {type_.shape[0]} elements are taken apart together",
                                      fix="take apart lists of equal length"))  # fmt: skip
            good = False
        elif (first in samples) != (name in samples):
            each, whole = (first, name) if first in samples else (name, first)
            c.report(LengthsDiffer.at(ident.span, f"`{each}` has a value for each sample of the frame, and `{whole}` does not",
                                      why=f"no element of `{whole}` belongs to one of the samples", fix="leave one of them away"))  # fmt: skip
            good = False
    return lists, good


# ---- samples


def _has_rate(c: Checker, flow: Flow, frame: Frame, tree: t.Expr, rate: Fraction) -> bool:
    """Whether a rate that was said is that of the samples; it is reported where not."""
    hz = frame.rate_hz
    if hz is not None and abs(float(rate) - hz) <= 1e-9 * hz:
        return True
    said = tree.span.source
    others: list[tuple[Span, str]] = []
    if hz is not None and flow.rate_at is not None:
        others.append((flow.rate_at, "the rate of the signal"))
    c.report(
        SamplesHaveTimes.at(
            tree.span,
            f"`at {said}` of samples "
            + ("that have times of their own" if hz is None else f"taken at {hz:g} Hz"),
            others=others,
            why="each comes out at the time at which it was taken",
            fix=f"leave `at` away; `| resample {said} linear` behind it gives another rate",
        )
    )
    return False


def _reach_s(c: Checker, flow: Flow, frame: Frame) -> float | None:
    """How long before the time of its frame a sample lies [s]; None: no bound is known."""
    node = flow.node
    while node >= 0 and not isinstance(c.nodes[node], g.CountFrames):
        node = c.nodes[node].inputs[0]
    if node < 0 or frame.rate_hz is None or not is_even(c, c.nodes[node].inputs[0]):
        return None
    assert frame.length is not None
    return (frame.length - 1) / frame.rate_hz


def _most_ns(reach_s: float) -> int:
    """The same where every step is as long as one without a gap may be: up to one and a half periods."""
    return math.ceil(1.5e9 * reach_s) + 1


# ---- lists that were samples


def _are_no_samples(
    c: Checker, flow: Flow, stage: t.Unnest, ident: t.Ident, lists: dict[str, Column], scope: Scope
) -> bool:
    """Whether a list does not come from frames that knew the times of its elements; reports where it does."""
    name = scope.column_name(ident)
    column = flow.type.column(name)
    if name not in lists or column is None:
        return True
    lost = _lost(c, flow.node, name, column.type.shape[0])
    if lost is None:
        return True
    others: list[tuple[Span, str]] = []
    if lost.span is not None:
        others.append((lost.span, "frames are rows with lists behind it"))
    c.report(
        SamplesWithoutTimes.at(
            ident.span,
            f"the times of the samples in `{name}` are lost at `{lost.label}`",
            others=others,
            why="a row has one time, that of the last sample",
            fix=f"put `| {stage.span.source}` before it",
        )
    )
    return False


def _lost(c: Checker, node: int, name: str, length: int) -> g.Node | None:
    """The stage at which frames became rows, if a list of this length of a node holds their samples."""
    found: dict[tuple[int, str], g.Node | None] = {}
    for one in c.upstream(node):
        samples = _samples(one.out)
        for column in one.out.stored():
            if column.type.shape[:1] != (length,):
                continue
            origins = list(_from(c, one, column.name, length))
            if column.name in samples:
                found[one.id, column.name] = None
            elif origins and all(x in found for x in origins):
                found[one.id, column.name] = found[origins[0]] or one
    return found.get((node, name))


def _from(c: Checker, node: g.Node, name: str, length: int) -> Iterator[tuple[int, str]]:
    """The lists of a length that a column is made of: (node, name)."""
    made = {n: e for field in ("bindings", "values") for n, e, *_ in getattr(node, field, ())}
    own = {n for n, _ in getattr(node, "results", ())}
    if isinstance(node, g.Unnest):  # one element of the list
        own |= set(node.columns)
    looked_up = {b: a for a, b in node.names} if isinstance(node, g.Join) else {}
    if name in made:
        names = reads(made[name])
        yield from ((node.inputs[0], n) for n in names if _length(c, node.inputs[0], n) == length)
    elif name in looked_up:
        yield node.inputs[1], looked_up[name]
    elif node.inputs and name not in own and _length(c, node.inputs[0], name):
        yield node.inputs[0], name


def _length(c: Checker, node: int, name: str) -> int:
    """How many elements a column has; 0: it is no list."""
    for column in c.nodes[node].out.stored():
        if column.name == name:
            return column.type.shape[0] if column.type.shape else 0
    return 0
