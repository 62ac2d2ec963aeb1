"""`split at EVENTS to next [up to D]`: from event to event, with the aggregates of each piece."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.cut import Piece
from flowedge.compile.emit.tails.timers import Timers
from flowedge.compile.emit.values import Value
from flowedge.graph.nodes import SplitNext
from flowedge.types.schema import TIME, Column


class SplitNextTail(Tail):
    """An event closes the piece of the one before and opens its own; rows fold into the open piece.

    Rows carry ``time`` = the event's, ``start`` = the same, ``end`` = the next event's, and the
    event's columns. A piece that no event closes ends at `up_to`, or at the end of input.
    """

    follows_chain = False
    ignores_gaps_of_events = True

    def __init__(self, kernel: Kernel, node: SplitNext, events: tuple[Column, ...]) -> None:
        self.node = node
        types = {c.name: c.type for c in events} | {"time": TIME}
        self.taken = [(name, out, types[name]) for name, out in node.event_columns]
        self.piece = Piece(kernel, node)
        self.timers = Timers(kernel)
        state = kernel.state
        self.cells = [
            [state.cell(f"event_{n}", 0.0 if t.is_float else 0) for _ in range(t.size)]
            for n, _, t in self.taken
        ]
        state.keep(*(x for cells in self.cells for x in cells))

    def _emit(self, kernel: Kernel, end: str) -> None:
        state, node, piece = kernel.state, self.node, self.piece
        begin = state.get(piece.first)
        kernel.write("start", TIME, (begin,))
        if any(c.name == "end" for c in node.out.columns):
            kernel.write("end", TIME, (end,))
        whole: dict[str, Value] = {"start": (begin,), "end": (end,)}
        for (_, out, type_), cells in zip(self.taken, self.cells, strict=True):
            whole[out] = tuple(state.get(c) for c in cells)
            kernel.write(out, type_, whole[out])
        outer, kernel.values.time = kernel.values.time, begin
        piece.write(whole)
        kernel.values.time = outer
        kernel.emit(begin, "slot")
        state.put(piece.is_open, "0")

    def close(self, kernel: Kernel) -> None:
        """Pieces that have reached their bound; at the end of input, all."""
        state, node = kernel.state, self.node

        def act() -> None:
            end = (
                f"{state.get(self.piece.first)} + {node.up_to_ns}"
                if node.up_to_ns is not None
                else state.get(self.piece.last)
            )
            self._emit(kernel, end)
            self.timers.clear()

        if node.up_to_ns is not None:
            self.timers.fire(act, ready=self.piece.ready)
        else:
            self.timers.fire_end(act, ready=self.piece.ready)
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """An event turns the page; a row is folded in where a piece is open."""
        sheet, state, piece = kernel.sheet, kernel.state, self.piece
        with sheet.block("if port == 1"):
            with sheet.block(f"if {state.get(piece.is_open)} == 1"):
                self._emit(kernel, "t")
            piece.begin("t")
            state.put(piece.last, "t")
            for (name, _, type_), cells in zip(self.taken, self.cells, strict=True):
                values = ("t",) if name == "time" else kernel.read(name, type_, port=1)
                for cell, value in zip(cells, values, strict=True):
                    state.put(cell, value)
            if self.node.up_to_ns is not None:
                self.timers.set(f"t + {self.node.up_to_ns}")
            else:
                self.timers.set_end()
        with sheet.block(f"elif {state.get(piece.is_open)} == 1"):
            piece.add(chain)

    def watermark(self, kernel: Kernel) -> str:
        """A piece has the time of its event and comes with the next one."""
        if self.node.up_to_ns is not None:
            return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {self.node.up_to_ns})"
        return "(FOREVER if finish != 0 else NEVER)"
