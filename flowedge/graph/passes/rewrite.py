"""Changing expressions and inputs of nodes, as every pass needs to."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from flowedge.graph.expressions import Expr, rebuilt
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
    return change(rebuilt(expr, lambda part: bottom_up(part, change)))


def redirected(node: Node, instead: Mapping[int, int]) -> Node:
    """A node that takes from other nodes."""
    inputs = tuple(instead.get(i, i) for i in node.inputs)
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def with_nodes(graph: Graph, nodes: list[Node]) -> Graph:
    """The graph with other nodes."""
    return replace(graph, nodes=tuple(nodes))
