"""The short way: from a record batch straight through kernels to the sinks.

The nodes of a session decide anew at every push what to do with rows that are late, out of order,
twice there, behind a gap, or of a new key. A push of a regular signal needs none of it, nor do a few rows in
order of keys that are known, and their kernels take a few microseconds, which is what one decision in Python takes.
So where a plan has one source, what can be known before the first push is worked out once (`flowedge.session.route`); a push then checks
that its rows are the next ones, and calls the kernels with the addresses of Arrow's own memory, as far as they give
a row for each row. The first kernel that does not (a window, a condition) ends the short way: what comes out of
it, far more rarely, goes on from node to node, or by `flowedge.session.tail` through a model. It leaves
every node as the nodes themselves would; whatever is not as expected goes the usual way, with nothing changed.
"""

from typing import Any

import pyarrow as pa

from flowedge.compile import program as p
from flowedge.session.arrow import UTC
from flowedge.session.exits import Ending
from flowedge.session.known import MOST_ROWS, Known, fits
from flowedge.session.places import Places
from flowedge.session.route import Route
from flowedge.session.source import ROWS
from flowedge.session.words import address as address_of

# Words of a kernel's context; a name of this module is found sooner than one of another.
_ROW, _ROWS, _OUT, _OUT_ROOM = p.ROW, p.ROWS, p.OUT, p.OUT_ROOM
_ALLOCATE = pa.allocate_buffer
_WATERMARK, _FINISH, _TIME, _SLOT, _GAP = p.WATERMARK, p.FINISH, p.TIME, p.SLOT, p.GAP


class Express:
    """The short way of one plan.

    Parameters
    ----------
    route : see `flowedge.session.route.route_of`

    Attributes
    ----------
    is_whole : the rows of all sinks come this way; else some wait in the nodes behind
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        self.is_whole = all(cut.labels is not None for cut in route.cuts)
        self._time = route.source.spec.time
        self._fields = route.fields if not self._time else (*route.fields, (UTC, self._time, 0, 8))
        self._schema: Any = None
        self._places = Places(())
        self._registers: tuple[int, ...] = ()
        self._numbers: dict[int, int] = {}
        self._endings: list[Ending] = []
        self._known: Known | None = None
        self._most = ROWS
        if route.keys:
            self._known = route.source.known = Known()
            self._most = MOST_ROWS

    def push(
        self, rows: Any, partition: str = "", received_ns: int | None = None  # noqa: ANN401
    ) -> dict[str, Any] | None:  # fmt: skip
        """The rows of each sink on the way; None if these rows must go the usual way.

        Parameters
        ----------
        rows : a record batch of a partition of the source
        received_ns : when they came
        """
        n = rows.num_rows
        route = self._route
        source = route.source
        if not 0 < n <= self._most or not source.is_direct(partition) or not self._fits(rows):
            return None
        found = self._places.of(rows)
        if found is None:
            return None
        # Where each column lies, and what keeps it there, if it is not the rows themselves.
        at: list[int] = [0] * route.registers
        kept: list[Any] = [None] * route.registers
        for register, address in zip(self._registers, found, strict=True):
            at[register] = address
        if not self._time:
            kept[0] = buffer = _ALLOCATE(8 * n)
            at[0] = buffer.address
        slot, slots = 0, None
        if self._known is not None:
            slots = self._known.slots(self._key_columns(rows))
            if slots is None or not source.settle.live_on(slots[1], at[0]):
                return None
            slot = address_of(slots[0])
        newest = source.next_rows(
            partition, at[0], n, received_ns, None if slots is None else slots[0]
        )
        if newest is None:
            return None
        source.went_past(rows)
        if slots is not None:
            source.settle.lived_on(slots[1], at[0])
        for stop in route.stops:
            runner = stop.runner
            ctx = runner.ctx
            ctx[_ROW] = ctx[_OUT] = ctx[_FINISH] = ctx[_GAP] = 0
            ctx[_ROWS] = ctx[_OUT_ROOM] = n
            ctx[_WATERMARK], ctx[_TIME], ctx[_SLOT] = newest, at[0], slot
            for word, register in stop.reads:
                ctx[word] = at[register]
            for word, register, width in stop.writes:
                kept[register] = buffer = _ALLOCATE(n * width)
                ctx[word] = at[register] = buffer.address
            runner.pass_through(n)
        for node in route.nodes:
            node.went_through(n, newest)
        for cut in route.cuts:
            ctx = cut.node.runner.ctx
            for word, register in cut.reads:
                ctx[word] = at[register]
            cut.node.take_at(n, at[0], newest, slot)
        out = {ending.name: ending.batch(rows, kept, n) for ending in self._endings}
        for cut in route.cuts:
            if cut.labels is not None:
                cut.labels.model.flush()
                found = cut.labels.sink.out()
                if found is not None:
                    out[cut.labels.sink.spec.name] = found
        return out

    def learn(self, rows: Any, partition: str) -> None:  # noqa: ANN401
        """Note the keys of rows that went the usual way, and all of them through, where the next could go this one."""
        source, known = self._route.source, self._known
        if known is None or rows.num_rows > self._most or not source.is_direct(partition):
            return
        if not self._fits(rows):
            return
        columns = self._key_columns(rows)
        found = known.slots(columns)
        if found is None or not source.settle.are_in(found[1]):
            known.learn(columns, *source.slots_of(rows))

    def _key_columns(self, rows: Any) -> list[Any]:  # noqa: ANN401
        numbers = self._numbers
        return [rows.column(numbers[r]) for _, _, r in self._route.texts[: self._route.keys]]

    def _fits(self, rows: Any) -> bool:  # noqa: ANN401
        """Whether the rows have the columns, and are sound."""
        schema = rows.schema
        if self._schema is None or not self._schema.equals(schema):
            self._schema = None
            places = []
            for kind, raw, register, width in self._fields:
                at = schema.get_all_field_indices(raw)
                if len(at) != 1 or schema.field(at[0]).type != kind:
                    return False
                places.append((at[0], register, width))
            numbers = {register: number for number, register, _ in places}
            for store, raw, register in self._route.texts:
                at = schema.get_all_field_indices(raw)
                if len(at) != 1 or not fits(schema.field(at[0]).type, store):
                    return False
                numbers[register] = at[0]
            self._schema, self._registers = schema, tuple(r for _, r, _ in places)
            self._numbers = numbers
            self._endings = [Ending(end, schema, numbers) for end in self._route.exits]
            self._places = Places([(number, width) for number, _, width in places])
        try:
            rows.validate(full=True)
        except (pa.ArrowInvalid, ValueError):
            return False  # the usual way says what is wrong
        return True
