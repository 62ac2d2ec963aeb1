"""The type rule of a function or an aggregate, asked for the values that a call gives it."""

from collections.abc import Sequence

from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Cast, Expr
from flowedge.graph.place import Place
from flowedge.graph.refusals import refuse
from flowedge.lang import tree as t
from flowedge.operators.contract import Aggregate, Context, Function, Operator, Refused
from flowedge.types.schema import F64, Type


def type_rule(c: Checker, made: Function | Aggregate, args: list[Expr], context: Context, tree: t.Call,
              taken: Sequence[t.Tree], rest: Sequence[t.Argument], place: Place) -> tuple[list[Expr], Type] | None:  # fmt: skip
    """What the type rule says; conditions pass as numbers where numbers are wanted."""
    try:
        return args, made.out([a.type for a in args], context)
    except Refused as refused:
        verdict = refused
    if verdict.code == "FE302" and any(a.type.store == "bool" for a in args):
        cast = [Cast(a, F64) if a.type.store == "bool" else a for a in args]
        try:
            return cast, made.out([a.type for a in cast], context)
        except Refused:
            pass
    places: dict[str, t.Tree] = {str(n): a for n, a in enumerate(taken)}
    places |= _named(type(made), rest)
    refuse(c, verdict, tree, places, place.flow, tree.name.name)
    return None


def _named(cls: type[Operator], rest: Sequence[t.Argument]) -> dict[str, t.Tree]:
    """Arguments by the parameter that they are for."""
    free = [p.name for p in cls.parameters]
    out: dict[str, t.Tree] = {}
    for a in rest:
        if a.keyword is not None:
            out[a.keyword.name] = a
        elif free:
            out[next((n for n in free if n not in out), free[-1])] = a
    return out
