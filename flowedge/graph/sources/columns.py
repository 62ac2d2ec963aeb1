"""Columns and keys of a source: as its schema declares them, or as the file tells."""

from dataclasses import replace

from flowedge.graph import nodes as g
from flowedge.graph import quantities as q
from flowedge.graph.catalog import Described
from flowedge.graph.checker import Checker
from flowedge.graph.columns import column_type
from flowedge.graph.expressions import Cast, Read, taken_apart
from flowedge.graph.names import Decl, DeclaredTwice, Scope, unknown_column
from flowedge.graph.quantities import WrongType
from flowedge.graph.reserved import ReservedColumn, is_hidden
from flowedge.graph.sources.draft import ColumnNotInFile, Draft, raw_place
from flowedge.graph.stages.rows import FloatKey
from flowedge.graph.units import unit
from flowedge.graph.values import infer
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import did_you_mean
from flowedge.lang.span import Span
from flowedge.types.schema import TEXT, Column, Type


def declared_columns(c: Checker, tree: st.Source, scope: Scope, d: Draft, captures: tuple[str, ...], described: Described | None,
              unknown: bool, decl: Decl) -> None:  # fmt: skip
    """Columns and keys as the schema declares them."""
    seen: dict[str, st.Column] = {}
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


def _raw_column(c: Checker, column: st.Column, type_: Type, scope: Scope, d: Draft, captures: tuple[str, ...],
                described: Described | None, unknown: bool, decl: Decl) -> g.RawColumn | None:  # fmt: skip
    """Where one declared column comes from."""
    name = column.name.name
    if column.expr is None:
        if name in captures:
            d.fields[name] = (
                type_  # the connector reads it out of the path, and says where it does not fit
            )
            return g.RawColumn(name, None, name)
        return _from_field(c, name, column.name.span, name, type_, d, described)
    if isinstance(column.expr, t.Text):
        return _from_field(c, name, column.expr.span, column.expr.value, type_, d, described)
    if (
        isinstance(column.expr, t.Name)
        and (column.expr.name in d.fields or described is None)
        and column.expr.name not in scope.module.of(st.Param)
    ):
        return _from_field(c, name, column.expr.span, column.expr.name, type_, d, described)
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
    if (long := taken_apart(expr)) is not None:
        c.not_yet(column.expr.span, f"an expression of `{long.name}`, which has {long.type.size} values,",
                  fix="take the field as it is; a model can be given it")  # fmt: skip
        return None
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
    # A flag or a time may be kept as a whole number.
    if _kind(told) != _kind(type_) and not (told.is_integer and type_.store in ("bool", "time")):
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


def described_columns(d: Draft, described: Described, time: st.Clause | None) -> None:
    """All columns of a self-describing source, the time apart."""
    used = described.time
    if time is not None and isinstance(time.exprs[0], t.Name):
        used = time.exprs[0].name
    for name, type_ in described.columns:
        if name not in (used, "time"):
            d.columns.append(Column(name, type_))
            d.raws.append(g.RawColumn(name, None, name))


def key_clause(c: Checker, clause: st.Clause | None, d: Draft, wild: bool, decl: Decl) -> None:
    """``key a, b``: columns that are keys."""
    for ident in clause.names if clause is not None else ():
        at = next((n for n, x in enumerate(d.columns) if x.name == ident.name), None)
        if at is None:
            if any(x.name == ident.name for x in d.keys):
                continue
            if wild:
                d.keys.append(Column(ident.name, TEXT))
            elif ident.name not in d.broken:
                known = [x.name for x in d.columns]
                c.report(unknown_column(ident.span, ident.name, decl.name, known))
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


def unit_clauses(c: Checker, tree: st.Source, d: Draft, decl: Decl, wild: bool) -> None:
    """``unit a [mV], …``: units of columns that have none."""
    for clause in tree.clauses:
        if clause.word != "unit":
            continue
        for ident, text in zip(clause.names, clause.units, strict=True):
            found = unit(c, text.value, text.span)
            at = next((n for n, x in enumerate(d.columns) if x.name == ident.name), None)
            if at is None:
                if not wild and ident.name not in d.broken:
                    known = [x.name for x in d.columns]
                    c.report(unknown_column(ident.span, ident.name, decl.name, known))
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
