"""Where streams meet: join, and the union of several."""

from dataclasses import replace
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.quantities import UnitsDiffer, WrongType, shown
from flowedge.graph.stages.frames import as_rows, has_long_lists
from flowedge.graph.stages.order import as_irregular, ordered
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.schema import TEXT, TIME, Column, Type


class KeysDoNotMatch(Rule):
    """Streams meet by keys of the same name and type.

    Wrong::

        source a (time, device: key i32, v: f64) from arrow("a.arrow")
        source b (time, device: key string, w: f64) from arrow("b.arrow")
        sink a | join b within 1 s to console

    Right::

        source a (time, device: key i32, v: f64) from arrow("a.arrow")
        source b (time, device: key i32, w: f64) from arrow("b.arrow")
        sink a | join b within 1 s to console
    """

    code = "FE503"


class LiveJoinWaits(Rule):
    """A join waits until its right side is known up to a row's time; a live source may fall silent.

    Wrong::

        source a (time, v: f64) from arrow("a.arrow")
        source b (time, w: f64) from feed("b")
        sink a | join b latest to console

    Right::

        source a (time, v: f64) from arrow("a.arrow")
        source b (time, w: f64) from feed("b") idle after 5 s
        sink a | join b latest to console
    """

    code = "FE504"


METHODS = ("nearest", "linear")


def named(ref: t.Ref) -> str:
    """What stands in front of the columns that a stream brings along."""
    return ref.name.name if ref.part is None else f"{ref.name.name}_{ref.part.name}"


def matching_keys(
    c: Checker, left: Flow, right: Flow, span: Span, name: str
) -> tuple[str, ...] | None:
    """Key columns that both have; None: reported."""
    shared = []
    for key in right.type.keys:
        other = left.type.column(key.name)
        if other is None:
            continue
        if all(x.name != key.name for x in left.type.keys):
            c.report(KeysDoNotMatch.at(span, f"`{key.name}` is a key of `{name}`, and a plain column of `{left.name}`",
                                       why="streams meet by keys of the same name", fix=f"put `| key {key.name}` before, or rename the column"))  # fmt: skip
            return None
        if other.type.store != key.type.store:
            c.report(KeysDoNotMatch.at(span, f"key `{key.name}` is {other.type} in `{left.name}` and {key.type} in `{name}`",
                                       why="keys match by name and type", fix="declare both with one type"))  # fmt: skip
            return None
        shared.append(key.name)
    for key in left.type.keys:
        if right.type.column(key.name) is not None and key.name not in shared:
            c.report(KeysDoNotMatch.at(span, f"`{key.name}` is a key of `{left.name}`, and a plain column of `{name}`",
                                       why="streams meet by keys of the same name", fix=f"declare it in `{name}` as `{key.name}: key`, or rename the column"))  # fmt: skip
            return None
    return tuple(shared)


