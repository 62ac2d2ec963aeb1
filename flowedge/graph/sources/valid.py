"""What a source says of its values: which are valid, and what becomes of the others."""

from fractions import Fraction
from math import ceil, floor, inf

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph import quantities as q
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Read
from flowedge.graph.names import Decl, DeclaredTwice, Scope, unknown_column
from flowedge.graph.sources.draft import Draft
from flowedge.graph.sources.settings import UnknownWord
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.types.schema import Column, Type

POLICIES = ("reject", "null", "clamp")


class PolicyUnfit(Rule):
    """A row lives by its time and its key, so they are neither made up nor left out; a text has no nearest.

    Wrong::

        source s (time, device: key i32, v: f64) from arrow("in.arrow") valid device in 1 .. 8 else null
        sink s to console

    Right::

        source s (time, device: key i32, v: f64) from arrow("in.arrow") valid device in 1 .. 8 else reject
        sink s to console
    """

    code = "FE315"


def validity(
    c: Checker, tree: st.Source, scope: Scope, d: Draft, decl: Decl, *, wild: bool
) -> tuple[g.Valid, ...]:
    """All ``valid`` clauses of a source, bounds in the units of the columns."""
    seen: dict[str, st.Valid] = {}
    out = []
    types = {x.name: x.type for x in (*d.columns, *d.keys)}
    for rule in (r for x in tree.clauses for r in x.valid):
        name = rule.name.name
        if name in seen:
            c.report(DeclaredTwice.at(rule.name.span, f"what is valid of `{name}` is said twice",
                                      others=[(seen[name].name.span, "first here")], fix="leave one away"))  # fmt: skip
            continue
        seen[name] = rule
        if rule.policy.name not in POLICIES:
            c.report(UnknownWord.at(rule.policy.span, f"unknown word `{rule.policy}` behind `else`",
                                    fix=did_you_mean(rule.policy.name, POLICIES)))  # fmt: skip
            continue
        if name != "time" and name not in types:
            if not wild and name not in d.broken:
                c.report(unknown_column(rule.name.span, name, decl.name, ["time", *types]))
            continue
        type_ = types.get(name, Type("time"))
        if not _fits(c, rule, type_, is_key=name == "time" or name in {x.name for x in d.keys}):
            continue
        bounds = _bounds(c, rule, Column(name, type_), scope)
        if bounds is not None:
            out.append(g.Valid(name, rule.policy.name, *bounds))
    return tuple(out)


def _fits(c: Checker, rule: st.Valid, type_: Type, *, is_key: bool) -> bool:
    """Whether the policy and the range make sense for a column of this type."""
    name, policy = rule.name.name, rule.policy.name
    if is_key and policy != "reject":
        why = "a row without its time or key is none, and another one would be made up"
        c.report(PolicyUnfit.at(rule.policy.span, f"`{policy}` for `{name}`", why=why, fix="write `else reject`"))  # fmt: skip
        return False
    if policy == "clamp" and not type_.is_number:
        c.report(PolicyUnfit.at(rule.policy.span, f"`clamp` for `{name}`, which is {type_}",
                                why="only numbers have a nearest bound", fix="write `else null` or `else reject`"))  # fmt: skip
        return False
    if rule.low is not None and not type_.is_number:
        c.report(q.WrongType.at(rule.name.span, f"a range for `{name}`, which is {type_}", fix="leave the range away"))  # fmt: skip
        return False
    return True


def _bounds(
    c: Checker, rule: st.Valid, column: Column, scope: Scope
) -> tuple[float | None, float | None, str] | None:
    """Low and high in the column's unit (None: as far as its type goes), and how a message tells them."""
    if rule.low is None or rule.high is None:
        return None, None, ""
    found: list[Fraction | None] = []
    for tree in (rule.low, rule.high):
        endless = _endless(tree)
        if endless is not None and endless == (inf if tree is rule.high else -inf):
            found.append(None)
            continue
        exact = k.exact(c, tree, k.place_of(scope), "a bound")
        if exact is None:
            return None
        spans = (rule.name.span, tree.span)
        both = q.align(
            c, Read(column.name, column.type), exact, spans, f"`{column.name}`", compares=True
        )
        if both is None:
            return None
        value = both[1]
        if column.type.unit is not None and q.unit_of(value) not in (None, column.type.unit):
            value = q.convert(value, column.type.unit)
        assert isinstance(value, q.Exact)
        found.append(value.value)
    low, high = found
    if low is not None and high is not None and low >= high:
        c.report(k.ValueOutOfRange.at(rule.high.span, f"the range of `{column.name}` ends where it begins, or before",
                                      others=[(rule.low.span, "begins here")], fix="write the lower bound first"))  # fmt: skip
        return None
    unit = "" if column.type.unit is None else f" {column.type.unit}"
    told = [s if x is None else q.number_text(x) for x, s in ((low, "-inf"), (high, "inf"))]
    if column.type.is_integer:
        whole = (None if low is None else ceil(low), None if high is None else floor(high))
        return *whole, f"{told[0]} … {told[1]}{unit}"
    return (
        None if low is None else float(low),
        None if high is None else float(high),
        f"{told[0]} … {told[1]}{unit}",
    )


def _endless(tree: t.Expr) -> float | None:
    """An infinite bound, which says that there is none on this side."""
    if isinstance(tree, t.Constant) and tree.word == "inf":
        return inf
    if isinstance(tree, t.Negate) and _endless(tree.value) == inf:
        return -inf
    return None
