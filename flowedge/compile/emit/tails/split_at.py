"""`split at EVENTS from A to B` on a signal: a frame of samples around each event."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.count_frames import frame_type, store_of
from flowedge.graph.nodes import SplitAt
from flowedge.types.schema import TIME, Column


class SplitAtTail(Tail):
    """Samples go into a ring of each key; events wait until their last sample has come.

    Samples are numbered from the key's first one after a gap. The sample nearest to the event is
    known when the next one comes. Frames that reach beyond the start, a gap, or the end are incomplete.
    """

    follows_chain = False

    def __init__(
        self,
        kernel: Kernel,
        node: SplitAt,
        samples: tuple[Column, ...],
        events: tuple[Column, ...],
        period_ns: int,
    ) -> None:
        self.node, self.before, self.after, self.period = node, node.before, node.after, period_ns
        types = {c.name: c.type for c in samples}
        self.columns = [Column(n, types[n]) for n in node.columns]
        types_of_events = {c.name: c.type for c in events}
        self.taken = [(name, out, types_of_events[name]) for name, out in node.event_columns]
        state = kernel.state
        self.length = node.after - node.before
        self.size = max(node.after, 1) - min(node.before, 0) + 2
        self.words = 1 + sum(c.type.size for c in self.columns)
        self.ring = state.ring_address(self.size * self.words)
        self.slots = self.size + 2
        self.event_words = 2 + sum(t.size for _, _, t in self.taken)
        self.queue = state.ring_address(self.slots * self.event_words)
        self.count, self.at = state.cell("count", 0), state.cell("sample_at", -(2**63))
        self.head, self.waiting = state.cell("head", 0), state.cell("waiting", 0)
        state.keep(self.head, self.waiting)
        self.lost = kernel.globals.add("g_incomplete", 0).name

    def close(self, kernel: Kernel) -> None:
        """One sample may complete one frame at a time; a row is entered again until none is complete."""
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """A sample goes into the ring and may complete frames; an event is put to wait."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block("if port == 1"):
            self._event(kernel)
            if self.after <= 1:
                self._complete(kernel)
        with sheet.block("else"):
            if kernel.gaps:
                with sheet.block("if gap != 0"):
                    sheet(f"{self.lost} += {state.get(self.waiting)}")
                    state.put(self.waiting, "0")
                    state.put(self.head, "0")
            slot = sheet.fresh("at")
            sheet(
                f"{slot} = {state.get(self.count)} % {self.size} * {self.words}",
                f"set_i64({self.ring}, {slot}, t)",
            )
            word = 1
            for column in self.columns:
                kind = "f64" if column.type.is_float else "i64"
                for text in kernel.read(column.name, column.type):
                    sheet(f"set_{kind}({self.ring}, {slot} + {word}, {text})")
                    word += 1
            state.put(self.count, f"{state.get(self.count)} + 1")
            state.put(self.at, "t")
            self._complete(kernel)

    def _event(self, kernel: Kernel) -> None:
        sheet, state = kernel.sheet, kernel.state
        slot, near = sheet.fresh("at"), sheet.fresh("near")
        # The next sample is nearer when the event lies beyond half a period after the last one.
        sheet(f"{near} = {state.get(self.count)} - 1")
        with sheet.block(
            f"if {state.get(self.at)} == MISSING or 2 * (t - {state.get(self.at)}) > {self.period}"
        ):
            sheet(f"{near} += 1")
        with sheet.block(
            f"if {near} + {self.before} < 0 or {state.get(self.waiting)} >= {self.slots}"
        ):
            sheet(f"{self.lost} += 1")
        with sheet.block("else"):
            sheet(
                f"{slot} = ({state.get(self.head)} + {state.get(self.waiting)}) % {self.slots} * {self.event_words}"
            )
            sheet(f"set_i64({self.queue}, {slot}, t)", f"set_i64({self.queue}, {slot} + 1, {near})")
            word = 2
            for name, _, type_ in self.taken:
                kind = "f64" if type_.is_float else "i64"
                for text in kernel.read(name, type_, port=1) if name != "time" else ("t",):
                    sheet(f"set_{kind}({self.queue}, {slot} + {word}, {text})")
                    word += 1
            state.put(self.waiting, f"{state.get(self.waiting)} + 1")

    def _complete(self, kernel: Kernel) -> None:
        """Write every frame whose last sample is there. Events of one key are in order of time."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        event, near, q, at = (sheet.fresh(s) for s in ("event", "near", "q", "at"))
        with sheet.block(f"while {state.get(self.waiting)} > 0"):
            sheet(f"{event} = {state.get(self.head)} % {self.slots} * {self.event_words}")
            sheet(f"{near} = i64({self.queue}, {event} + 1)")
            with sheet.block(f"if {near} + {self.after} > {state.get(self.count)}"):
                sheet("break")
            with sheet.block("if m >= room"):
                # Leaving here would take the sample a second time: rows out have room for all that can wait.
                sheet("break")
            outs = [
                (kernel.field_out(c.name, frame_type(c.type, self.length)), c) for c in self.columns
            ]
            with sheet.block(f"for {q} in range({self.length})"):
                sheet(f"{at} = ({near} + {self.before} + {q}) % {self.size} * {self.words}")
                word = 1
                for index, column in outs:
                    load = "f64" if column.type.is_float else "i64"
                    for j in range(column.type.size):
                        size = column.type.size
                        place = (
                            f"(m * {self.length} + {q}) * {size} + {j}"
                            if size > 1
                            else f"m * {self.length} + {q}"
                        )
                        sheet(
                            f"set_{store_of(column.type)}(out_{index}, {place}, {load}({self.ring}, {at} + {word}))"
                        )
                        word += 1
            first = f"i64({self.ring}, ({near} + {self.before}) % {self.size} * {self.words})"
            last = f"i64({self.ring}, ({near} + {self.after - 1}) % {self.size} * {self.words})"
            kernel.write("start", TIME, (first,))
            names = {c.name for c in node.out.columns}
            if "end" in names:
                kernel.write("end", TIME, (last,))
            word = 2
            for _, out, type_ in self.taken:
                load = "f64" if type_.is_float else "i64"
                kernel.write(
                    out,
                    type_,
                    tuple(f"{load}({self.queue}, {event} + {word + j})" for j in range(type_.size)),
                )
                word += type_.size
            kernel.emit(f"i64({self.queue}, {event})", "slot")
            state.put(self.head, f"({state.get(self.head)} + 1) % {self.slots}")
            state.put(self.waiting, f"{state.get(self.waiting)} - 1")

    def watermark(self, kernel: Kernel) -> str:
        """A frame has the time of its event, and comes when its last sample has come."""
        wait = max(self.after, 0) * self.period + self.period
        return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {wait})"
