"""What a tail needs to act key by key when the watermark reaches a time of each key's own."""

from collections.abc import Callable, Sequence

from flowedge.compile.emit.heap import heap_pop, heap_push, heap_sink
from flowedge.compile.emit.kernel import Kernel


class Timers:
    """One timer for each key: `set` it on a row; `fire` runs what is due, in the order (time, key).

    Moving a timer to a later time costs nothing: it is looked at again when the old time comes.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        kernel.uses_touched = kernel.uses_touched or kernel.keyed
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

    def clear(self) -> None:
        """Write statements that make the timer of the key at hand do nothing when it fires."""
        self.kernel.state.put(self.due, "FOREVER")

    def fire(
        self,
        act: Callable[[], None],
        *,
        reached: str = "<= now",
        room: int = 1,
        ready: Sequence[str] = (),
    ) -> None:
        """Write the loop over timers that are due; `act` writes what happens for slot `slot`, record `r`.

        Before it come the lines `ready`, which may leave to come again.

        After `act` the timer is gone, unless `act` has set `due` to a later time.
        """
        kernel, state, sheet = self.kernel, self.kernel.state, self.kernel.sheet
        with sheet.block(f"while {self.count} > 0"):
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
