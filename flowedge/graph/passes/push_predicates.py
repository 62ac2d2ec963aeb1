"""Filter before computing."""

from dataclasses import replace

from flowedge.graph.expressions import is_stateful, reads
from flowedge.graph.nodes import Derive, Graph, Node, Where
from flowedge.graph.passes.rewrite import with_nodes


def push_predicates(graph: Graph) -> Graph:
    """``derive y = … | where x > 0`` becomes ``where x > 0 | derive y = …``.

    Sound if the condition reads nothing that the derive makes, if neither remembers rows, and if
    nobody else takes the derive's rows.
    """
    nodes = list(graph.nodes)
    moved = True
    while moved:
        moved = False
        at = {n.id: k for k, n in enumerate(nodes)}
        for k, node in enumerate(nodes):
            if not isinstance(node, Where) or is_stateful(node.condition):
                continue
            before = nodes[at[node.inputs[0]]]
            if not isinstance(before, Derive) or not _may_pass(node, before, nodes):
                continue
            source = nodes[at[before.inputs[0]]]
            shape = node.out.shape
            first = replace(
                node, id=before.id, inputs=before.inputs, out=replace(source.out, shape=shape)
            )
            nodes[at[before.id]] = first
            nodes[k] = replace(before, id=node.id, inputs=(before.id,), out=node.out)
            moved = True
            break
    return with_nodes(graph, nodes)


def _may_pass(node: Where, before: Derive, nodes: list[Node]) -> bool:
    made = {name for name, _ in before.bindings}
    return (
        not (reads(node.condition) & made)
        and not any(is_stateful(e) for _, e in before.bindings)
        and sum(1 for n in nodes for i in n.inputs if i == before.id) == 1
        and {c.name for c in node.out.columns} == {c.name for c in before.out.columns}
    )
