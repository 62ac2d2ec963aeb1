"""What a tail needs to act key by key when the watermark reaches a time of each key's own."""

from collections.abc import Callable, Sequence

from flowedge.compile.emit.heap import heap_pop, heap_push, heap_sink
from flowedge.compile.emit.kernel import Kernel

_LATEST = 2**63 - 2**33
"""No end is later: there is room behind it for timers, and it is not `FOREVER`."""


class Timers:
    """One timer for each key: `set` it on a row; `fire` runs what is due, in the order (time, key).

    Moving a timer to a later time costs nothing: it is looked at again when the old time comes.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        kernel.uses_touched = kernel.uses_touched or kernel.keyed
        self.ends_ns = kernel.ends_ns if kernel.keyed else None
        self.count = kernel.globals.add("g_timers", 0).name
        self.due = kernel.state.cell("due", -(2**63))
        self.filed = kernel.state.cell("filed", -(2**63))
        self.waits = kernel.state.cell("waits", 0)
        kernel.state.keep(self.due, self.filed, self.waits)
        kernel.state.busy.append(self.waits)
        kernel.state.within(0, self.waits, 1)
        kernel.state.totals.append((self.waits, self.count))

    def _call(self, run: Callable[..., int], *more: str) -> str:
        kernel = self.kernel
        name = kernel.names.function(run, run.__name__)
        offset = kernel.state.address(self.filed).removeprefix("r + ")
        return f"{name}({', '.join(['touched', self.count, *more, 'records', 'RECORD_SIZE', offset, 'rank'])})"

    def set(self, due: str) -> None:
        """Write statements that set the timer of the key at hand to a time, which never goes back."""
        kernel, state, sheet = self.kernel, self.kernel.state, self.kernel.sheet
        state.put(self.due, due)
        with sheet.block(f"if {state.get(self.waits)} == 0"):
            state.put(self.waits, "1")
            state.put(self.filed, state.get(self.due))
            sheet(
                f"{self.count} = {self._call(heap_push, 'slot')}"
                if kernel.keyed
                else f"{self.count} = 1"
            )

    def set_end(self) -> None:
        """Write statements that set the timer of the key at hand to its end: of its life, or of the input.

        Before the end of the input, keys stand in the order of their last rows.
        """
        if self.ends_ns is None:
            self.set("t")
            return
        state = self.kernel.state
        # The source may have told of a later end already.
        filed, waits = state.get(self.filed), state.get(self.waits)
        due = self._end("t")
        self.set(f"(max({due}, {filed}) if {waits} != 0 else {due})")

    def fire_end(self, act: Callable[[], None], *, ready: Sequence[str] = ()) -> None:
        """Write the loop over keys that have ended, as `fire`."""
        if self.ends_ns is None:
            self.fire(act, reached="!= MISSING", only="i == n and finish != 0", ready=ready)
            return

        def look() -> None:
            sheet, state = self.kernel.sheet, self.kernel.state
            end = sheet.fresh("end")
            sheet(f"{end} = {self.end_of_key()}")
            with sheet.block(f"if {end} > {state.get(self.filed)}"):
                state.put(self.due, end)
            with sheet.block("else"):
                act()

        self.fire(look, reached="<= now or finish != 0 and i == n", ready=ready)

    def end_of_key(self) -> str:
        """Text of the time at which the key at hand has ended, as far as its source knows."""
        return self._end("i64(lasts, slot)")

    def _end(self, last: str) -> str:
        assert self.ends_ns is not None
        return f"min({last}, {_LATEST - self.ends_ns}) + {self.ends_ns}"

    def clear(self) -> None:
        """Write statements that make the timer of the key at hand do nothing when it fires."""
        self.kernel.state.put(self.due, "FOREVER")

    def fire(
        self,
        act: Callable[[], None],
        *,
        reached: str = "<= now",
        only: str = "",
        room: int = 1,
        ready: Sequence[str] = (),
    ) -> None:
        """Write the loop over timers that are due; `act` writes what happens for slot `slot`, record `r`.

        Before it come the lines `ready`, which may leave to come again. `only` is a condition on the row, or on the input,
        without which no timer is looked at.

        After `act` the timer is gone, unless `act` has set `due` to a later time.
        """
        kernel, state, sheet = self.kernel, self.kernel.state, self.kernel.sheet
        with sheet.block(f"while {only and f'{only} and '}{self.count} > 0"):
            sheet("slot = i32(touched, 0)" if kernel.keyed else "slot = 0")
            if kernel.keyed:
                sheet("RECORD", "BLOCK")
            with sheet.block(f"if not ({state.get(self.filed)} {reached})"):
                sheet("break")
            with sheet.block(f"if {state.get(self.due)} == {state.get(self.filed)}"):
                with sheet.block(f"if m + {room} > room"):
                    sheet("LEAVE_FULL")
                sheet(*ready)
                act()
            with sheet.block(
                f"if {state.get(self.due)} > {state.get(self.filed)} and {state.get(self.due)} != FOREVER"
            ):
                state.put(self.filed, state.get(self.due))
                sheet(
                    f"{self.count} = {self._call(heap_sink)}"
                    if kernel.keyed
                    else f"{self.count} = 1"
                )
            with sheet.block("else"):
                state.put(self.waits, "0")
                sheet(
                    f"{self.count} = {self._call(heap_pop)}"
                    if kernel.keyed
                    else f"{self.count} = 0"
                )
