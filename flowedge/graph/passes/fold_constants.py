"""Compute now what depends on no row."""

import math

from flowedge.graph.expressions import (
    Arithmetic,
    Choose,
    Compare,
    Const,
    Expr,
    Logic,
    Negative,
    Not,
)
from flowedge.graph.nodes import Graph, Node, Where
from flowedge.graph.passes.rewrite import bottom_up, each_expr, redirected, with_nodes
from flowedge.types.schema import BOOL


def fold_constants(graph: Graph) -> Graph:
    """``x > 2 * 5`` becomes ``x > 10``, ``where true`` disappears.

    Sound where the value is computed here as the kernel would: IEEE arithmetic on f64, whole numbers
    that stay within int64. A missing constant is left to the kernel.
    """
    instead: dict[int, int] = {}
    out: list[Node] = []
    for old in graph.nodes:
        node = redirected(each_expr(old, lambda e: bottom_up(e, folded)), instead)
        if (
            isinstance(node, Where)
            and isinstance(node.condition, Const)
            and node.condition.value is True
        ):
            before = next(n for n in out if n.id == node.inputs[0])
            if before.out == node.out:
                instead[node.id] = before.id
                continue
        out.append(node)
    return with_nodes(graph, out)


def folded(expr: Expr) -> Expr:
    """One expression whose parts are folded already."""
    match expr:
        case Arithmetic(left=Const(value=a), right=Const(value=b)) if (
            _is_number(a) and _is_number(b) and not expr.type.shape
        ):
            return _arithmetic(expr, a, b)
        case Negative(value=Const(value=float(a))) if expr.type.is_float:
            return Const(-a, expr.type)
        case Compare(left=Const(value=a), right=Const(value=b)) if isinstance(
            a, str
        ) and isinstance(b, str):
            return Const((a == b) == (expr.op == "=="), BOOL) if expr.op in ("==", "!=") else expr
        case Not(value=Const(value=bool(a))):
            return Const(not a, BOOL)
        case Logic():
            return _logic(expr)
        case Choose(condition=Const(value=bool(a))) if (
            expr.then.type == expr.otherwise.type == expr.type
        ):
            chosen, other = (expr.then, expr.otherwise) if a else (expr.otherwise, expr.then)
            return chosen if isinstance(other, Const) else expr
        case _:
            return expr


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _arithmetic(expr: Arithmetic, a: object, b: object) -> Expr:
    if "time" in (expr.left.type.store, expr.right.type.store, expr.type.store):
        return expr
    assert isinstance(a, int | float)
    assert isinstance(b, int | float)
    x: float | int
    try:
        if expr.type.is_float:
            a, b = float(a), float(b)
        match expr.op:
            case "+":
                x = a + b
            case "-":
                x = a - b
            case "*":
                x = a * b
            case "/":
                x = a / b
            case _:
                return expr
    except (ZeroDivisionError, OverflowError):
        return expr
    if isinstance(x, float) and not math.isfinite(x):
        return expr
    if isinstance(x, int) and not -(2**62) < x < 2**62:
        return expr
    return Const(x, expr.type)


def _logic(expr: Logic) -> Expr:
    """``true`` falls out of `and`, ``false`` out of `or`; what remembers rows stays."""
    neutral = expr.op == "and"
    kept = tuple(v for v in expr.values if not (isinstance(v, Const) and v.value is neutral))
    if not kept:
        return Const(neutral, BOOL)
    if all(isinstance(v, Const) for v in kept):
        return Const(not neutral, BOOL)
    if len(kept) == 1:
        return kept[0]
    return expr if len(kept) == len(expr.values) else Logic(expr.op, kept, expr.type)
