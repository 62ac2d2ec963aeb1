"""Keys whose time is over are forgotten: ``expire key after D`` bounds the memory, whatever keys come.

A key that has been away for D comes back as a new one, with a life of another number and so another slot
(`flowedge.session.settle`). The slot of a life that is over gets no more rows from its source. It is given to
another key as soon as nothing on the way holds it: no row that waits, and no kernel that may still give a row for
it without one coming (an open window, a peak not yet certain). When that is looked after cannot be seen in the
rows; it is done whenever the keys have doubled, so that it costs little for each.
"""

from collections.abc import Iterable

from flowedge.compile.program import FOREVER
from flowedge.session.node import Node
from flowedge.session.source import SourceNode

SLACK = 65_536
"""Up to so many keys more than twice those that lived at the last look nothing is forgotten."""


def forget_keys(sources: Iterable[SourceNode], nodes: Iterable[Node], slack: int = SLACK) -> None:
    """Give the slots of keys that have expired free, where there are many.

    Not at the end, which has counted what is lost with each key already.
    """
    for source in sources:
        if source.passed_on != FOREVER and source.settle.is_swollen(slack):
            _forget(source, list(nodes))


def _forget(source: SourceNode, nodes: list[Node]) -> None:
    """Look at every key of a source."""
    number = source.spec.table
    table = source.shared.tables[number]
    over, late = source.settle.over(source.passed_on)
    held = ~(over | late)
    for node in nodes:
        node.mark_held(number, held, late)
    gone = ~held & table.is_taken
    for node in nodes:
        node.forget_slots(number, gone)
    table.forget(gone)
