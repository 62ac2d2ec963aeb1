"""`compress swing`: the fewest rows whose joining lines stay within the user's bound."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.timers import Timers
from flowedge.graph.nodes import Compress
from flowedge.types.schema import Column


class SwingTail(Tail):
    """Keeps an anchor row and, for each column, the cone of slopes that no row since has left.

    The cone is drawn at the bound itself, from the anchor's own value, and a line ends at a row that
    was seen: so the error at every row stays within the bound. Textbook swinging door (Bristol,
    "Swinging door trending", ISA 1990) errs by twice its setting: its cone starts beside the anchor.
    """

    def __init__(self, kernel: Kernel, node: Compress, columns: tuple[Column, ...]) -> None:
        self.node, self.columns = node, columns
        state = kernel.state
        self.held = state.cell("held", 0)
        self.anchor_at, self.last_at = (
            state.cell("anchor_at", -(2**63)),
            state.cell("last_at", -(2**63)),
        )
        self.anchor = {n: state.cell(f"anchor_{n}", 0.0) for n in node.columns}
        self.low = {n: state.cell(f"low_{n}", 0.0) for n in node.columns}
        self.high = {n: state.cell(f"high_{n}", 0.0) for n in node.columns}
        self.last = [
            [state.cell(f"last_{c.name}", _start(c)) for _ in range(c.type.size)] for c in columns
        ]
        self.timers = Timers(kernel)
        state.keep(
            self.held, self.anchor_at, self.last_at, *(x for cells in self.last for x in cells)
        )

    def close(self, kernel: Kernel) -> None:
        """At the end of input the last row of each key leaves; a row may give two."""
        state = kernel.state

        def act() -> None:
            with kernel.sheet.block(f"if {state.get(self.held)} == 1"):
                self._write_last(kernel)
            self.timers.clear()

        self.timers.fire_end(act)
        with kernel.sheet.block("if i < n and m + 2 > room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Narrow the cones; where one closes, the row before is kept and becomes the anchor."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        values = {c.name: chain.column(c.name, c.type) for c in self.columns}
        start, breaks = sheet.fresh("starts"), sheet.fresh("breaks")
        gap = " or gap != 0" if kernel.gaps else ""
        sheet(f"{start} = {state.get(self.anchor_at)} == MISSING{gap}")
        if kernel.gaps:
            with sheet.block(f"if {start} and {state.get(self.held)} == 1"):
                self._write_last(kernel)
        sheet(f"{breaks} = False")
        slopes: dict[str, tuple[str, str]] = {}
        with sheet.block(f"if not {start}"):
            for name, bound in zip(node.columns, node.bounds, strict=True):
                (x,) = values[name]
                dt, low, high, mid = (sheet.fresh(s) for s in ("dt", "low", "high", "slope"))
                sheet(f"{dt} = float(max(1, t - {state.get(self.anchor_at)}))")
                sheet(f"{low} = ({x} - {bound!r} - {state.get(self.anchor[name])}) / {dt}")
                sheet(f"{high} = ({x} + {bound!r} - {state.get(self.anchor[name])}) / {dt}")
                sheet(f"{mid} = ({x} - {state.get(self.anchor[name])}) / {dt}")
                slopes[name] = (low, high)
                # A missing value, or one after a missing one, always breaks the line.
                inside = f"{state.get(self.low[name])} <= {mid} <= {state.get(self.high[name])}"
                sheet(f"{breaks} = {breaks} or not ({inside})")
        with sheet.block(f"if {start}"):
            self._take(kernel, values)
            self._write_last(kernel)
            self._anchor(kernel)
        with sheet.block(f"elif {breaks}"):
            with sheet.block(f"if {state.get(self.held)} == 1"):
                self._write_last(kernel)
            self._anchor(kernel)
            self._take(kernel, values)
            for name, bound in zip(node.columns, node.bounds, strict=True):
                (x,) = values[name]
                dt = sheet.fresh("dt")
                sheet(f"{dt} = float(max(1, t - {state.get(self.anchor_at)}))")
                old = state.get(self.anchor[name])
                state.put(self.low[name], f"({x} - {bound!r} - {old}) / {dt}")
                state.put(self.high[name], f"({x} + {bound!r} - {old}) / {dt}")
            state.put(self.held, "1")
        with sheet.block("else"):
            for name, (low, high) in slopes.items():
                state.put(self.low[name], f"max({state.get(self.low[name])}, {low})")
                state.put(self.high[name], f"min({state.get(self.high[name])}, {high})")
            self._take(kernel, values)
            state.put(self.held, "1")
        self.timers.set_end()

    def _take(self, kernel: Kernel, values: dict[str, tuple[str, ...]]) -> None:
        kernel.state.put(self.last_at, "t")
        for column, cells in zip(self.columns, self.last, strict=True):
            for cell, value in zip(cells, values[column.name], strict=True):
                kernel.state.put(cell, value)

    def _write_last(self, kernel: Kernel) -> None:
        state = kernel.state
        for column, cells in zip(self.columns, self.last, strict=True):
            kernel.write(column.name, column.type, tuple(state.get(c) for c in cells))
        kernel.emit(state.get(self.last_at), "slot")
        state.put(self.held, "0")

    def _anchor(self, kernel: Kernel) -> None:
        """The last row becomes the anchor, with cones wide open."""
        state = kernel.state
        state.put(self.anchor_at, state.get(self.last_at))
        for column, cells in zip(self.columns, self.last, strict=True):
            if column.name in self.anchor:
                state.put(self.anchor[column.name], state.get(cells[0]))
                state.put(self.low[column.name], "-inf")
                state.put(self.high[column.name], "inf")

    def watermark(self, kernel: Kernel) -> str:
        """The last row of each key is still to come."""
        return "(FOREVER if finish != 0 else NEVER)"


def _start(column: Column) -> float | int:
    if column.type.is_float:
        return 0.0
    return -(2**63)
