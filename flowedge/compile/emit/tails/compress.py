"""`compress swing` and `auto`: rows whose joining lines stay within the user's bound; `constant`: pieces that lie near one value."""

import math

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.grid import (
    FINE,
    LARGEST,
    LEARN,
    PERIOD,
    WIDE,
    WORDS,
    Bounds,
    learn_row,
)
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.state import State
from flowedge.compile.emit.tails.timers import Timers
from flowedge.compile.emit.values import Value
from flowedge.graph.nodes import Compress
from flowedge.types.schema import Column


class SwingTail(Tail):
    """Keeps an anchor row and, for each column, the cone of slopes that no row since has left.

    The cone is drawn at the bound itself, from the anchor's own value, and a line ends at a row that
    was seen: so the error at every row stays within the bound. Textbook swinging door (Bristol,
    "Swinging door trending", ISA 1990) errs by twice its setting: its cone starts beside the anchor.
    """

    out_gaps = True

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
        self.bounds = Bounds(kernel, node, {c.name: c.type for c in columns})
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

    def gap(self, kernel: Kernel) -> None:
        """The line ends before the gap."""
        with kernel.sheet.block(f"if {kernel.state.get(self.held)} == 1"):
            self._write_last(kernel)

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Narrow the cones; where one closes, the row before is kept and becomes the anchor."""
        values = {c.name: chain.column(c.name, c.type) for c in self.columns}
        self.bounds.look(values)
        self._narrow(kernel, values)

    def _narrow(self, kernel: Kernel, values: dict[str, Value]) -> None:
        sheet, state, node = kernel.sheet, kernel.state, self.node
        ends = self._ends(kernel, values)
        start, breaks = sheet.fresh("starts"), sheet.fresh("breaks")
        gap = " or gap != 0" if kernel.gaps else ""
        sheet(f"{start} = {state.get(self.anchor_at)} == MISSING{gap}")
        sheet(f"{breaks} = False")
        slopes: dict[str, tuple[str, str]] = {}
        with sheet.block(f"if not {start}"):
            for name in node.columns:
                (x,), (y,), bound = values[name], ends[name], self.bounds.of(name)
                dt, low, high, mid = (sheet.fresh(s) for s in ("dt", "low", "high", "slope"))
                sheet(f"{dt} = float(max(1, t - {state.get(self.anchor_at)}))")
                sheet(f"{low} = ({x} - {bound} - {state.get(self.anchor[name])}) / {dt}")
                sheet(f"{high} = ({x} + {bound} - {state.get(self.anchor[name])}) / {dt}")
                sheet(f"{mid} = ({y} - {state.get(self.anchor[name])}) / {dt}")
                slopes[name] = (low, high)
                # A value that is missing or infinite, or follows one that is, always breaks the line.
                inside = f"{state.get(self.low[name])} <= {mid} <= {state.get(self.high[name])} and abs({mid}) <= {LARGEST!r}"
                sheet(f"{breaks} = {breaks} or not ({inside})")
        with sheet.block(f"if {start}"):
            self._take(kernel, ends)
            self._write_last(kernel)
            self._anchor(kernel)
        with sheet.block(f"elif {breaks}"):
            with sheet.block(f"if {state.get(self.held)} == 1"):
                self._write_last(kernel)
            self._anchor(kernel)
            self._take(kernel, ends)
            for name in node.columns:
                (x,), bound = values[name], self.bounds.of(name)
                dt = sheet.fresh("dt")
                sheet(f"{dt} = float(max(1, t - {state.get(self.anchor_at)}))")
                old = state.get(self.anchor[name])
                state.put(self.low[name], f"({x} - {bound} - {old}) / {dt}")
                state.put(self.high[name], f"({x} + {bound} - {old}) / {dt}")
            state.put(self.held, "1")
        with sheet.block("else"):
            for name, (low, high) in slopes.items():
                state.put(self.low[name], f"max({state.get(self.low[name])}, {low})")
                state.put(self.high[name], f"min({state.get(self.high[name])}, {high})")
            self._take(kernel, ends)
            state.put(self.held, "1")
        self.timers.set_end()

    def _ends(self, kernel: Kernel, values: dict[str, Value]) -> dict[str, Value]:
        """What a line may end at: the values themselves."""
        return values

    def _take(self, kernel: Kernel, values: dict[str, Value]) -> None:
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


class AutoTail(SwingTail):
    """Ends of lines on a fine grid, or every sample on a wide one, whichever costs fewer bits of late.

    Straight lines between its rows never err by more than the bound either way.
    """

    def __init__(self, kernel: Kernel, node: Compress, columns: tuple[Column, ...]) -> None:
        super().__init__(kernel, node, columns)
        state = kernel.state
        self.samples, self.nth = state.cell("samples", 0), state.cell("nth", 0)
        state.within(0, self.samples, 1)
        state.within(0, self.nth, PERIOD - 1)
        self.words = {name: _words(state)[0] for name in node.columns}

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Look which way costs less, then go it."""
        sheet, state, bounds = kernel.sheet, kernel.state, self.bounds
        values = {c.name: chain.column(c.name, c.type) for c in self.columns}
        bounds.look(values)
        nth, more = sheet.fresh("nth_now"), sheet.fresh("more")
        sheet(f"{nth} = {state.get(self.nth)} + 1")
        with sheet.block(f"if {nth} <= {LEARN}"):
            learn = kernel.names.function(learn_row, "learn_row")
            calls = [
                f"{learn}({state.address(self.words[name])}, {nth}, t, float({values[name][0]}), {bounds.of(name)}, {bounds.step(name, FINE)}, {bounds.step(name, WIDE)})"
                for name, bound in zip(self.node.columns, self.node.bounds, strict=True)
                if bound > 0
            ]
            sheet(f"{more} = {' + '.join(calls) or '0.0'}")
            with sheet.block(f"if {nth} == {LEARN} and {more} != 0.0"):
                state.put(self.samples, f"(1 if {more} < 0.0 else 0)")
        state.put(self.nth, f"({nth} if {nth} < {PERIOD} else 0)")
        with sheet.block(f"if {state.get(self.samples)} == 1"):
            with sheet.block(f"if {state.get(self.held)} == 1"):
                self._write_last(kernel)
            self._take(kernel, self._on(kernel, values, WIDE))
            self._write_last(kernel)
            self._anchor(kernel)
            self.timers.set_end()
        with sheet.block("else"):
            self._narrow(kernel, values)

    def _ends(self, kernel: Kernel, values: dict[str, Value]) -> dict[str, Value]:
        """Points of the fine grid."""
        return self._on(kernel, values, FINE)

    def _on(self, kernel: Kernel, values: dict[str, Value], part: float) -> dict[str, Value]:
        ends = {
            name: (kernel.values.hold(self.bounds.on_grid(name, values[name][0], part), "end"),)
            for name in self.node.columns
        }
        return {**values, **ends}


