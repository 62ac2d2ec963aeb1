"""What nodes promise each other: a watermark, behind which no row comes, and order where it is relied on.

A promise that is broken may not show in the rows of a world: what relies on it has to be there, and the pushes to fall badly.
"""

import contextlib

from flowedge.session.held import Held
from flowedge.session.node import Node


@contextlib.contextmanager
def watched(wrong):
    """Note each promise that is broken, once a node, in `wrong`."""
    give, add = Node.give, Held.add

    def giving(node, batch, watermark):
        if batch is not None and batch.n:
            least = int(batch.time.min())
            if least < node.watermark:
                note(
                    f"a row of {least} behind the watermark {node.watermark} of {_told(node.spec)}"
                )
        give(node, batch, watermark)

    def adding(held, batch):
        if held._is_sorted and batch.n:
            time, runs = batch.time, held._runs
            if (time[1:] < time[:-1]).any() or (runs and time[0] < runs[-1].time[-1]):
                note("rows in no order where they are taken to be in order of time")
        add(held, batch)

    def note(what):
        words = what.translate(_NO_DIGITS)
        if words not in noted:
            noted.add(words)
            wrong.append(what)

    noted = set()
    Node.give, Held.add = giving, adding
    try:
        yield
    finally:
        Node.give, Held.add = give, add


_NO_DIGITS = {ord(d): None for d in "0123456789-"}


def _told(spec):
    return f"`{spec.label or spec.name}` ({type(spec).__name__} {spec.id})"
