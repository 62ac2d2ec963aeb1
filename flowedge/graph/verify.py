"""What must hold of every graph: whatever breaks it is a fault of ours."""

from flowedge.graph import nodes as g
from flowedge.graph.expressions import Const, Fold, Lead, Read, reads, walk
from flowedge.lang.errors import InternalError

OWN = (g.Source, g.SplitAt, g.SplitRows, g.SplitNext, g.Join, g.Union)
"""Nodes whose expressions read something else than the columns of their one input."""


def verify(graph: g.Graph, after: str) -> None:
    """Check the graph; raises `InternalError` that says what broke it."""
    seen: dict[int, g.Node] = {}
    for node in graph.nodes:
        where = f"{type(node).__name__} `{node.name}` after {after}"
        if node.id in seen:
            raise InternalError(where, expected="one node of each id", seen=node.id)
        for source in node.inputs:
            if source not in seen:
                raise InternalError(where, expected="inputs before their use", seen=source)
        _names(node, where)
        if not isinstance(node, OWN):
            _reads(node, seen, where)
        _expressions(node, where)
        seen[node.id] = node


def _names(node: g.Node, where: str) -> None:
    names = [c.name for c in (*node.out.columns, *node.out.keys)]
    if len(set(names)) != len(names) or "time" in names:
        raise InternalError(
            where, expected="each column once, and no `time` among them", seen=names
        )
    if node.out.shape == "frames" and (
        node.out.frame is None or set(node.out.frame.whole) - {c.name for c in node.out.columns}
    ):
        raise InternalError(
            where, expected="a frame that names its own columns", seen=node.out.frame
        )


def _reads(node: g.Node, seen: dict[int, g.Node], where: str) -> None:
    """Expressions read what the input has, or what the node has made before."""
    if not node.inputs:
        return
    have = set(seen[node.inputs[0]].out.names()) | {"time"}
    made: set[str] = set()
    for value in (getattr(node, f, ()) for f in ("bindings", "folds")):
        made |= {name for name, *_ in value}
    for expr in g.expressions_of(node):
        missing = reads(expr) - have - made
        if missing:
            raise InternalError(where, expected=f"columns {sorted(have)}", seen=sorted(missing))


def _expressions(node: g.Node, where: str) -> None:
    for expr in g.expressions_of(node):
        for e in walk(expr):
            if isinstance(e, Lead):
                raise InternalError(where, expected="`lead` as a stage of its own", seen=e)
            if isinstance(e, Read) and e.name.startswith("_later"):
                raise InternalError(where, expected="only what can run", seen=e.name)
            if isinstance(e, Const) and not isinstance(e.value, float | int | bool | str | None):
                raise InternalError(where, expected="plain constants", seen=e.value)
            if isinstance(e, Fold) and any(isinstance(x, Fold) for a in e.args for x in walk(a)):
                raise InternalError(where, expected="no aggregate inside another", seen=e)
