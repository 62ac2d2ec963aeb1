"""Tell sources which rows matter, so that they may spare reading the others."""

from dataclasses import replace
from typing import Any

from flowedge.graph.expressions import Compare, Const, Expr, Logic, Read
from flowedge.graph.nodes import Graph, Node, Source, Where
from flowedge.graph.passes.rewrite import with_nodes

MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def push_into_sources(graph: Graph) -> Graph:
    """``source s … | where x > 3`` also hands ``x > 3`` to the source, and keeps the `where`.

    A hint: the source may give missing values for columns of rows that fail, as a comparison with a
    missing value is false. Sound for rows (a signal's neighbours matter), where every reader of the
    source filters by the same comparison, and where the column is a raw field as it stands.
    """
    out: list[Node] = []
    for node in graph.nodes:
        readers = graph.readers(node.id)
        if not isinstance(node, Source) or node.out.shape != "rows" or not readers:
            out.append(node)
            continue
        # What a bound has been put in the place of says nothing of the file's own values.
        clamped = {v.column for v in node.valid if v.policy == "clamp"}
        plain = {
            c.name: c.raw
            for c in node.columns
            if c.expr is None and c.raw is not None and c.name not in clamped
        }
        if node.silence_s is not None or node.gaps != "reset":
            out.append(node)
            continue
        found: list[set[tuple[str, str, Any]]] = []
        for reader in readers:
            terms = _terms(reader.condition) if isinstance(reader, Where) else ()
            found.append({hint for e in terms if (hint := _hint(e, plain)) is not None})
        common = set.intersection(*found) if found else set()
        out.append(replace(node, predicate=tuple(sorted(common, key=repr))) if common else node)
    return with_nodes(graph, out)


def _terms(condition: Expr) -> tuple[Expr, ...]:
    if isinstance(condition, Logic) and condition.op == "and":
        return condition.values
    return (condition,)


def _hint(expr: Expr, plain: dict[str, str]) -> tuple[str, str, Any] | None:
    if not isinstance(expr, Compare):
        return None
    left, right, op = expr.left, expr.right, str(expr.op)
    if isinstance(left, Const):
        left, right, op = right, left, MIRROR[op]
    if (
        not isinstance(left, Read)
        or not isinstance(right, Const)
        or right.value is None
        or left.type.shape
    ):
        return None
    raw = plain.get(left.name)
    return None if raw is None else (raw, op, right.value)