def join(
    c: Checker,
    flow: Flow,
    stage: t.Join,
    scope: Scope,
    right: Flow | None,
    lives: list[tuple[str, Span]],
) -> Flow:
    """As-of join; `lives` are live sources behind the right side that never fall idle."""
    flow = as_rows(flow)
    within = (
        None
        if stage.within is None
        else k.duration(c, stage.within, Place(flow, scope), "how far to look back")
    )
    method = "before" if stage.method is None else stage.method.name
    if stage.method is not None and method not in METHODS:
        c.report(
            k.ValueOutOfRange.at(
                stage.method.span,
                f"unknown way to join `{method}`",
                fix=did_you_mean(method, METHODS),
            )
        )
        method = "before"
    if right is None:
        return replace(flow.to(flow.type, -1), wild=True)
    if right.wild:
        return replace(flow.to(flow.type, -1), wild=True)
    for name, span in lives:
        c.report(LiveJoinWaits.at(stage.stream.span, f"a join with the live source `{name}` that may fall silent", others=[(span, "has no `idle after`")],
                                  why="a row waits until nothing earlier can come from there", fix="add `idle after 5 s` to the source"))  # fmt: skip
    on = matching_keys(c, flow, right, stage.stream.span, str(stage.stream))
    if on is None or (within is None and stage.within is not None):
        return replace(flow.to(flow.type, -1), wild=True)
    flow, looked = ordered(c, flow, stage.span), as_rows(right)
    looked = ordered(c, looked, stage.stream.span) if looked.type.has_time else looked
    if has_long_lists(c, looked, stage.span, "join") or (
        method != "before" and has_long_lists(c, flow, stage.span, f"join … {method}")
    ):
        return replace(flow.to(flow.type, -1), wild=True)
    prefix = named(stage.stream)
    taken = {"time", *(x.name for x in (*flow.type.keys, *flow.type.columns))}
    columns, names = [], []
    own = [Column("time", TIME)] if looked.type.has_time else []
    extra = [x for x in looked.type.keys if x.name not in on]
    for x in (*own, *extra, *looked.type.columns):
        given = f"{prefix}_{x.name}" if x.name in ("time", "start") else x.name
        while given in taken:
            given = f"{prefix}_{given}"
        taken.add(given)
        columns.append(Column(given, x.type))
        names.append((x.name, given))
    wait: float | None = None
    waits = [flow.type.wait_s, looked.type.wait_s if looked.type.has_time else 0.0]
    if all(w is not None for w in waits):
        wait = max(w for w in waits if w is not None) + (
            float(within) if within is not None and method != "before" else 0.0
        )
    out = replace(
        flow.type,
        columns=(*flow.type.columns, *columns),
        wait_s=wait,
        is_live=flow.type.is_live or looked.type.is_live,
        in_order=method == "before"
        or not flow.type.keys,  # others wait for the next row of their key
    )
    if extra:
        out = as_irregular(out)
        if method != "before":
            c.not_yet(
                stage.span,
                f"`join … {method}` with a stream of more keys",
                f"leave `{method}` away, or bring it to these keys with `| key …`",
            )
            return replace(flow.to(flow.type, -1), wild=True)
    label = (
        f"join {stage.stream}"
        + (" latest" if within is None else f" within {float(within):g} s")
        + ("" if method == "before" else f" {method}")
    )
    rest: dict[str, Any] = {
        "within_ns": None if within is None else k.ns(within),
        "method": method,
        "on": on,
        "names": tuple(names),
    }
    node = c.put(
        g.Join,
        (flow, looked),
        out,
        name=flow.name,
        label=label,
        span=stage.span,
        always=not looked.type.has_time,
        has_more_keys=bool(extra),
        **rest,
    )
    if extra:
        # Each row belongs to the keys of both from here on.
        called = dict(names)
        more = [Column(called[x.name], replace(x.type, labels=None)) for x in extra]
        keys = (*out.keys, *more)
        out = replace(out, keys=keys, columns=tuple(x for x in out.columns if x not in more))
        node = c.put(g.Rekey, (flow.to(flow.type, node),), out, name=flow.name, label="key " + ", ".join(x.name for x in keys),
                     span=stage.span, keys=tuple(x.name for x in keys))  # fmt: skip
    bad = {given for name, given in names if name in right.broken}
    return flow.to(out, node).breaks(*bad)


def union(c: Checker, flows: list[tuple[Flow, t.Ref]], name: str, span: Span) -> Flow:
    """Several streams in one, in the order of time, place and sequence."""
    ready = [
        (ordered(c, f, ref.span), ref)
        for f, ref in _same_keys(c, [(as_rows(f), ref) for f, ref in flows])
    ]
    first, first_ref = ready[0]
    columns: dict[str, Column] = {}
    scales: list[tuple[tuple[str, float, float], ...]] = []
    broken: set[str] = set()
    good = True
    for flow, ref in ready:
        mine, theirs = (
            {x.name: x.type.store for x in first.type.keys},
            {x.name: x.type.store for x in flow.type.keys},
        )
        if mine != theirs and not (first.wild or flow.wild):
            c.report(KeysDoNotMatch.at(ref.span, f"`{ref}` has {_keys(flow)}, `{first_ref}` has {_keys(first)}", others=[(first_ref.span, "the first of the union")],
                                       why="the rows of a union have one set of keys", fix="bring them to the same keys with `| key …`"))  # fmt: skip
            good = False
        mapped: list[tuple[str, float, float]] = []
        for x in flow.type.columns:
            if x.name == "branch":
                continue
            known = columns.get(x.name)
            if known is None:
                columns[x.name] = x
                continue
            joined = _joint(c, known, x, ref, mapped)
            if joined is None:
                broken.add(x.name)
            else:
                columns[x.name] = joined
        scales.append(tuple(mapped))
        broken |= flow.broken
    branches = tuple(str(ref) for _, ref in ready)
    columns["branch"] = Column("branch", replace(TEXT, labels=tuple(dict.fromkeys(branches))))
    waits = [f.type.wait_s for f, _ in ready]
    spans = all(f.type.spans for f, _ in ready)
    if not spans:
        columns.pop("start", None)
    out = replace(first.type, columns=tuple(columns.values()), shape="rows", rate_hz=None, spans=spans,
                  wait_s=None if any(w is None for w in waits) else max(w for w in waits if w is not None),
                  is_live=any(f.type.is_live for f, _ in ready), in_order=True)  # fmt: skip
    wild = any(f.wild for f, _ in ready)
    node = -1
    if good and not wild and not broken:
        node = c.put(
            g.Union,
            tuple(f for f, _ in ready),
            out,
            name=name,
            label="union",
            span=span,
            branches=branches,
            scales=tuple(scales),
        )
    per_key = next((f.per_key for f, _ in ready if f.per_key is not None), None)
    return Flow(node, out, name, frozenset(broken), wild, per_key)


