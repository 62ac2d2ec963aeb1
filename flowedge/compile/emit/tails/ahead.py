"""`lead(x, n)`: each row waits until n more rows of its key have come."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.join import missing
from flowedge.compile.emit.tails.timers import Timers
from flowedge.graph.nodes import Ahead
from flowedge.types.schema import Column


class AheadTail(Tail):
    """A ring of the last N + 1 rows of each key; the oldest leaves with what stands after it."""

    out_gaps = False

    def __init__(self, kernel: Kernel, node: Ahead, columns: tuple[Column, ...]) -> None:
        self.node, self.columns = node, columns
        self.rows = max(rows for _, _, rows in node.values)
        state = kernel.state
        self.values = [(name, expr.type) for name, expr, _ in node.values]
        self.words = 1 + sum(c.type.size for c in columns) + len(node.values)
        self.size = self.rows + 1
        self.ring = state.ring_address(self.size * self.words)
        self.count, self.sent = state.cell("count", 0), state.cell("sent", 0)
        state.never_negative({self.count: 1, self.sent: -1})
        state.never_negative({self.count: -1, self.sent: 1}, self.size)
        self.timers = Timers(kernel)
        state.keep(self.count, self.sent)

    def close(self, kernel: Kernel) -> None:
        """At the end of input the rows that still wait leave, with nothing after them."""
        state = kernel.state

        def act() -> None:
            with kernel.sheet.block(f"if {state.get(self.sent)} < {state.get(self.count)}"):
                self._emit(kernel)
                state.put(self.timers.due, f"{state.get(self.timers.filed)} + 1")
            with kernel.sheet.block("else"):
                self.timers.clear()

        self.timers.fire_end(act)
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Put the row into the ring; the one that has waited long enough leaves."""
        sheet, state = kernel.sheet, kernel.state
        at = sheet.fresh("at")
        sheet(
            f"{at} = {state.get(self.count)} % {self.size} * {self.words}",
            f"set_i64({self.ring}, {at}, t)",
        )
        word = 1
        for column in self.columns:
            kind = "f64" if column.type.is_float else "i64"
            for text in chain.column(column.name, column.type):
                sheet(f"set_{kind}({self.ring}, {at} + {word}, {text})")
                word += 1
        for _, expr, _ in self.node.values:
            kind = "f64" if expr.type.is_float else "i64"
            sheet(f"set_{kind}({self.ring}, {at} + {word}, {kernel.values.scalar(expr)})")
            word += 1
        state.put(self.count, f"{state.get(self.count)} + 1")
        with sheet.block(f"if {state.get(self.count)} - {state.get(self.sent)} > {self.rows}"):
            self._emit(kernel)
        self.timers.set_end()

    def _emit(self, kernel: Kernel) -> None:
        sheet, state = kernel.sheet, kernel.state
        at, sent = sheet.fresh("at"), sheet.fresh("sent")
        sheet(f"{sent} = {state.get(self.sent)}", f"{at} = {sent} % {self.size} * {self.words}")
        word = 1
        for column in self.columns:
            load = "f64" if column.type.is_float else "i64"
            texts = tuple(
                f"{load}({self.ring}, {at} + {word + j})" for j in range(column.type.size)
            )
            kernel.write(column.name, column.type, texts)
            word += column.type.size
        for name, expr, rows in self.node.values:
            load = "f64" if expr.type.is_float else "i64"
            there = f"{load}({self.ring}, ({sent} + {rows}) % {self.size} * {self.words} + {word})"
            kernel.write(
                name,
                expr.type,
                (
                    f"({there} if {sent} + {rows} < {state.get(self.count)} else {missing(expr.type)})",
                ),
            )
            word += 1
        kernel.emit(f"i64({self.ring}, {at})", "slot")
        state.put(self.sent, f"{sent} + 1")

    def watermark(self, kernel: Kernel) -> str:
        """Rows wait for other rows, not for time."""
        return "(FOREVER if finish != 0 else NEVER)"
