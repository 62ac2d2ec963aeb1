"""Compute once what two streams begin with."""

from dataclasses import fields
from typing import Any

from flowedge.graph.nodes import Graph, Node, Sink, Source
from flowedge.graph.passes.rewrite import redirected, with_nodes

LEFT_OUT = ("id", "name", "label", "span")


def share_prefixes(graph: Graph) -> Graph:
    """``a = s | f | g`` and ``b = s | f | h`` share ``s | f``.

    Two nodes with equal inputs, parameters and types give the same rows, since a node is a function
    of its rows; so the later one is left out. Sinks and sources are never merged.
    """
    instead: dict[int, int] = {}
    known: dict[Any, int] = {}
    out: list[Node] = []
    for old in graph.nodes:
        node = redirected(old, instead)
        if not isinstance(node, Sink | Source):
            key = (
                type(node),
                *(repr(getattr(node, f.name)) for f in fields(node) if f.name not in LEFT_OUT),
            )
            if key in known:
                instead[node.id] = known[key]
                continue
            known[key] = node.id
        out.append(node)
    return with_nodes(graph, out)
