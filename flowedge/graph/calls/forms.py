"""Forms that the language itself knows: `if`, `missing`, `prev` and `lead`."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from flowedge.graph import constants as k
from flowedge.graph import quantities as q
from flowedge.graph.calls.arguments import unfold, wrong
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import (
    Choose,
    Const,
    Expr,
    IsMissing,
    Lead,
    Previous,
    Read,
    is_stateful,
)
from flowedge.graph.place import Place
from flowedge.graph.quantities import Exact, Value, WrongType
from flowedge.graph.values import condition, infer
from flowedge.lang import tree as t
from flowedge.lang.span import Span
from flowedge.types.schema import BOOL, F64, Type


def _arguments(
    c: Checker, tree: t.Call, names: tuple[str, ...], least: int
) -> Mapping[str, t.Value] | None:
    """Arguments by name; None: reported."""
    out: dict[str, t.Value] = {}
    for a in tree.arguments:
        free = [n for n in names if n not in out]
        key = a.keyword.name if a.keyword is not None else free[0] if free else ""
        if key not in free:
            wrong(
                c,
                a.span,
                f"`{tree.name.name}` takes {', '.join(names)}",
                f"it is written `{tree.name.name}({', '.join(names)})`",
            )
            return None
        out[key] = a.value
    if len(out) < least:
        wrong(
            c,
            tree.span,
            f"`{tree.name.name}` lacks `{names[len(out)]}`",
            f"it is written `{tree.name.name}({', '.join(names)})`",
        )
        return None
    return out


def _if(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("condition", "then", "otherwise"), 3)
    if args is None:
        return None
    test = condition(c, args["condition"], place)
    a, b = infer(c, args["then"], place), infer(c, args["otherwise"], place)
    if test is None or a is None or b is None:
        return None
    return choose(c, test, a, b, (args["then"].span, args["otherwise"].span), tree.span)


def choose(
    c: Checker, test: Expr, a: Value, b: Value, spans: tuple[Span, Span], span: Span
) -> Expr | None:
    """``if(test, a, b)`` once all are known."""
    kinds = [None if q.is_free(v) else _kind(v) for v in (a, b)]
    if None not in kinds and kinds[0] != kinds[1]:
        c.report(
            WrongType.at(
                spans[1],
                "the two sides of `if` are of different kinds",
                others=[(spans[0], "the other side")],
                fix="give both the same kind",
            )
        )
        return None
    both = (
        q.align(c, a, b, spans, "`if`", compares=True)
        if kinds[0] == kinds[1] == "number"
        else (a, b)
    )
    if both is None:
        return None
    shape = q.joint_shape(c, *both, span)
    if shape is None:
        return None
    x, y = both
    like_x = y.type if not isinstance(y, Exact) else None
    like_y = x.type if not isinstance(x, Exact) else None
    then, other = q.settle(x, like_x), q.settle(y, like_y)
    first = other if q.is_free(x) else then
    if first.type.is_number:
        whole = then.type.is_integer and other.type.is_integer
        type_ = Type("i64" if whole else "f64", q.unit_of(first), shape)
    else:
        labels = {
            v.value for v in (then, other) if isinstance(v, Const) and isinstance(v.value, str)
        }
        known = labels | set(then.type.labels or ()) | set(other.type.labels or ())
        told = all(isinstance(v, Const) or v.type.labels for v in (then, other))
        type_ = replace(
            first.type,
            labels=tuple(sorted(known))
            if told and known and first.type.store == "string"
            else None,
        )
    return Choose(test, then, other, replace(type_, delay_s=q.delay_of(then, other)))


def _kind(value: Value) -> str:
    return (
        "number"
        if q.is_number(value)
        else value.type.store
        if not isinstance(value, Exact)
        else "number"
    )


def _missing(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("x",), 1)
    found = None if args is None else infer(c, args["x"], place)
    if found is None:
        return None
    return Const(False, BOOL) if isinstance(found, Exact) else IsMissing(found, BOOL)


def _prev(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("x", "initial"), 1)
    if args is None:
        return None
    ref, _ = unfold(c, args["x"], place) if isinstance(args["x"], t.Name) else (args["x"], place)
    if not isinstance(ref, t.Name):
        c.report(WrongType.at(args["x"].span, "`prev` takes the name of a column", why="it is what the column was after the row before",
                              fix="name the value with `derive` first"))  # fmt: skip
        return None
    name = place.scope.column_name(t.Ident(name=ref.name, span=ref.span))
    initial = infer(c, args["initial"], place) if "initial" in args else Const(None, F64)
    if initial is None:
        return None
    if name in place.defining:
        first = place.defining[name] or (F64 if q.is_free(initial) else q.settle(initial).type)
        type_ = replace(
            first, store="f64" if first.is_number else first.store, labels=None, delay_s=0.0
        )
    else:
        column = infer(c, ref, place)
        if column is None or isinstance(column, Exact):
            return None
        type_ = column.type
    if not q.is_free(initial):
        like = Read(name, type_)
        if _kind(like) != _kind(initial):
            c.report(
                WrongType.at(
                    args["initial"].span,
                    f"the first value of `{name}` is of another kind",
                    fix=f"give a value of type {type_}",
                )
            )
            return None
        both = (
            q.align(c, like, initial, (ref.span, args["initial"].span), "`prev`", compares=True)
            if type_.is_number
            else (like, initial)
        )
        if both is None:
            return None
        initial = both[1]
    settled = q.settle(initial, type_)
    if isinstance(settled, Const) and settled.value is None:
        settled = Const(None, type_)
    return Previous(name, settled, type_)


def _lead(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("x", "n"), 1)
    if args is None:
        return None
    found = infer(c, args["x"], place)
    rows = k.whole(c, args["n"], place, "`n`") if "n" in args else 1
    if found is None or rows is None:
        return None
    if rows < 1:
        c.report(
            k.ValueOutOfRange.at(
                args["n"].span, f"`lead` by {rows} rows", fix="give 1 or more; `lag` looks back"
            )
        )
        return None
    held = q.settle(found)
    if is_stateful(held):
        c.not_yet(tree.span, "`lead` of a value with memory", "name the value with `derive` first")
        return None
    type_ = replace(held.type, store="f64") if held.type.is_number else held.type
    return Lead(held, rows, type_)


FORMS: dict[str, Callable[[Checker, t.Call, Place], Value | None]] = {
    "if": _if, "missing": _missing, "prev": _prev, "lead": _lead,
}  # fmt: skip
