"""What the nodes of a session have in common: they take rows and watermarks, and pass them on."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.program import NEVER, NodeSpec, Program
from flowedge.lang.errors import InternalError
from flowedge.session.batch import Array, Batch, Layout, layout
from flowedge.session.keys import KeyTable
from flowedge.session.ledger import Counts
from flowedge.session.strings import StringPool

Mask = NDArray[np.bool_]
"""For each slot of a key table yes or no, shape ``(count,)``."""


class Shared:
    """What all nodes of a session share: the texts, the key tables, the plan.

    Attributes
    ----------
    program : the plan that runs
    pool : ids of texts; the plan's literals have the first ones
    tables : key tables by number
    seed : of the hashes
    lasts : by id of a source whose keys end: the time of each slot's last row
    """

    def __init__(
        self, program: Program, pool: StringPool, tables: Sequence[KeyTable], seed: int = 0
    ) -> None:
        self.program = program
        self.pool = pool
        self.tables = list(tables)
        self.seed = seed
        self.lasts: dict[int, Callable[[], Array]] = {}

    def layout(self, spec: NodeSpec) -> Layout:
        """What the rows that a node gives look like."""
        slots = self.tables[spec.table].count if spec.table >= 0 else None
        return layout(spec.fields, slots, self.pool.count)

    def key_column(self, table: int, name: str) -> int:
        """The place of a key column in its table; -1 if it has no such column."""
        if table < 0:
            return -1
        for place, field in enumerate(self.program.tables[table].fields):
            if field.name == name:
                return place
        return -1


class Node:
    """One node: `take` is called with rows or a new watermark of one of its inputs.

    Attributes
    ----------
    readers : nodes that take from this one, with the place of the edge among their inputs
    watermark : that of the output: no row before it will come
    counts : its page of the ledger
    """

    is_waiting: ClassVar[bool] = False
    """Has rows to run at the end of each push (`flush`)."""

    def __init__(self, spec: NodeSpec, shared: Shared) -> None:
        self.spec = spec
        self.shared = shared
        self.readers: list[tuple[Node, int]] = []
        self.watermark = NEVER
        self.counts = Counts()

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Take rows of the input at `place`, after which its watermark stands at `watermark`."""
        raise NotImplementedError

    def give(self, batch: Batch | None, watermark: int) -> None:
        """Pass rows and the watermark after them on to all readers."""
        if batch is not None and not batch.n:
            batch = None
        if batch is None and watermark <= self.watermark:
            return
        self.watermark = max(self.watermark, watermark)
        if batch is not None:
            self.counts.rows_out += batch.n
        for node, place in self.readers:
            node.take(place, batch, self.watermark)

    def went_through(self, rows: int, watermark: int) -> None:
        """Note rows that took the short way (see `flowedge.session.express`), one out for each in."""
        self.counts.rows_in += rows
        self.counts.used += rows
        self.counts.rows_out += rows
        self.watermark = max(self.watermark, watermark)

    def flush(self) -> None:
        """Run what waited for the end of the push."""

    def held(self) -> int:
        """How many rows wait inside."""
        return 0

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps between pushes."""
        return 0

    def mark_held(self, table: int, held: Mask, late: Mask) -> None:
        """Mark the slots of a key table that this node may still give rows of by itself.

        Parameters
        ----------
        held : by slot, to be marked in place
        late : slots that rows may still come for; what is remembered of them is to be marked, too
        """

    def forget_slots(self, table: int, gone: Mask) -> None:
        """Begin afresh for slots that are about to be given to other keys."""

    def state(self) -> dict[str, Any]:
        """All that outlives a push, as plain data for msgpack."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state of a snapshot over."""

    def check(self) -> None:
        """Compare what came in with what became of it; raises InternalError where they differ."""
        self.counts.held = self.held()
        wrong = self.counts.imbalance()
        if wrong:
            raise InternalError(
                f"rows unaccounted for at `{self.spec.label or self.spec.name}`",
                expected=f"{self.counts.rows_in} rows",
                seen=f"{self.counts.rows_in - wrong}",
            )
