"""Which nodes behind a window or a join its kernel takes in, so that rows are not laid out between them."""

from flowedge.compile.emit.chain import looks_at_one_row
from flowedge.compile.emit.tails.join import answers_at_once
from flowedge.graph import nodes as g


def over_frames(
    graph: g.Graph, first: g.Node, table: int
) -> list[g.FrameAggregate | g.FrameDerive]:
    """What is asked of frames side by side where one kernel can read them in place: the next node, or none.

    Parameters
    ----------
    table : number of the key table of its rows; -1: they have no keys, so a frame lies in one piece
    """
    if not isinstance(first, g.CountFrames) or first.hop != first.size or table >= 0:
        return []
    readers = graph.readers(first.id)
    if len(readers) != 1:
        return []
    return [n for n in readers if isinstance(n, g.FrameAggregate | g.FrameDerive)]


def behind_join(graph: g.Graph, first: g.Node) -> list[g.Node]:
    """The stages behind a join that answers at once, as far as they look at one row alone."""
    out: list[g.Node] = []
    if not (isinstance(first, g.Join) and answers_at_once(first)):
        return out
    readers = graph.readers(first.id)
    while len(readers) == 1 and len(readers[0].inputs) == 1 and looks_at_one_row(readers[0]):
        out.append(readers[0])
        readers = graph.readers(out[-1].id)
    return out
