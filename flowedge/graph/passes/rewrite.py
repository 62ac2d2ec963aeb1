"""Changing expressions and inputs of nodes, as every pass needs to."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from flowedge.graph.expressions import Expr
from flowedge.graph.nodes import Graph, Node


def each_expr(node: Node, change: Callable[[Expr], Expr]) -> Node:
    """A node with every expression in it changed."""

    def look(value: Any) -> Any:  # fields hold many kinds of values  # noqa: ANN401
        if isinstance(value, Expr):
            return change(value)
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            new = tuple(look(v) for v in value)
            return new if any(a is not b for a, b in zip(new, value, strict=True)) else value
        return value

    changed = {}
    for each in fields(node):
        if each.name in ("out", "span"):
            continue
        value = getattr(node, each.name)
        new = look(value)
        if new is not value:
            changed[each.name] = new
    return replace(node, **changed) if changed else node


def bottom_up(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """An expression with each part changed, innermost first."""
    new: dict[str, Any] = {}
    for each in fields(expr):
        value = getattr(expr, each.name)
        if isinstance(value, Expr):
            inner: Any = bottom_up(value, change)
        elif isinstance(value, tuple) and value and all(isinstance(v, Expr) for v in value):
            inner = tuple(bottom_up(v, change) for v in value)
            inner = value if all(a is b for a, b in zip(inner, value, strict=True)) else inner
        else:
            continue
        if inner is not value:
            new[each.name] = inner
    return change(replace(expr, **new) if new else expr)


def redirected(node: Node, instead: Mapping[int, int]) -> Node:
    """A node that takes from other nodes."""
    inputs = tuple(instead.get(i, i) for i in node.inputs)
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def with_nodes(graph: Graph, nodes: list[Node]) -> Graph:
    """The graph with other nodes."""
    return replace(graph, nodes=tuple(nodes))
