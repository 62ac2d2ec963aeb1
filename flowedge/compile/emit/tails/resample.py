"""`resample RATE nearest|hold|linear`: irregular rows on the grid of multiples from 1970, or of local time."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.local import GridClock
from flowedge.compile.emit.tails.timers import Timers
from flowedge.graph.expressions import Cast, Read
from flowedge.graph.nodes import Resample
from flowedge.types.schema import Column


def grid_time(k: int, num: int, den: int) -> int:
    """The time [ns] of grid point k at num/den Hz, rounded to the nearest nanosecond."""
    whole = k * den
    seconds = whole // num
    return seconds * 1000000000 + ((whole - seconds * num) * 1000000000 + num // 2) // num


def grid_from(t: int, num: int, den: int) -> int:
    """The first grid point at or after a time."""
    seconds = t // 1000000000
    k = (seconds * num + (t - seconds * 1000000000) * num // 1000000000) // den - 1
    while grid_time(k, num, den) < t:
        k += 1
    return k


class ResampleTail(Tail):
    """Keeps each key's last row and its next grid point.

    `linear` and `nearest` fill the grid up to a row when it comes; `hold` also by the watermark, so it
    is the clock that sees absence, up to the end of each key, and at the end of the input up to the newest row of any. Numbers are interpolated,
    everything else is held. Where points are left out, the next one shows a gap.
    """

    out_gaps = True
    follows_chain = False

    def __init__(self, kernel: Kernel, node: Resample, columns: tuple[Column, ...]) -> None:
        # Whole numbers become floats where they are interpolated.
        self.node, self.given = node, columns
        self.makes_gaps = node.up_to_ns is not None
        made = {c.name: c for c in node.out.columns}
        self.columns = tuple(made.get(c.name, c) for c in columns)
        self.period, self.rest = divmod(10**9 * node.rate[1], node.rate[0])
        self.clock = GridClock(kernel, node.zone, self.period, self.period)
        state = kernel.state
        self.at = state.cell("at", -(2**63))
        self.next = state.cell("next_point", 0)
        self.point = "" if node.method == "hold" else state.cell("point", 0)
        """Time of the next grid point; with `hold` a timer has it."""
        self.step = kernel.globals.add("g_row_done", 0).name
        self.old = [
            [
                state.cell(f"old_{c.name}", float("nan") if c.type.is_float else _missing(c))
                for _ in range(c.type.size)
            ]
            for c in self.columns
        ]
        self.timers = Timers(kernel) if node.method == "hold" else None
        self.newest = kernel.globals.add("g_newest", -(2**63)).name if self.timers else ""
        state.keep(self.at, self.next, *(x for cells in self.old for x in cells))
        if self.point:
            state.keep(self.point)

    def _grid(self, kernel: Kernel, k: str) -> str:
        if self.clock.is_local:
            return self.clock.instant(f"{k} * {self.period}")
        if not self.rest:
            return f"{k} * {self.period}"
        num, den = self.node.rate
        return f"{kernel.names.function(grid_time, 'grid_time')}({k}, {num}, {den})"

    def _first(self, kernel: Kernel, t: str) -> str:
        if self.clock.is_local:
            return f"{self.clock.reading(f'({t} - 1)')} // {self.period} + 1"
        num, den = self.node.rate
        return f"{kernel.names.function(grid_from, 'grid_from')}({t}, {num}, {den})"

    def _advance(self, kernel: Kernel, point: str) -> None:
        """Write the step from a grid point to the next; points that clocks skip together are one."""
        state = kernel.state
        after = f"{state.get(self.next)} + 1"
        if self.clock.is_local:
            after = f"{self.clock.reading(point)} // {self.period} + 1"
        state.put(self.next, after)
        self._look_ahead(kernel)

    def _look_ahead(self, kernel: Kernel) -> None:
        """Write the time of the next grid point down, for many rows may ask whether they have reached it."""
        if self.point:
            kernel.state.put(self.point, self._grid(kernel, kernel.state.get(self.next)))

    def close(self, kernel: Kernel) -> None:
        """With `hold`, every grid point before `now` for keys that are still fresh enough."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        if self.timers is not None:
            timers = self.timers

            def act() -> None:
                due = state.get(timers.filed)
                limit = (
                    f" or {due} - {state.get(self.at)} > {node.up_to_ns}"
                    if node.up_to_ns is not None
                    else ""
                )
                # The grid ends with the input: at the newest of its rows, whatever else is known of time.
                is_over = f"finish != 0 and i == n and {due} > {self.newest}"
                ended = f" or {due} >= {timers.end_of_key()}" if timers.ends_ns is not None else ""
                with sheet.block(f"if ({is_over}){limit}{ended}"):
                    timers.clear()
                with sheet.block("else"):
                    for column, cells in zip(self.columns, self.old, strict=True):
                        kernel.write(column.name, column.type, tuple(state.get(c) for c in cells))
                    kernel.emit(due, "slot")
                    self._advance(kernel, due)
                    state.put(timers.due, self._grid(kernel, state.get(self.next)))

            # A point at the very time of a row belongs to that row, so points wait until time has passed them.
            timers.fire(act, reached="< now")
        with sheet.block("if i < n and m >= room"):
            sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Fill the grid from the row before up to this one; the row itself is kept."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        new = [
            chain.column(c.name, c.type)
            if c.type == given.type
            else kernel.values.value(Cast(Read(c.name, given.type), c.type))
            for c, given in zip(self.columns, self.given, strict=True)
        ]
        if self.timers is None:
            at, point = state.get(self.at), state.get(self.point)
            broken = f" and t - {at} <= {node.up_to_ns}" if node.up_to_ns is not None else ""
            restart = " and gap == 0" if kernel.gaps else ""
            goes_on = sheet.block(f"if {at} != MISSING{broken}{restart}")
            with goes_on, sheet.block(f"while {point} < t"):
                with sheet.block("if m >= room"):
                    sheet("LEAVE_FULL")
                self._between(kernel, new, point)
                self._advance(kernel, point)
            with sheet.block("else"):
                self._begin(kernel)
            with sheet.block(f"if {point} == t"):
                with sheet.block("if m >= room"):
                    sheet("LEAVE_FULL")
                for column, values in zip(self.columns, new, strict=True):
                    kernel.write(column.name, column.type, values)
                kernel.emit("t", "slot")
                self._advance(kernel, "t")
            self._keep(kernel, new)
            return
        sheet(f"{self.newest} = max({self.newest}, t)")
        with sheet.block(f"if {state.get(self.timers.waits)} == 0"):
            self._begin(kernel)
            self._keep(kernel, new)
            self.timers.set(self._grid(kernel, state.get(self.next)))
        with sheet.block("else"):
            self._keep(kernel, new)

    def _begin(self, kernel: Kernel) -> None:
        """Write the start of a grid at the row at hand: behind points that nothing reached it is a gap."""
        sheet, state = kernel.sheet, kernel.state
        first = sheet.fresh("first_point")
        sheet(f"{first} = {self._first(kernel, 't')}")
        if kernel.gap_due is not None:
            with sheet.block(f"if {first} > {state.get(self.next)}"):
                state.put(kernel.gap_due, "1")
        state.put(self.next, first)
        self._look_ahead(kernel)

    def _keep(self, kernel: Kernel, new: list[tuple[str, ...]]) -> None:
        kernel.state.put(self.at, "t")
        for cells, values in zip(self.old, new, strict=True):
            for cell, value in zip(cells, values, strict=True):
                kernel.state.put(cell, value)

    def _between(self, kernel: Kernel, new: list[tuple[str, ...]], point: str) -> None:
        sheet, state = kernel.sheet, kernel.state
        before, whole = f"({point} - {state.get(self.at)})", f"(t - {state.get(self.at)})"
        for column, cells, values in zip(self.columns, self.old, new, strict=True):
            texts = []
            for cell, value in zip(cells, values, strict=True):
                old = state.get(cell)
                if self.node.method == "nearest":
                    texts.append(f"({old} if 2 * {before} <= {whole} else {value})")
                elif column.type.is_float:
                    held = sheet.fresh("part")
                    sheet(f"{held} = {before} / {whole}")
                    texts.append(f"({old} + ({value} - {old}) * {held})")
                else:
                    texts.append(old)
            kernel.write(column.name, column.type, tuple(texts))
        kernel.emit(point, "slot")

    def watermark(self, kernel: Kernel) -> str:
        """`hold` has said all before the watermark; the others wait for each key's next row."""
        if self.node.method == "hold":
            return "watermark"
        if self.node.up_to_ns is not None:
            return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {self.node.up_to_ns})"
        return "(FOREVER if finish != 0 else NEVER)"


def _missing(column: Column) -> int:
    return {"string": -1, "binary": -1, "bool": 2}.get(column.type.store, -(2**63))