_NOTHING, _WHOLE, _TOLD = range(3)
"""What is held of a key: nothing, a piece, the last row of a piece that has been written."""


class ConstantTail(Tail):
    """Keeps for each column the least and the greatest value since the piece began; it ends where they lie too far apart.

    Pieces as long as they can be are also the fewest: Lazaridis and Mehrotra, "Capturing sensor-generated
    time series with quality guarantees", ICDE 2003 (PMC-MR).
    """

    out_gaps = True

    def __init__(self, kernel: Kernel, node: Compress, columns: tuple[Column, ...]) -> None:
        self.node, self.columns = node, columns
        state = kernel.state
        self.held = state.cell("held", 0)
        self.first_at, self.last_at = (state.cell(n, -(2**63)) for n in ("first_at", "last_at"))
        self.low = {n: state.cell(f"low_{n}", 0.0) for n in node.columns}
        self.high = {n: state.cell(f"high_{n}", 0.0) for n in node.columns}
        self.first = {
            c.name: [state.cell(f"first_{c.name}", _start(c)) for _ in range(c.type.size)]
            for c in columns
            if c.name not in self.low
        }
        self.timers = Timers(kernel)
        self.bounds = Bounds(kernel, node, {c.name: c.type for c in columns})
        state.keep(self.held, self.first_at, self.last_at, *self.low.values(), *self.high.values())
        state.keep(*(x for cells in self.first.values() for x in cells))
        state.within(_NOTHING, self.held, _TOLD)

    def close(self, kernel: Kernel) -> None:
        """At the end of input the last piece of each key leaves, and its last row; as many may leave at a gap."""
        state, timers = kernel.state, self.timers

        def act() -> None:
            with kernel.sheet.block(f"if {state.get(self.held)} == {_WHOLE}"):
                self._write(kernel, state.get(self.first_at))
                state.put(self.held, f"({_TOLD} if {self._is_long(state)} else {_NOTHING})")
                state.put(timers.due, f"{state.get(timers.filed)} + 1")
            with kernel.sheet.block("else"):
                with kernel.sheet.block(f"if {state.get(self.held)} == {_TOLD}"):
                    self._write(kernel, state.get(self.last_at))
                    state.put(self.held, str(_NOTHING))
                timers.clear()

        timers.fire_end(act)
        with kernel.sheet.block("if i < n and m + 2 > room"):
            kernel.sheet("LEAVE_FULL")

    def gap(self, kernel: Kernel) -> None:
        """The piece ends before the gap."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block(f"if {state.get(self.held)} == {_WHOLE}"):
            self._write(kernel, state.get(self.first_at))
            with sheet.block(f"if {self._is_long(state)}"):
                self._write(kernel, state.get(self.last_at))
            state.put(self.held, str(_NOTHING))

    def _is_long(self, state: State) -> str:
        return f"{state.get(self.last_at)} != {state.get(self.first_at)}"

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Widen the ranges; where one would be too wide, the piece is written and the next begins."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        values = {c.name: chain.column(c.name, c.type) for c in self.columns}
        self.bounds.look(values)
        stays = sheet.fresh("stays")
        sheet(f"{stays} = {state.get(self.held)} == {_WHOLE}")
        wider: dict[str, tuple[str, str]] = {}
        for name in node.columns:
            (x,), bound = values[name], self.bounds.of(name)
            low, high, mid = (sheet.fresh(s) for s in ("low", "high", "mid"))
            sheet(
                f"{low} = min({state.get(self.low[name])}, float({x}))",
                f"{high} = max({state.get(self.high[name])}, float({x}))",
                f"{mid} = {low} + 0.5 * ({high} - {low})",
            )
            both = f"({x} != {x} and {state.get(self.low[name])} != {state.get(self.low[name])})"
            near = f"{high} - {mid} <= {bound} and {mid} - {low} <= {bound} and {x} == {x}"
            sheet(f"{stays} = {stays} and ({both} or {near})")
            wider[name] = (low, high)
        with sheet.block(f"if {stays}"):
            for name, (low, high) in wider.items():
                state.put(self.low[name], low)
                state.put(self.high[name], high)
        with sheet.block("else"):
            with sheet.block(f"if {state.get(self.held)} == {_WHOLE}"):
                self._write(kernel, state.get(self.first_at))
            for name in node.columns:
                state.put(self.low[name], f"float({values[name][0]})")
                state.put(self.high[name], f"float({values[name][0]})")
            for name, cells in self.first.items():
                for cell, value in zip(cells, values[name], strict=True):
                    state.put(cell, value)
            state.put(self.first_at, "t")
            state.put(self.held, str(_WHOLE))
        state.put(self.last_at, "t")
        self.timers.set_end()

    def _write(self, kernel: Kernel, time: str) -> None:
        state = kernel.state
        for column in self.columns:
            if column.name in self.first:
                texts = tuple(state.get(c) for c in self.first[column.name])
            else:
                low, high = state.get(self.low[column.name]), state.get(self.high[column.name])
                texts = (f"({low} if {low} == {high} else {low} + 0.5 * ({high} - {low}))",)
                if not column.type.is_float:
                    texts = (f"{kernel.names.function(_whole, 'whole')}({texts[0]})",)
            kernel.write(column.name, column.type, texts)
        kernel.emit(time, "slot")

    def watermark(self, kernel: Kernel) -> str:
        """A piece of each key is still to come."""
        return "(FOREVER if finish != 0 else NEVER)"


def _whole(x: float) -> int:
    """The whole number at or below; missing stays missing."""
    return -9223372036854775808 if x < -9.2e18 else math.floor(x)


def _words(state: State) -> list[str]:
    """Cells that lie one behind the other, for `learn_row`."""
    return [state.cell("learnt", 0.0, in_memory=True) for _ in range(WORDS)]


def _start(column: Column) -> float | int:
    if column.type.is_float:
        return 0.0
    return -(2**63)
