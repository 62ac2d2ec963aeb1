"""Sources: from the statement to a node that says what is read, when it happened, and how long to wait."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph import quantities as q
from flowedge.graph.calls import WrongArguments
from flowedge.graph.catalog import CatalogError, Described
from flowedge.graph.checker import WILD, Checker, Flow
from flowedge.graph.columns import column_type
from flowedge.graph.connectors import Opened, SourceUnreadable, opened
from flowedge.graph.expressions import Arithmetic, Cast, Const, Expr, Read, reads
from flowedge.graph.names import Decl, DeclaredTwice, Scope, UnknownName
from flowedge.graph.quantities import WrongType
from flowedge.graph.stages.common import ReservedColumn, is_hidden, rebuilt
from flowedge.graph.stages.rows import FloatKey
from flowedge.graph.strings import placeholders, resolve
from flowedge.graph.values import Place, infer, unit
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.tree import Span
from flowedge.types import units
from flowedge.types.schema import F64, I64, TEXT, TIME, Column, Stream, Type


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


class RateDiffers(Rule):
    """The file says another rate than the pipeline.

    Wrong::

        source s (v: f64) at 100 Hz from arrow("rate250.arrow")
        sink s to console

    Right::

        source s (v: f64) at 250 Hz from arrow("rate250.arrow")
        sink s to console
    """

    code = "FE415"


class OnlyForSignals(Rule):
    """`gaps` and `jitter` speak of missing and shifted samples, so they need a rate.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow") gaps hold
        sink s to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow") gaps hold
        sink s to console
    """

    code = "FE416"


class BadRate(Rule):
    """A sample rate is a positive frequency.

    Wrong::

        source s (time, v: f64) at 0 Hz from arrow("in.arrow")
        sink s to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s to console
    """

    code = "FE401"


class UnknownWord(Rule):
    """A clause knows a few words only.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow") gaps fill
        sink s to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow") gaps hold
        sink s to console
    """

    code = "FE217"


class LiveKeysUnbounded(Rule):
    """Keys of a live source keep their state for ever, unless something bounds them.

    Wrong::

        source s (time, device: key, v: f64) from feed("x")
        sink s to console

    Right::

        source s (time, device: key, v: f64) from feed("x") expire key after 1 h
        sink s to console
    """

    code = "FE505"
    severity = "warning"


class ColumnNotInFile(Rule):
    """A declared column that the file does not have, or has with another kind of value.

    Wrong::

        source s (time, w: f64) from arrow("typed.arrow")
        sink s to console

    Right::

        source s (time, v: f64) from arrow("typed.arrow")
        sink s to console
    """

    code = "FE709"


@dataclass
class Draft:
    """A source as it takes shape."""

    columns: list[Column] = field(default_factory=list)
    raws: list[g.RawColumn] = field(default_factory=list)
    keys: list[Column] = field(default_factory=list)
    key_raws: list[g.RawColumn] = field(default_factory=list)
    fields: dict[str, Type] = field(default_factory=dict)
    time: Expr | None = None
    parse: tuple[str, str] | None = None
    always: bool = False
    start_ns: int = 0
    has_time: bool = False
    broken: set[str] = field(default_factory=set)
    rest: dict[str, Any] = field(default_factory=dict)
    converts: bool = False
    """The connector reads text, and gives each field the type that is declared."""


GAPS = ("reset", "hold", "linear", "nan")
DUPLICATES = ("keep", "first", "last")
ON_ERROR = ("stop", "skip", "quarantine")
YEAR = Fraction(365 * 86400)


def source(c: Checker, decl: Decl) -> Flow:
    """The flow of a declared source."""
    tree = decl.tree
    assert isinstance(tree, t.Source)
    scope = Scope(decl.module)
    d = Draft()
    clauses = {x.word: x for x in tree.clauses}
    for n, clause in enumerate(tree.clauses):
        first = next(x for x in tree.clauses if x.word == clause.word)
        if first is not clause and clause.word != "unit" and n:
            c.report(
                DeclaredTwice.at(
                    clause.span,
                    f"`{clause.word.replace('_', ' ')}` is said twice",
                    others=[(first.span, "first here")],
                    fix="leave one away",
                )
            )
    key_names = _key_names(tree)
    rate = _rate(c, tree, scope)
    opening = opened(c, tree.connector, scope, "source", key_names)
    d.converts = opening is not None and opening.info is not None and opening.info.converts
    described, unknown = _described(c, tree, opening)
    if described is not None:
        d.fields.update(dict(described.columns))
    captures = tuple(n for n in placeholders(opening.address) if n in key_names) if opening else ()
    for name in captures:
        d.fields.setdefault(name, TEXT)
    wild = tree.columns is None and described is None
    _declared(c, tree, scope, d, captures, described, unknown, decl)
    if tree.columns is None and described is not None:
        _described_columns(d, described, clauses.get("time"))
    _key_clause(c, clauses.get("key"), d, wild, decl)
    _units(c, tree, d, decl, wild)
    rate_hz, rate_at = _settled_rate(c, tree, rate, described, d, decl, clauses)
    _time(
        c,
        tree,
        clauses.get("time"),
        scope,
        d,
        described,
        unknown or wild,
        rate_hz,
        decl,
        at_most=tree.at_most,
    )
    is_signal = rate_hz is not None and not tree.at_most
    live = bool(opening and opening.info and opening.info.is_live)
    _clauses(c, clauses, scope, d, is_signal, live, tree)
    out = Stream(columns=tuple(d.columns), keys=tuple(d.keys), shape="signal" if is_signal else "rows", rate_hz=rate_hz, has_time=not d.always,
                 in_order=not (d.rest.get("late_per_key") and d.keys), wait_s=_wait(d), is_live=live)  # fmt: skip
    if live and d.keys and "expire_s" not in d.rest and "max_keys" not in d.rest:
        c.report(LiveKeysUnbounded.at(tree.name.span, f"the keys of the live source `{decl.name}` have no bound", why="each key keeps its state for ever",
                                      fix="add `expire key after 1 h`, or `max keys 100000`"))  # fmt: skip
    per_key = clauses["late"].span if d.rest.get("late_per_key") else None
    node = -1
    if (
        opening is not None
        and opening.runs
        and not wild
        and not d.broken
        and (described is not None or not unknown)
    ):
        needed = _needed(d)
        node = c.put(g.Source, (), out, name=decl.name, label=f"source {tree.connector.name}", span=tree.name.span, connector=opening.name,
                     address=opening.address, options=opening.options, raw=tuple((n, ty) for n, ty in d.fields.items() if n in needed),
                     columns=tuple(d.raws), keys=tuple(d.key_raws), captures=captures, time=d.time, parse=d.parse, always=d.always,
                     start_ns=d.start_ns, **d.rest)  # fmt: skip
    return Flow(node, out if not wild else replace(WILD, has_time=out.has_time, shape=out.shape, rate_hz=out.rate_hz, is_live=live, keys=out.keys),
                decl.name, frozenset(d.broken), wild, per_key, rate_at=rate_at)  # fmt: skip


def _needed(d: Draft) -> set[str]:
    """Raw fields that some column, key or the time reads."""
    found: set[str] = set()
    for raw in (*d.raws, *d.key_raws):
        found |= set(reads(raw.expr)) if raw.expr is not None else {raw.raw or raw.name}
    if d.time is not None:
        found |= reads(d.time)
    return found


def _wait(d: Draft) -> float:
    wait = float(d.rest.get("late_s", 0.0))
    if d.rest.get("gaps") == "linear":
        wait += float(d.rest.get("gaps_up_to_s") or 0.0)
    return wait


def _key_names(tree: t.Source) -> tuple[str, ...]:
    declared = [x.name.name for x in tree.columns or () if x.type is not None and x.type.is_key]
    listed = [n.name for x in tree.clauses if x.word == "key" for n in x.names]
    return (*declared, *listed)


def _rate(c: Checker, tree: t.Source, scope: Scope) -> Fraction | None:
    if tree.rate is None:
        return None
    found = k.frequency(c, tree.rate, k.place_of(scope), "a rate")
    if found is not None and found <= 0:
        c.report(
            BadRate.at(
                tree.rate.span,
                f"a rate of {float(found):g} Hz",
                why="samples follow each other",
                fix="give a positive rate such as `100 Hz`",
            )
        )
        return None
    return found


def _settled_rate(c: Checker, tree: t.Source, rate: Fraction | None, described: Described | None, d: Draft, decl: Decl,
                  clauses: dict[str, t.Clause]) -> tuple[float | None, Span | None]:  # fmt: skip
    """The rate of the signal, from the text or from the file."""
    told = described.rate_hz if described is not None else None
    if rate is not None and tree.rate is not None:
        if told and abs(float(rate) - told) > 0.01 * told and not tree.at_most:
            c.report(RateDiffers.at(tree.rate.span, f"`{decl.name}` is declared at {float(rate):g} Hz, the file says {told:g} Hz",
                                    why="times and cut-offs would be off by as much", fix=f"write `at {told:g} Hz`"))  # fmt: skip
        return float(rate), tree.rate.span
    has_time = (
        "time" in clauses
        or any(x.name.name == "time" for x in tree.columns or ())
        or (described is not None and described.time is not None)
    )
    if tree.rate is None and told and not has_time:
        return told, tree.connector.span
    return None, None


def _described(c: Checker, tree: t.Source, opening: Opened | None) -> tuple[Described | None, bool]:
    """What the file says; the flag tells that it should say, and could not."""
    if opening is None or not opening.runs:
        return None, True
    try:
        found = c.catalog.schema(opening.name, opening.address, opening.options)
    except CatalogError as error:
        c.report(SourceUnreadable.at(tree.connector.span, error.message, fix=error.fix))
        return None, True
    if found is None and tree.columns is None:
        c.report(SourceUnreadable.at(tree.connector.span, f"`{tree.connector.name}` cannot say which columns it has", why="nothing here describes them",
                                     fix="declare them: `source name (time, v: f64) from …`"))  # fmt: skip
        return None, True
    return found, False


def _declared(c: Checker, tree: t.Source, scope: Scope, d: Draft, captures: tuple[str, ...], described: Described | None,
              unknown: bool, decl: Decl) -> None:  # fmt: skip
    """Columns and keys as the schema declares them."""
    seen: dict[str, t.Column] = {}
    for column in tree.columns or ():
        name = column.name.name
        if name in seen:
            c.report(
                DeclaredTwice.at(
                    column.name.span,
                    f"column `{name}` is declared twice",
                    others=[(seen[name].name.span, "first here")],
                    fix="rename one of them",
                )
            )
            continue
        seen[name] = column
        if name == "time" and (column.type is None or not column.type.is_key):
            if column.expr is not None:
                c.report(ReservedColumn.at(column.span, "`time` is the event time, not a column", why="it is there in every stream",
                                           fix=f"write the clause `time {column.expr.span.source}`"))  # fmt: skip
                d.broken.add(name)
                continue
            told = None if column.type is None else column_type(c, column)
            if told is not None and (described is None or d.converts or name not in d.fields):
                d.fields[name] = told
            continue
        if is_hidden(name):
            c.report(
                ReservedColumn.at(
                    column.name.span,
                    f"`{name}` is a name of the engine's own",
                    fix="choose another name",
                )
            )
            d.broken.add(name)
            continue
        type_ = column_type(c, column)
        is_key = column.type is not None and column.type.is_key
        if type_ is None:
            d.broken.add(name)
            continue
        if is_key and (type_.is_float or type_.shape):
            c.report(FloatKey.at(column.type.span if column.type else column.span, f"key `{name}` is {type_}", why="equal keys must be equal to the last bit",
                                 fix="declare it as a whole number or a text"))  # fmt: skip
            d.broken.add(name)
            continue
        raw = _raw_column(c, column, type_, scope, d, captures, described, unknown, decl)
        if raw is None:
            d.broken.add(name)
        (d.keys if is_key else d.columns).append(Column(name, type_))
        if raw is not None:
            (d.key_raws if is_key else d.raws).append(raw)


def _raw_column(c: Checker, column: t.Column, type_: Type, scope: Scope, d: Draft, captures: tuple[str, ...],
                described: Described | None, unknown: bool, decl: Decl) -> g.RawColumn | None:  # fmt: skip
    """Where one declared column comes from."""
    name = column.name.name
    if column.expr is None:
        if name in captures:
            return g.RawColumn(
                name, None if type_.store == "string" else Cast(Read(name, TEXT), type_), name
            )
        return _from_field(c, name, column.name.span, name, type_, d, described, decl)
    if isinstance(column.expr, t.Text):
        return _from_field(c, name, column.expr.span, column.expr.value, type_, d, described, decl)
    if (
        isinstance(column.expr, t.Name)
        and (column.expr.name in d.fields or described is None)
        and column.expr.name not in scope.module.of(t.Param)
    ):
        return _from_field(c, name, column.expr.span, column.expr.name, type_, d, described, decl)
    if described is None:
        if not unknown:
            c.report(ColumnNotInFile.at(column.expr.span, f"the raw fields of `{decl.name}` are not known", why="the connector cannot say them",
                                        fix="name a field alone, without an expression"))  # fmt: skip
        return None
    found = infer(c, column.expr, raw_place(d, scope, decl))
    if found is None:
        return None
    target = type_.unit
    if target is not None and q.unit_of(found) is not None:
        both = q.align(
            c,
            Read(name, type_),
            found,
            (column.name.span, column.expr.span),
            f"column `{name}`",
            compares=True,
        )
        if both is None:
            return None
        found = q.convert(both[1], target)
    expr = q.settle(found)
    if expr.type.shape != type_.shape:
        c.report(q.LengthsDiffer.at(column.expr.span, f"`{name}` is declared with {type_.size} values, this has {expr.type.size}",
                                    others=[(column.name.span, "declared here")], fix="declare the shape that the field has"))  # fmt: skip
        return None
    kinds = (_kind(expr.type), _kind(type_))
    if kinds[0] != kinds[1]:
        c.report(WrongType.at(column.expr.span, f"`{name}` is declared as {type_}, this is {expr.type}", others=[(column.name.span, "declared here")],
                              fix=f"declare it as {expr.type.store}"))  # fmt: skip
        return None
    return g.RawColumn(name, expr if expr.type == type_ else Cast(expr, type_), None)


def raw_place(d: Draft, scope: Scope, decl: Decl) -> Place:
    """Where expressions over raw fields stand."""
    fields = Stream(columns=tuple(Column(n, ty) for n, ty in d.fields.items()), has_time=False)
    return Place(Flow(-1, fields, decl.name), scope, raw=True)


def _kind(type_: Type) -> str:
    return "number" if type_.is_number else type_.store


def _from_field(
    c: Checker,
    name: str,
    span: Span,
    raw: str,
    type_: Type,
    d: Draft,
    described: Described | None,
    decl: Decl,
) -> g.RawColumn | None:
    """A column that is one raw field."""
    told = d.fields.get(raw)
    if described is None:
        d.fields[raw] = replace(type_, unit=None)
        return g.RawColumn(name, None, raw)
    if told is None:
        by_case = {f.lower(): f for f in d.fields}
        if raw.lower() in by_case:
            raw = by_case[raw.lower()]
            told = d.fields[raw]
        else:
            c.report(
                ColumnNotInFile.at(
                    span, f"the file has no column `{raw}`", fix=did_you_mean(raw, d.fields)
                )
            )
            return None
    if d.converts:
        told = replace(type_, unit=told.unit)
        d.fields[raw] = told
    if (
        _kind(told) != _kind(type_)
        and "string" not in (told.store, type_.store)
        and not (told.is_integer and type_.store in ("bool", "time"))
    ):
        c.report(
            ColumnNotInFile.at(
                span,
                f"`{raw}` is declared as {type_}, the file has {told}",
                fix=f"declare it as {told.store}",
            )
        )
        return None
    if (told.store == "string" and type_.store != "string") or (
        type_.store == "string" and told.store != "string"
    ):
        c.report(
            ColumnNotInFile.at(
                span,
                f"`{raw}` is declared as {type_}, the file has {told}",
                fix=f"declare it as {told.store}",
            )
        )
        return None
    if told.shape != type_.shape:
        c.report(
            q.LengthsDiffer.at(
                span,
                f"`{raw}` is declared as {type_}, the file has {told}",
                fix="declare the shape that the file has",
            )
        )
        return None
    if told.unit is not None and type_.unit is not None and told.unit != type_.unit:
        if not told.unit.same_dimension(type_.unit):
            c.report(
                q.UnitsDiffer.at(
                    span,
                    f"`{raw}` is declared in {q.shown(type_.unit)}, the file has {q.shown(told.unit)}",
                    fix=f"declare it in {q.shown(told.unit)}",
                )
            )
            return None
        changed = q.settle(q.convert(Read(raw, told), type_.unit))
        return g.RawColumn(name, Cast(changed, type_), None)
    if told.store != type_.store and not (told.is_number and type_.is_number):
        return g.RawColumn(name, Cast(Read(raw, told), type_), None)
    return g.RawColumn(name, None, raw)


def _described_columns(d: Draft, described: Described, time: t.Clause | None) -> None:
    """All columns of a self-describing source, the time apart."""
    used = described.time
    if time is not None and isinstance(time.exprs[0], t.Name):
        used = time.exprs[0].name
    for name, type_ in described.columns:
        if name not in (used, "time"):
            d.columns.append(Column(name, type_))
            d.raws.append(g.RawColumn(name, None, name))


def _key_clause(c: Checker, clause: t.Clause | None, d: Draft, wild: bool, decl: Decl) -> None:
    """``key a, b``: columns that are keys."""
    for ident in clause.names if clause is not None else ():
        at = next((n for n, x in enumerate(d.columns) if x.name == ident.name), None)
        if at is None:
            if any(x.name == ident.name for x in d.keys):
                continue
            if wild:
                d.keys.append(Column(ident.name, TEXT))
            elif ident.name not in d.broken:
                c.report(
                    UnknownName.at(
                        ident.span,
                        f"unknown column `{ident}` in `{decl.name}`",
                        fix=did_you_mean(ident.name, [x.name for x in d.columns]),
                    )
                )
                d.broken.add(ident.name)
            continue
        column = d.columns[at]
        if column.type.is_float or column.type.shape:
            c.report(
                FloatKey.at(
                    ident.span,
                    f"`{ident}` is {column.type} and no key",
                    why="equal keys must be equal to the last bit",
                    fix="take a whole number or a text",
                )
            )
            d.broken.add(ident.name)
            continue
        d.keys.append(d.columns.pop(at))
        d.key_raws += [r for r in d.raws if r.name == ident.name]
        d.raws = [r for r in d.raws if r.name != ident.name]


def _units(c: Checker, tree: t.Source, d: Draft, decl: Decl, wild: bool) -> None:
    """``unit a [mV], …``: units of columns that have none."""
    for clause in tree.clauses:
        if clause.word != "unit":
            continue
        for ident, text in zip(clause.names, clause.units, strict=True):
            found = unit(c, text.value, text.span)
            at = next((n for n, x in enumerate(d.columns) if x.name == ident.name), None)
            if at is None:
                if not wild and ident.name not in d.broken:
                    c.report(
                        UnknownName.at(
                            ident.span,
                            f"unknown column `{ident}` in `{decl.name}`",
                            fix=did_you_mean(ident.name, [x.name for x in d.columns]),
                        )
                    )
                continue
            column = d.columns[at]
            if found is None:
                d.broken.add(ident.name)
            elif not column.type.is_number:
                c.report(
                    WrongType.at(
                        ident.span,
                        f"a unit on `{ident}`, which is {column.type}",
                        fix="units belong to numbers",
                    )
                )
            elif column.type.unit is not None and column.type.unit != found:
                c.report(
                    q.UnitsDiffer.at(
                        text.span,
                        f"`{ident}` is in {q.shown(column.type.unit)} already",
                        fix="leave the unit away",
                    )
                )
            else:
                d.columns[at] = Column(column.name, replace(column.type, unit=found))


def _time(c: Checker, tree: t.Source, clause: t.Clause | None, scope: Scope, d: Draft, described: Described | None, unknown: bool,
          rate: float | None, decl: Decl, *, at_most: bool) -> None:  # fmt: skip
    """Where the event time comes from."""
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
        c.report(
            UnknownName.at(
                args[0].span,
                f"unknown column `{name}` in `{decl.name}`",
                fix=did_you_mean(name, d.fields),
            )
        )
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


def _clauses(
    c: Checker,
    clauses: dict[str, t.Clause],
    scope: Scope,
    d: Draft,
    is_signal: bool,
    live: bool,
    tree: t.Source,
) -> None:
    """All that is said about lateness, gaps, errors and memory."""
    place = k.place_of(scope)
    rest = d.rest
    rest["duplicates"] = "first" if is_signal else "keep"
    if live:
        rest["ahead_s"] = 60.0

    def seconds(word: str, name: str, what: str, *, positive: bool = True) -> None:
        if word in clauses:
            found = k.duration(c, clauses[word].exprs[0], place, what, positive=positive)
            if found is None:
                d.broken.add("time")
            else:
                rest[name] = float(found)

    def word_of(word: str, name: str, known: tuple[str, ...]) -> None:
        if word in clauses:
            ident = clauses[word].names[0]
            if ident.name not in known:
                c.report(
                    UnknownWord.at(
                        ident.span,
                        f"unknown word `{ident}` behind `{word.replace('_', ' ')}`",
                        fix=did_you_mean(ident.name, known),
                    )
                )
            else:
                rest[name] = ident.name

    seconds("late", "late_s", "a lateness", positive=False)
    if "late" in clauses:
        rest["late_per_key"] = clauses["late"].flag
        if clauses["late"].flag and not d.keys:
            c.report(
                UnknownName.at(
                    clauses["late"].span,
                    "`per key` on a source without keys",
                    fix="declare a key, or leave `per key` away",
                )
            )
    seconds("ahead", "ahead_s", "how far ahead a row may be")
    seconds("on_silence", "silence_s", "a silence")
    seconds("idle", "idle_s", "how long a source may be idle")
    seconds("expire", "expire_s", "how long a key lives")
    word_of("duplicates", "duplicates", DUPLICATES)
    word_of("gaps", "gaps", GAPS)
    word_of("on_error", "on_error", ON_ERROR)
    for word in ("gaps", "jitter"):
        if (
            word in clauses
            and not is_signal
            and (tree.rate is not None or tree.columns is not None)
        ):
            c.report(OnlyForSignals.at(clauses[word].span, f"`{word}` on a source without a rate", why="only a rate says when the next sample is due",
                                       fix="add `at RATE` to the source"))  # fmt: skip
    if "gaps" in clauses and clauses["gaps"].exprs:
        found = k.duration(
            c, clauses["gaps"].exprs[0], place, "the longest gap to fill", positive=True
        )
        rest["gaps_up_to_s"] = None if found is None else float(found)
    if "jitter" in clauses:
        part = k.number(c, clauses["jitter"].exprs[0], place, "a jitter")
        if part is not None and not 0 <= part <= Fraction(1, 2):
            c.report(
                k.ValueOutOfRange.at(
                    clauses["jitter"].exprs[0].span,
                    f"a jitter of {float(part) * 100:g} percent",
                    fix="give 0 to 50 percent of the sample period",
                )
            )
        elif part is not None:
            rest["jitter"] = float(part)
    if "order_time" in clauses:
        rest["sort_first"] = True
        if live:
            c.report(
                k.ValueOutOfRange.at(
                    clauses["order_time"].span,
                    "`order time` on a live source",
                    why="it never ends, so it cannot be sorted",
                    fix="say `late D` instead",
                )
            )
    if "max_keys" in clauses:
        rest["max_keys"] = clauses["max_keys"].number
    if "on_error" in clauses and rest.get("on_error") == "quarantine":
        if not clauses["on_error"].texts:
            c.report(
                UnknownWord.at(
                    clauses["on_error"].span,
                    "`quarantine` lacks the file that bad rows go to",
                    fix='write `on error quarantine "bad.arrow"`',
                )
            )
        else:
            rest["quarantine"] = resolve(c, clauses["on_error"].texts[0], scope)
