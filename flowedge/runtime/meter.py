"""Where the time of a run goes: what each part takes by itself, on the clock and of the processor, and the bytes that enter it."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flowedge.session.batch import Batch
from flowedge.session.node import Node
from flowedge.session.source import SourceNode
from flowedge.types.arrays import size_of


@dataclass(slots=True)
class Spent:
    """What a part took without what it called: time on the clock and of the processor [ns], and bytes that entered it."""

    wall_ns: int = 0
    cpu_ns: int = 0
    nbytes: int = 0


class Meter:
    """Counts the time in each part without that in the parts that it calls.

    Parameters
    ----------
    clock : ns that have passed
    cpu : ns that this thread had a processor; None: not counted

    Attributes
    ----------
    spent : by the key of the part; by number for nodes
    """

    def __init__(self, clock: Callable[[], int], cpu: Callable[[], int] | None = None) -> None:
        self._clock, self._cpu = clock, cpu or (lambda: 0)
        self._counts_bytes = cpu is not None
        self._inside: list[tuple[int, int]] = []
        self.spent: dict[Hashable, Spent] = {}

    def attach(self, node: Node) -> None:
        """Measure what a node does."""
        names = ["push" if isinstance(node, SourceNode) else "take", "flush"]
        for name in (*names, "out") if hasattr(node, "out") else names:
            self.watch(node, name, node.spec.id)

    def watch(self, thing: Any, name: str, key: Hashable) -> None:  # noqa: ANN401
        """Measure a method of an object."""
        setattr(thing, name, self._measured(key, getattr(thing, name)))

    def _measured(self, key: Hashable, call: Callable[..., Any]) -> Callable[..., Any]:
        spent = self.spent.setdefault(key, Spent())

        def measured(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            if self._counts_bytes:
                spent.nbytes += sum(_bytes_of(x) for x in args)
            self._inside.append((0, 0))
            began, had = self._clock(), self._cpu()
            try:
                return call(*args, **more)
            finally:
                span, share = self._clock() - began, self._cpu() - had
                inner = self._inside.pop()
                spent.wall_ns += span - inner[0]
                spent.cpu_ns += share - inner[1]
                if self._inside:
                    outer = self._inside[-1]
                    self._inside[-1] = outer[0] + span, outer[1] + share

        return measured


def label_of(node: Node) -> str:
    """What a node is called where it is told of."""
    spec = node.spec
    return spec.name if spec.label == spec.name else f"{spec.name}: {spec.label}"


def _bytes_of(given: Any) -> int:  # noqa: ANN401
    """Of rows that are handed over; 0 of anything else."""
    if isinstance(given, Batch):
        beside = (x.nbytes for x in (given.time, given.slot, given.gap) if x is not None)
        return sum(beside) + sum(column.nbytes for column in given.columns.values())
    if isinstance(given, pa.RecordBatch):
        return size_of(given)
    if isinstance(given, Mapping):
        return sum(_bytes_of(x) for x in given.values())
    return 0
