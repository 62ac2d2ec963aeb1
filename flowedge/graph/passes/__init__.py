"""Passes: graph in, graph out, the same rows. `PASSES` stand in the order in which they run.

Without any of them the speed changes and not one row: each can be switched off by its name.
"""

from collections.abc import Callable, Collection

from flowedge.graph.nodes import Graph
from flowedge.graph.passes.drop_dead import drop_dead
from flowedge.graph.passes.fold_constants import fold_constants
from flowedge.graph.passes.merge_stages import merge_stages
from flowedge.graph.passes.prune_columns import prune_columns
from flowedge.graph.passes.push_into_sources import push_into_sources
from flowedge.graph.passes.push_predicates import push_predicates
from flowedge.graph.passes.share_prefixes import share_prefixes
from flowedge.graph.verify import verify

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    drop_dead, fold_constants, share_prefixes, push_predicates, merge_stages, push_into_sources, prune_columns,
)  # fmt: skip
NAMES: tuple[str, ...] = tuple(p.__name__ for p in PASSES)


def optimise(graph: Graph, off: Collection[str] = ()) -> Graph:
    """The graph after every pass that is not switched off; verified after each.

    Parameters
    ----------
    off : names of passes to leave out

    Raises
    ------
    ValueError
        `off` names a pass that does not exist
    InternalError
        a pass broke the graph
    """
    unknown = set(off) - set(NAMES)
    if unknown:
        message = f"no such pass: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    verify(graph, "the checker")
    for each in PASSES:
        if each.__name__ not in off:
            graph = each(graph)
            verify(graph, each.__name__)
    return graph
