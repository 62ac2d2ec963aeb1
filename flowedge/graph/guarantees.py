"""What is promised of each row on its way from each source to each sink: the table at the end of `explain`."""

from flowedge.graph import nodes as g
from flowedge.types.sizes import shown_bytes
from flowedge.types.spelling import seconds

_SYSTEM = "what the system has not written yet, often 30 s"


def durable(node: g.Sink) -> str:
    """When the rows of a sink are safe from a loss of power."""
    match node.durability:
        case "interval":
            return f"synced at the first checkpoint after each {seconds(node.sync_s)}"
        case "os":
            return "never synced: written when the system gets to it"
        case _:
            return "synced at every checkpoint, and before a file is shown"


def waits(node: g.Sink) -> str:
    """How many rows may wait for a peer that is away."""
    if node.buffer_bytes:
        return f"up to {shown_bytes(node.buffer_bytes)} of rows on the disk while it is away, then the run waits"
    return "as many rows as there is room for while it is away (`buffer … on disk` allows more), then the run waits"


def guarantees(graph: g.Graph) -> list[str]:
    """The table: for each source and each sink that it reaches, after a kill and after a loss of power."""
    rows = [("from", "to", "killed", "power lost")]
    sinks = [n for n in graph.nodes if isinstance(n, g.Sink)]
    for source in graph.nodes:
        if not isinstance(source, g.Source):
            continue
        reached = [sink for sink in sinks if source.id in _above(graph, sink)]
        rows += [(source.name, sink.name, *_pair(source, sink)) for sink in reached]
    if len(rows) == 1:
        return []
    more = []
    if any(sink.guarantee == "exactly once" for sink in sinks):
        more = [
            "    without, the outages of a database double nothing and lose nothing, but a killed run that begins again adds its rows again"
        ]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    return [
        "guarantees with `run --checkpoint DIR`; without, a killed run begins again",
        *(
            "    " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
        *more,
    ]


def _pair(source: g.Source, sink: g.Sink) -> tuple[str, str]:
    if sink.guarantee == "at most once":
        told = "no promise: sent once, and what is sent as the connection breaks is lost"
        return told, told
    if not source.comes_again:
        kept = "at most once: what came since the last checkpoint is not asked for again"
        return kept, kept
    if not sink.writes_files and not sink.guarantee:
        return "at least once", "at least once"
    killed = sink.guarantee or "exactly once"
    match sink.durability:
        case "interval":
            return (
                killed,
                f"may lose rows of {seconds(sink.sync_s)} and one checkpoint before",
            )
        case "os":
            return killed, f"may lose {_SYSTEM}"
        case _:
            return killed, killed


def _above(graph: g.Graph, node: g.Node) -> set[int]:
    """Ids of all nodes that a node's rows come through."""
    found: set[int] = set()
    todo = list(node.inputs)
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += graph.node(at).inputs
    return found
