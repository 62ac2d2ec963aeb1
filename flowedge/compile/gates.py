"""Where a run that cannot keep up may leave work out: in front of what only less important sinks need."""

from collections.abc import Sequence
from dataclasses import replace

from flowedge.compile import program as p


def with_gates(nodes: Sequence[p.NodeSpec]) -> tuple[p.NodeSpec, ...]:
    """The nodes of a program, with a gate on each way from what a more important sink needs to what only others do.

    A sink is as important as its ``priority`` says (0 by default), a node as the most important sink behind it. A source stands
    for all: what comes of it passes a gate unless it is for the most important sink of the pipeline. Where all sinks
    are equal there is no gate.
    """
    importance = importance_of(nodes)
    if len({n.priority for n in nodes if isinstance(n, p.SinkSpec)}) < 2:
        return tuple(nodes)
    top = max(importance.values())
    opens = {
        n.id: top if isinstance(n, p.SourceSpec | p.PartSpec) else importance.get(n.id, top)
        for n in nodes
    }
    ids = iter(range(max(n.id for n in nodes) + 1, 2**31))
    known = {n.id: n for n in nodes}
    gates: dict[tuple[int, int], p.GateSpec] = {}
    out: list[p.NodeSpec] = []
    for node in nodes:
        inputs = []
        for origin in node.inputs:
            level = importance.get(node.id, top)
            if isinstance(node, p.PartSpec) or level >= opens[origin]:
                inputs.append(origin)
                continue
            if (origin, level) not in gates:
                before = known[origin]
                gate = gates[origin, level] = p.GateSpec(
                    id=next(ids), inputs=(origin,), fields=before.fields, table=before.table, gaps=before.gaps, name=before.name,
                    label=f"{before.name}: gate of priority {level}", priority=level,
                )  # fmt: skip
                out.append(gate)
            inputs.append(gates[origin, level].id)
        out.append(replace(node, inputs=tuple(inputs)))
    return tuple(out)


def importance_of(nodes: Sequence[p.NodeSpec]) -> dict[int, int]:
    """By id, the priority of the most important sink that a node's rows lead to; those that lead to none are left out."""
    out: dict[int, int] = {}
    for node in reversed(nodes):
        if isinstance(node, p.SinkSpec):
            out[node.id] = node.priority
        if node.id in out:
            for origin in node.inputs:
                out[origin] = max(out.get(origin, out[node.id]), out[node.id])
    return out
