"""What a pipeline is, before anything runs: the text of `flowedge explain`."""

from collections.abc import Callable, Sequence

from flowedge.graph import nodes as g
from flowedge.graph.floors import floors
from flowedge.graph.guarantees import durable, guarantees, waits
from flowedge.types.schema import Stream
from flowedge.types.spelling import seconds

More = Callable[[g.Node], Sequence[str]]
"""What the compiler adds for a node: its kernel, and its state in bytes per key."""


def explain(graph: g.Graph, more: More | None = None) -> str:
    """Each stage with its shape, rate, columns and units, delay and wait; each sink with its floor.

    Parameters
    ----------
    more : lines of the compiler for a node
    """
    lines: list[str] = []
    held = floors(graph.nodes)
    for name in dict.fromkeys(n.name for n in graph.nodes if not isinstance(n, g.Sink)):
        members = [n for n in graph.nodes if n.name == name and not isinstance(n, g.Sink)]
        kind = "source" if isinstance(members[0], g.Source) else "stream"
        lines.append(f"{kind} {name}")
        for node in members:
            lines += _stage(graph, node, more)
        lines.append("")
    for node in graph.nodes:
        if isinstance(node, g.Sink):
            lines += _sink(graph, node, held[node.id], more)
            lines.append("")
    promised = guarantees(graph)
    if promised:
        lines += [*promised, ""]
    for model in graph.models:
        digest = (
            f" sha256 {model.sha256}" if model.sha256 else " (no digest: the file is not checked)"
        )
        lines += [f"model {model.name}", f"    {model.kind} {model.path}{digest}", ""]
    return "\n".join(lines).rstrip("\n") + "\n" if lines else "nothing runs: there is no sink\n"


def _stage(graph: g.Graph, node: g.Node, more: More | None) -> list[str]:
    origin = [graph.node(i).name for i in node.inputs]
    other = [o for o in origin if o != node.name]
    taken = f"  from {', '.join(dict.fromkeys(other))}" if other else ""
    lines = [
        f"    {node.label or type(node).__name__.lower()}{taken}",
        f"        {shape(node.out)}",
    ]
    if node.out.keys:
        lines.append("        keys     " + ", ".join(str(c) for c in node.out.keys))
    lines.append("        columns  " + (", ".join(str(c) for c in node.out.columns) or "none"))
    delays = sorted({c.type.delay_s for c in node.out.columns if c.type.delay_s > 0})
    if delays:
        named = [
            f"{c.name} {seconds(c.type.delay_s)}" for c in node.out.columns if c.type.delay_s > 0
        ]
        lines.append("        delay    " + ", ".join(named))
    lines.append(
        "        wait     "
        + ("no bound is known" if node.out.wait_s is None else seconds(node.out.wait_s))
    )
    if isinstance(node, g.Source):
        lines += _source(node)
    elif isinstance(node, g.Classify):
        lines += _model(graph, node)
    lines += [f"        {line}" for line in (more(node) if more is not None else ())]
    return lines


def _source(node: g.Source) -> list[str]:
    where = f"{node.connector} {node.address}".strip()
    raw = ", ".join(name for name, _ in node.raw) or "none"
    lines = [
        f"        reads    {where}: {raw}",
        "        parts    one: its files one after the other, by their paths"
        if node.address and not node.connector.startswith("simulate")
        else "        parts    one",
    ]
    for one in node.valid:
        within = f" in {one.told}" if one.told else ""
        lines.append(f"        valid    {one.column}{within}, else {one.policy}")
    if node.predicate:
        lines.append(
            "        spares   rows but for "
            + " and ".join(f"{n} {op} {v}" for n, op, v in node.predicate)
        )
    if node.out.shape == "signal":
        up_to = "" if node.gaps_up_to_s is None else f" up to {seconds(node.gaps_up_to_s)}"
        lines.append(f"        gaps     {node.gaps}{up_to}")
    return lines


def _model(graph: g.Graph, node: g.Classify) -> list[str]:
    """How a model is asked, and what becomes of a frame that gets no answer."""
    files = {file.name: file for file in graph.models}
    file = files.get(node.call.model)
    where = "" if file is None else f" on {file.device}" + (", in a process of its own" if file.isolated else "")  # fmt: skip
    most, rest_s = node.breaker
    word, text = node.otherwise
    policy = f'label "{text}"' if word == "label" else f"{word} {text}".strip()
    limit = "" if node.deadline_s is None else f" after {seconds(node.deadline_s)} of computing, in runs that keep time, or"  # fmt: skip
    lines = [
        f"        asks     {node.call.model}{where}: {node.call.batch} frames a call",
        f"        else     {policy}:{limit} where it fails; {most} failures in a row let it rest for {seconds(rest_s)}",
    ]
    if node.call.states:
        kept = ", ".join(f"{name} {list(shape)}" for name, shape in node.call.states)
        lines.append(f"        keeps    {kept} of each key")
    if node.shadow is not None:
        lines.append(f"        beside   {node.shadow.model}, which is compared and changes no row")
    return lines


def _sink(graph: g.Graph, node: g.Sink, floor: float | None, more: More | None) -> list[str]:
    where = f"{node.connector} {node.address}".strip()
    columns = [*node.out.keys, *node.out.columns]
    lines = [f"sink {node.name}  from {graph.node(node.inputs[0]).name}", f"    writes   {where}"]
    lines.append(
        "    columns  "
        + ", ".join(
            ["time", *(str(c) for c in columns)] if node.out.has_time else [str(c) for c in columns]
        )
    )
    shortest = (
        "none can be promised: a wait has no bound"
        if floor is None
        else f"{seconds(floor)} or more can be promised"
    )
    lines.append(f"    deadline {shortest}")
    if node.deadline_s is not None and node.otherwise is not None:
        lines.append(f"    asked    {seconds(node.deadline_s)}, else {node.otherwise[0]}")
    others = [n.priority for n in graph.nodes if isinstance(n, g.Sink)]
    if node.priority < max(others):
        lines.append(
            f"    priority {node.priority}: left out where live rows come too fast for what is more important"
        )
    if node.writes_files:
        lines.append(f"    durable  {durable(node)}")
    if node.guarantee:
        lines.append(f"    waits    {waits(node)}")
    return lines + [f"    {line}" for line in (more(node) if more is not None else ())]


def shape(stream: Stream) -> str:
    """The shape of a stream in words."""
    if stream.shape == "signal":
        return f"signal   at {stream.rate_hz:g} Hz"
    if stream.shape == "frames" and stream.frame is not None:
        length = "any number of" if stream.frame.length is None else str(stream.frame.length)
        rate = f" at {stream.frame.rate_hz:g} Hz" if stream.frame.rate_hz else ""
        return f"frames   of {length} samples{rate}"
    bound = f"   at up to {stream.rate_hz:g} Hz" if stream.rate_hz else ""
    time = "" if stream.has_time else "   there from the start"
    return f"rows{bound}{time}" + ("   each for (start, time]" if stream.spans else "")
