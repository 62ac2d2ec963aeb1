"""Event time of a source: a column, an expression, a text to parse, or counted by the rate."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

from flowedge.graph import constants as k
from flowedge.graph import quantities as q
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.catalog import Described
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Arithmetic, Cast, Const, Expr, Read, rebuilt
from flowedge.graph.names import Decl, Scope, unknown_column
from flowedge.graph.quantities import WrongType
from flowedge.graph.sources.draft import ColumnNotInFile, Draft, raw_place
from flowedge.graph.values import infer
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.schema import F64, I64, TEXT, TIME, Column


class NoTime(Rule):
    """Every row has an event time: a column, an expression, or the rate counts it.

    Wrong::

        source s (v: f64) from arrow("in.arrow")
        sink s to console

    Right::

        source s (v: f64) from arrow("in.arrow") time always
        sink s to console
    """

    code = "FE414"


def event_time(c: Checker, tree: st.Source, clause: st.Clause | None, scope: Scope, d: Draft, described: Described | None, unknown: bool,
          rate: float | None, decl: Decl, *, at_most: bool, received: str = "") -> None:  # fmt: skip
    """Where the event time comes from; `received`: the raw field that says when a row came."""
    listed = next((x for x in tree.columns or () if x.name.name == "time"), None)
    expr = clause.exprs[0] if clause is not None else None
    if expr is None and listed is not None:
        expr = listed.expr
    if isinstance(expr, t.Name) and expr.name == "always" and "always" not in d.fields:
        d.always = True
        return
    if expr is None:
        name = "time" if listed is not None else described.time if described is not None else None
        if name is not None:
            if described is not None and name not in d.fields:
                c.report(ColumnNotInFile.at(listed.name.span if listed else tree.name.span, f"the file has no column `{name}`",
                                            fix=did_you_mean(name, d.fields) or "say where the time comes from: `time EXPR`"))  # fmt: skip
                d.broken.add("time")
                return
            d.fields.setdefault(name, TIME)
            _time_of(
                c,
                q.settle(Read(name, d.fields[name])),
                listed.name.span if listed else tree.name.span,
                d,
                decl,
            )
            return
        if rate is not None and not at_most:
            d.start_ns = (described.start_ns or 0) if described is not None else 0
            return
        if received:
            d.fields.setdefault(received, TIME)
            _time_of(c, q.settle(Read(received, d.fields[received])), tree.name.span, d, decl)
            return
        if not unknown:
            c.report(NoTime.at(tree.name.span, f"`{decl.name}` has no event time", why="windows, joins and order rest on it",
                               fix="add `time COLUMN`, a rate `at …`, or `time always` for a table"))  # fmt: skip
            d.broken.add("time")
        return
    if isinstance(expr, t.Text) and expr.value not in d.fields:
        d.start_ns = _instant(c, expr, rate is not None)
        return
    if isinstance(expr, t.Call) and expr.name.name == "parse":
        _parse(c, expr, scope, d, described, decl)
        return
    if described is None and isinstance(expr, t.Name) and expr.name not in d.fields:
        d.fields[expr.name] = TIME
    types = {x.name: x.type for x in d.columns}
    place = raw_place(d, scope, decl)
    fields = tuple(
        Column(
            x.name,
            replace(x.type, unit=x.type.unit or (types[x.name].unit if x.name in types else None)),
        )
        for x in place.flow.type.columns
    )
    known = {x.name for x in fields}
    later = tuple(
        Column(r.name, types[r.name])
        for r in d.raws
        if r.name not in known and r.name in types and r.raw is not None
    )
    place = replace(
        place,
        flow=replace(
            place.flow, type=replace(place.flow.type, columns=(*fields, *later)), wild=unknown
        ),
    )
    found = infer(c, expr, place)
    if found is None:
        d.broken.add("time")
        return
    _time_of(
        c,
        _renamed(
            q.settle(found),
            {r.name: r.raw for r in d.raws if r.raw is not None and r.name not in known},
        ),
        expr.span,
        d,
        decl,
    )


def _renamed(expr: Expr, raws: dict[str, str | None]) -> Expr:
    if isinstance(expr, Read) and raws.get(expr.name):
        return replace(expr, name=str(raws[expr.name]))
    return rebuilt(expr, lambda e: _renamed(e, raws))


def _time_of(c: Checker, found: Expr, span: Span, d: Draft, decl: Decl) -> None:
    """An expression as int64 ns: a time as it is, a text read as ISO 8601, a number by its unit."""
    type_ = found.type
    if type_.store == "time":
        d.time = found
        return
    if type_.store == "string" and isinstance(found, Read):
        d.time, d.parse = found, ("iso", "UTC")
        return
    if not type_.is_number or type_.shape:
        c.report(
            WrongType.at(
                span,
                f"a time is wanted, this is {type_}",
                fix="give a timestamp, a text, or a number with a unit of time",
            )
        )
        d.broken.add("time")
        return
    if type_.unit is None or not type_.unit.same_dimension(units.SECOND):
        if type_.unit is None:
            c.report(q.BareNumber.at(span, f"the time of `{decl.name}` is a number without a unit", why="seconds and milliseconds would look the same",
                                     fix="declare the column with its unit, for example `t: f64 [s]`, or write `t * 1 ms`"))  # fmt: skip
        else:
            c.report(
                q.UnitUnfit.at(
                    span,
                    f"the time of `{decl.name}` is in {q.shown(type_.unit)}",
                    fix="give a time, or a duration since 1970",
                )
            )
        d.broken.add("time")
        return
    factor = units.factor(type_.unit, units.SECOND) * 10**9
    d.time = Cast(_in_ns(found, factor), TIME)


def _in_ns(found: Expr, factor: Fraction) -> Expr:
    """A number of time in ns; whole numbers stay whole, so that nothing is rounded."""
    if (
        isinstance(found, Arithmetic)
        and isinstance(found.left, Read)
        and found.left.type.is_integer
        and isinstance(found.right, Const)
    ):
        constant = Fraction(repr(float(found.right.value or 0)))
        if found.op == "*" and (constant * factor).denominator == 1:
            return Arithmetic("*", found.left, Const(int(constant * factor), I64), I64)
        if found.op == "/" and constant and (factor / constant).denominator == 1:
            return Arithmetic("*", found.left, Const(int(factor / constant), I64), I64)
    if found.type.is_integer and factor.denominator == 1:
        return Arithmetic("*", found, Const(int(factor), I64), I64) if factor != 1 else found
    return Arithmetic("*", found, Const(float(factor), F64), F64)


def _instant(c: Checker, text: t.Text, counted: bool) -> int:
    """The first instant of a signal whose times are counted."""
    try:
        found = datetime.fromisoformat(text.value)
    except ValueError:
        c.report(
            WrongType.at(
                text.span,
                f'"{text.value}" is no instant',
                fix='write ISO 8601, for example `"2024-05-01T00:00:00Z"`',
            )
        )
        return 0
    if not counted:
        c.report(
            NoTime.at(
                text.span,
                "one instant for all rows",
                why="only a rate can count on from it",
                fix="add `at RATE`, or name a column",
            )
        )
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    delta = found - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def _parse(
    c: Checker, call: t.Call, scope: Scope, d: Draft, described: Described | None, decl: Decl
) -> None:
    """``parse(column, format, zone)``."""
    args = [a.value for a in call.arguments]
    if not 1 <= len(args) <= 3 or not isinstance(args[0], t.Name):
        c.report(
            WrongArguments.at(
                call.span,
                "`parse` takes a column, a format and a zone",
                fix='write `parse(date, "%Y-%m-%d %H:%M:%S", "Europe/Brussels")`',
            )
        )
        d.broken.add("time")
        return
    name = args[0].name
    raw = next((r.raw for r in d.raws if r.name == name and r.raw is not None), name)
    if described is None:
        d.fields.setdefault(raw, TEXT)
    if raw not in d.fields:
        c.report(unknown_column(args[0].span, name, decl.name, d.fields))
        d.broken.add("time")
        return
    place = k.place_of(scope)
    form = k.text(c, args[1], place, "a format") if len(args) > 1 else "iso"
    zone = k.zone(c, args[2], place) if len(args) > 2 else "UTC"
    if d.fields[raw].store != "string":
        if d.fields[raw].store == "time":
            d.time = Read(raw, TIME)
            return
        c.report(
            WrongType.at(
                args[0].span,
                f"`parse` reads a text, `{name}` is {d.fields[raw]}",
                fix="declare the column as `string`",
            )
        )
        d.broken.add("time")
        return
    d.time = Read(raw, TEXT)
    if form is None or zone is None:
        d.broken.add("time")
        return
    d.parse = (form, zone)
