"""One stage where two of a kind stand in a row."""

from dataclasses import replace

from flowedge.graph.expressions import Expr, Logic, Previous, is_stateful, walk
from flowedge.graph.nodes import Derive, Graph, Node, Where
from flowedge.graph.passes.rewrite import with_nodes
from flowedge.types.schema import BOOL


def merge_stages(graph: Graph) -> Graph:
    """``derive a = … | derive b = …`` becomes one derive, ``where p | where q`` becomes ``p and q``.

    Sound if nobody else takes the rows between. A second condition that remembers rows would step on
    rows that the first drops, so it stays; so does a derive with ``prev`` of what the other makes.
    """
    nodes = list(graph.nodes)
    k = 0
    while k < len(nodes):
        node = nodes[k]
        at = {n.id: j for j, n in enumerate(nodes)}
        before = nodes[at[node.inputs[0]]] if len(node.inputs) == 1 else None
        if before is None or sum(1 for n in nodes for i in n.inputs if i == before.id) != 1:
            k += 1
            continue
        merged: Node | None = None
        if (
            isinstance(node, Where)
            and isinstance(before, Where)
            and not is_stateful(node.condition)
        ):
            both = [*_terms(before), *_terms(node)]
            merged = replace(node, inputs=before.inputs, condition=Logic("and", tuple(both), BOOL))
        elif isinstance(node, Derive) and isinstance(before, Derive) and _independent(before, node):
            merged = replace(
                node,
                inputs=before.inputs,
                bindings=(*before.bindings, *node.bindings),
                label=f"{before.label}; {node.label}",
            )
        if merged is None:
            k += 1
            continue
        nodes[k] = merged
        del nodes[at[before.id]]
        k = max(0, k - 1)
    return with_nodes(graph, nodes)


def _terms(node: Where) -> tuple[Expr, ...]:
    condition = node.condition
    if isinstance(condition, Logic) and condition.op == "and":
        return condition.values
    return (condition,)


def _independent(first: Derive, second: Derive) -> bool:
    """Neither asks for the past of what the other makes, and nothing made is dropped in between."""
    made = ({n for n, _ in first.bindings}, {n for n, _ in second.bindings})
    for own, other in ((first, made[1]), (second, made[0])):
        if any(
            isinstance(e, Previous) and e.name in other for _, x in own.bindings for e in walk(x)
        ):
            return False
    return {c.name for c in first.out.columns} <= {c.name for c in second.out.columns} | made[0]
