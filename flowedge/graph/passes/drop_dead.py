"""Leave out what no sink needs."""

from dataclasses import replace

from flowedge.graph.nodes import Classify, Graph, Sink
from flowedge.graph.passes.rewrite import with_nodes


def drop_dead(graph: Graph) -> Graph:
    """Keep the nodes behind some sink.

    ``stream a = s | …`` without a sink disappears, and its sources with it. Always sound: a row that
    no sink sees has no effect.
    """
    alive: set[int] = set()
    todo = [n.id for n in graph.nodes if isinstance(n, Sink)]
    of = {n.id: n for n in graph.nodes}
    while todo:
        id_ = todo.pop()
        if id_ not in alive:
            alive.add(id_)
            todo.extend(of[id_].inputs)
    kept = with_nodes(graph, [n for n in graph.nodes if n.id in alive])
    models = {call.model for n in kept.nodes if isinstance(n, Classify) for call in n.calls}
    return replace(kept, models=tuple(m for m in graph.models if m.name in models))
