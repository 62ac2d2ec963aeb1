"""Calls in expressions: what a name stands for, and the user's own functions read in place."""

from dataclasses import replace

from flowedge.graph.calls.aggregates import fold, rolling
from flowedge.graph.calls.arguments import wrong
from flowedge.graph.calls.forms import FORMS
from flowedge.graph.calls.functions import function
from flowedge.graph.calls.known import PLANNED, aggregates, functions, is_aggregate
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Read
from flowedge.graph.names import Bound, EndlessExpansion, Scope, UnknownCall
from flowedge.graph.place import DEEPEST, Place
from flowedge.graph.quantities import Exact, Value
from flowedge.graph.values import infer
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import did_you_mean
from flowedge.types.schema import F64


def call(c: Checker, tree: t.Call | t.Over, place: Place) -> Value | None:
    """The value of ``name(…)``, or of ``name(…) over extent``."""
    if isinstance(tree, t.Over):
        return rolling(c, tree, place)
    name = tree.name.name
    fn = c.lookup(place.scope.module, name, st.Fn)
    if fn is not None and isinstance(fn.tree, st.Fn):
        return _expand(c, tree, fn.tree, Scope(fn.module), place)
    if name in FORMS:
        return FORMS[name](c, tree, place)
    if is_aggregate(tree, place):
        return fold(c, tree, place)
    if name in functions():
        return function(c, tree, place)
    args = [infer(c, a.value, place) for a in tree.arguments if not isinstance(a.value, t.Range)]
    if name in PLANNED:
        c.not_yet(tree.name.span, f"`{name}`")
        type_ = PLANNED[name]
        if type_ is None or any(a is None for a in args):
            return None
        first = args[0] if args and not isinstance(args[0], Exact) else None
        kept = type_ if first is None or type_ is not F64 else replace(F64, unit=first.type.unit)
        return Read(c.hidden("later"), kept)
    known = {*functions(), *aggregates(), *FORMS, *place.scope.module.of(st.Fn)}
    c.report(
        UnknownCall.at(tree.name.span, f"unknown function `{name}`", fix=did_you_mean(name, known))
    )
    return None


def _expand(c: Checker, tree: t.Call, fn: st.Fn, home: Scope, place: Place) -> Value | None:
    """A user's function, its body read where the call stands."""
    name = fn.name.name
    if name in place.scope.via or len(place.scope.via) >= DEEPEST:
        why = "it would never end" if name in place.scope.via else ""
        c.report(EndlessExpansion.at(tree.name.span, f"`{name}` uses itself" if why else "definitions nested too deep", others=[(fn.name.span, "defined here")],
                                     why=why, fix="write its past with `prev`, or split it"))  # fmt: skip
        return None
    formals: dict[str, Bound] = {}
    names = [f.name for f in fn.formals]
    free = list(names)
    for argument in tree.arguments:
        key = argument.keyword.name if argument.keyword is not None else free[0] if free else None
        if key is None or key not in free:
            wrong(c, argument.span, f"`{name}` takes {len(names)} arguments: {', '.join(f'`{n}`' for n in names)}",
                  did_you_mean(key, free) if key else "leave it away")  # fmt: skip
            return None
        free.remove(key)
        formals[key] = Bound(argument.value, place.scope)
    if free:
        wrong(c, tree.span, f"`{name}` lacks `{free[0]}`", f"write `{name}({', '.join(names)})`")
        return None
    return infer(
        c, fn.body, replace(place, scope=Scope(home.module, formals, (*place.scope.via, name)))
    )