def _same_keys(c: Checker, flows: list[tuple[Flow, t.Ref]]) -> list[tuple[Flow, t.Ref]]:
    """Streams brought to the keys that all of them have; other keys become columns."""
    common = [
        x
        for x in flows[0][0].type.keys
        if all(x.name in {y.name for y in f.type.keys} for f, _ in flows)
    ]
    names = {x.name for x in common}
    out = []
    for flow, ref in flows:
        if {x.name for x in flow.type.keys} == names or flow.wild:
            out.append((flow, ref))
            continue
        ready = ordered(c, flow, ref.span)
        mine = {x.name: x for x in flow.type.keys}
        keys = tuple(mine[x.name] for x in common)
        type_ = replace(
            ready.type,
            keys=keys,
            columns=(*(x for x in flow.type.keys if x.name not in names), *flow.type.columns),
            shape="rows",
            rate_hz=None,
        )
        node = c.put(
            g.Rekey,
            (ready,),
            type_,
            name=flow.name,
            label="key " + (", ".join(names) or "none"),
            span=ref.span,
            keys=tuple(x.name for x in keys),
        )
        out.append((replace(ready, type=type_, node=node), ref))
    return out


def _keys(flow: Flow) -> str:
    return (
        "the keys " + ", ".join(f"`{x.name}` ({x.type})" for x in flow.type.keys)
        if flow.type.keys
        else "no keys"
    )


def _joint(
    c: Checker, known: Column, x: Column, ref: t.Ref, mapped: list[tuple[str, float, float]]
) -> Column | None:
    """What a column is in the union; a unit that differs is converted to the first one's."""
    a, b = known.type, x.type
    if a.is_number != b.is_number or (not a.is_number and a.store != b.store) or a.shape != b.shape:
        c.report(WrongType.at(ref.span, f"column `{x.name}` is {b} in `{ref}`, and {a} before", why="columns of a union meet by name",
                              fix="rename one of them with `select` or `derive`"))  # fmt: skip
        return None
    if a.unit != b.unit and a.is_number:
        if a.unit is None or b.unit is None or not a.unit.same_dimension(b.unit):
            c.report(UnitsDiffer.at(ref.span, f"column `{x.name}` has {shown(b.unit)} in `{ref}`, and {shown(a.unit)} before", why="columns of a union meet by name",
                                    fix="convert or rename one of them with `derive`"))  # fmt: skip
            return None
        if a.unit.is_point and b.unit.is_point:
            factor, offset = units.affine(b.unit, a.unit)
        else:
            factor, offset = float(units.factor(b.unit, a.unit)), 0.0
        if (factor, offset) != (1.0, 0.0):
            mapped.append((x.name, factor, offset))
    store = (
        a.store
        if a.store == b.store and not any(n == x.name for n, _, _ in mapped)
        else ("i64" if a.is_integer and b.is_integer else "f64")
    )
    if not a.is_number:
        store = a.store
    labels = tuple(dict.fromkeys((*a.labels, *b.labels))) if a.labels and b.labels else None
    return Column(x.name, Type(store, a.unit, a.shape, labels, max(a.delay_s, b.delay_s)))
