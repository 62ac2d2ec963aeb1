"""Which nodes a kernel takes in, so that rows are not laid out between them; and what a chain is for eight keys at a time."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from flowedge.compile import program as p
from flowedge.compile.emit.abreast import kernel_abreast
from flowedge.compile.emit.chain import Chain, looks_at_one_row
from flowedge.compile.emit.kernel import Kernel
from flowedge.compile.emit.tails.frames_in_place import MOST_ROWS, Over
from flowedge.compile.emit.tails.join import answers_at_once
from flowedge.graph import nodes as g
from flowedge.types.schema import TIME, Column, Stream


def over_frames(graph: g.Graph, first: g.Node, table: int) -> list[Over]:
    """What is asked of frames side by side where one kernel can read them in place: the next node or two, or none.

    Parameters
    ----------
    table : number of the key table of its rows; -1: they have no keys, so a frame lies in one piece
    """
    if not isinstance(first, g.CountFrames) or first.hop != first.size or table >= 0:
        return []
    out: list[Over] = []
    readers = graph.readers(first.id)
    if len(readers) == 1 and isinstance(readers[0], g.FrameAggregate | g.FrameDerive):
        out.append(readers[0])
        readers = graph.readers(readers[0].id)
        if len(readers) == 1 and _gives_samples(readers[0], first, out[0]):
            out += [n for n in readers if isinstance(n, g.Unnest)]
    return out


def _gives_samples(node: g.Node, frames: g.CountFrames, over: Over) -> bool:
    """Whether `unnest` gives each sample of frames side by side, with all that was derived of it and nothing else."""
    if not isinstance(node, g.Unnest) or node.frame is None or frames.size > MOST_ROWS:
        return False
    made = {name for name, _ in over.bindings} if isinstance(over, g.FrameDerive) else set()
    others = {c.name for c in node.out.columns} - set(node.columns)
    return bool(made) and made <= set(node.columns) and others <= {"start"}


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


def abreast(
    chain: Sequence[g.Node],
    fields: tuple[p.Field, ...],
    text_id: Callable[[str], int],
    *,
    gaps: bool,
) -> tuple[Kernel, tuple[str, int] | None]:
    """A chain as for a stream without keys, and its source for eight keys at a time with its scratch words; None where it has no such form.

    Parameters
    ----------
    fields : columns that come in
    text_id : the number of a text of the pipeline
    gaps : rows carry a gap flag
    """
    kernel = Kernel(keyed=False, gaps=gaps, text_id=text_id)
    kernel.state.strips = True
    rows = Chain(kernel, alias={f.name: f.name for f in fields})

    def body() -> None:
        with ExitStack() as end:
            rows.run(chain, end)
            rows.write(columns_out(chain[-1].out, fields), dense=True)

    return kernel, kernel_abreast(kernel, kernel.lines_of(body))


def columns_out(stream: Stream, before: tuple[p.Field, ...]) -> tuple[Column, ...]:
    """The columns that a chain gives, samples of frames as lists; ``start`` goes along with rows that are spans."""
    if stream.spans and stream.column("start") is None and any(f.name == "start" for f in before):
        return (*stream.stored(), Column("start", TIME))
    return stream.stored()
