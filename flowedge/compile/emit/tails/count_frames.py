"""`window N samples every M samples` whose rows are kept: each key's newest N rows in a ring."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.frames import SAMPLE_NUMBER, SAMPLE_TIME
from flowedge.compile.emit.kernel import LOADS, Kernel, Tail
from flowedge.compile.memory import copy
from flowedge.graph.expressions import LONGEST_LIST
from flowedge.graph.nodes import CountFrames
from flowedge.types.schema import I64, TIME, WIDTH, Column, Type


class CountFramesTail(Tail):
    """Collects rows key by key; a full window leaves as one row of lists, and steps on by its hop.

    The ring holds the float64 or int64 word of each element and the times, so a frame survives the
    input that it came with. A gap empties it: frames never span one. Rows that no full window held,
    at a gap or at the end, are incomplete.
    """

    out_gaps = True

    def __init__(self, kernel: Kernel, node: CountFrames, columns: tuple[Column, ...]) -> None:
        self.node, self.columns = node, columns
        self.rows_per_row = (
            1.0 / node.hop
        )  # where more keys have theirs at once, they come in parts
        state = kernel.state
        self.words = 1 + sum(c.type.size for c in columns)
        self.ring = state.ring_address(node.size * self.words)
        self.filled = state.cell("filled", 0)
        self.place = state.cell("place", 0)
        self.shared = state.cell("shared", 0)
        """Of the rows in the unfilled window, those that an earlier one held too."""
        self.nth = ""
        """Number of the key's newest row, where it is asked for."""
        if any(c.name == SAMPLE_NUMBER for c in node.out.columns):
            self.nth = state.cell("nth", 0)
            state.keep(self.nth)
            state.never_negative({self.nth: 1})
        state.lost += [(self.filled, 1), (self.shared, -1)]
        state.within(0, self.place, node.size - 1)
        state.never_negative({self.filled: -1}, node.size - 1)
        state.within(0, self.shared, node.size)
        kernel.counts_lost = True

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Add the row to the ring; write the frame when it is full."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        at = sheet.fresh("at")
        sheet(f"{at} = {state.get(self.place)} * {self.words}", f"set_i64({self.ring}, {at}, t)")
        word = 1
        for column in self.columns:
            kind, size = kind_of(column.type), column.type.size
            if size > LONGEST_LIST:  # a picture: it is as it came, for nothing computes with it
                source, q = kernel.address_in(chain.alias.get(column.name, column.name)), sheet.fresh("q")  # fmt: skip
                with sheet.block(f"for {q} in range({size})"):
                    element = f"{store_of(column.type)}({source}, {kernel.row} * {size} + {q})"
                    sheet(f"set_{kind}({self.ring}, {at} + {word} + {q}, {element})")
                word += size
                continue
            kept = ("t",) if column.name == SAMPLE_TIME else chain.column(column.name, column.type)
            for text in kept:
                sheet(f"set_{kind}({self.ring}, {at} + {word}, {text})")
                word += 1
        if self.nth:
            state.put(self.nth, f"{state.get(self.nth)} + 1")
        place, filled = sheet.fresh("next_place"), sheet.fresh("have")
        sheet(f"{place} = {state.get(self.place)} + 1", f"{filled} = {state.get(self.filled)} + 1")
        with sheet.block(f"if {place} == {node.size}"):
            sheet(f"{place} = 0")
        state.put(self.place, place)
        with sheet.block(f"if {filled} == {node.size}"):
            self._frame(kernel, place)
            sheet(f"{filled} = {node.size - node.hop}")
            state.put(self.shared, str(max(0, node.size - node.hop)))
        if node.hop > node.size:
            # Rows between windows are counted below zero and never fill one.
            sheet(f"{filled} = min({filled}, {node.size})")
        state.put(self.filled, filled)

    def gap(self, kernel: Kernel) -> None:
        """What is in the window comes to nothing."""
        self._lose(kernel)
        if self.nth:
            kernel.state.put(self.nth, f"{kernel.state.get(self.nth)} + 1")

    def end(self, kernel: Kernel) -> None:
        """At the end of the input, that of every key."""
        with kernel.sheet.block("if finish != 0 and watermark == FOREVER"):
            if kernel.keyed:
                with kernel.sheet.block("for slot in range(keys)"):
                    kernel.sheet("RECORD")
                    self._lose(kernel)
            else:
                self._lose(kernel)

    def _lose(self, kernel: Kernel) -> None:
        get = kernel.state.get
        kernel.sheet(f"lost += max(0, {get(self.filled)}) - {get(self.shared)}")

    def _frame(self, kernel: Kernel, oldest: str) -> None:
        """Copy the ring, oldest row first, to the output row `m`."""
        sheet, node = kernel.sheet, self.node
        q, at, first = sheet.fresh("q"), sheet.fresh("from_"), sheet.fresh("first_time")
        outs = [(kernel.field_out(c.name, frame_type(c.type, node.size)), c) for c in self.columns]
        sheet(f"{at} = {oldest} * {self.words}", f"{first} = i64({self.ring}, {at})")
        with sheet.block(f"for {q} in range({node.size})"):
            word = 1
            for index, column in outs:
                load, store, size = kind_of(column.type), store_of(column.type), column.type.size
                first_place = f"(m * {node.size} + {q}) * {size}"
                if size > LONGEST_LIST:
                    e = sheet.fresh("e")
                    with sheet.block(f"for {e} in range({size})"):
                        element = f"{load}({self.ring}, {at} + {word} + {e})"
                        sheet(f"set_{store}(out_{index}, {first_place} + {e}, {element})")
                    word += size
                    continue
                for j in range(size):
                    place = f"m * {node.size} + {q}" if size == 1 else f"{first_place} + {j}"
                    sheet(f"set_{store}(out_{index}, {place}, {load}({self.ring}, {at} + {word}))")
                    word += 1
            sheet(f"{at} += {self.words}")
            with sheet.block(f"if {at} == {node.size * self.words}"):
                sheet(f"{at} = 0")
        kernel.write("start", TIME, (first,))
        if self.nth:
            kernel.write(SAMPLE_NUMBER, I64, (kernel.state.get(self.nth),))
        kernel.emit("t", "slot")

    def close(self, kernel: Kernel) -> None:
        """Nothing waits for the watermark; a row needs room for one frame."""
        if kernel.is_bare and not kernel.keyed and self.node.hop == self.node.size:
            self._whole_frames(kernel)
            if all(c.type.size <= LONGEST_LIST for c in self.columns):
                self._stretch(kernel)
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def _whole_frames(self, kernel: Kernel) -> None:
        """Copy frames that lie whole in what was pushed, without a gap in them, past the ring."""
        sheet, size = kernel.sheet, self.node.size
        copy_ = kernel.names.function(copy, "copy")
        stop, k, frames = (sheet.fresh(stem) for stem in ("stop", "k", "frames"))
        sheet(
            f"{frames} = min((n - i) // {size}, room - m) if {kernel.state.get(self.filled)} == 0 else 0"
        )
        with sheet.block(f"for {sheet.fresh('frame')} in range({frames})"):
            sheet(f"{stop} = i + {size}")
            if kernel.gaps:
                with sheet.block("if gaps != 0"):
                    sheet(f"{k} = i")
                    with sheet.block(f"while {k} < {stop} and u8(gaps, {k}) == 0"):
                        sheet(f"{k} += 1")
                    with sheet.block(f"if {k} < {stop}"):
                        sheet("break")
            for column in self.columns:
                out = kernel.field_out(column.name, frame_type(column.type, size))
                source = "time" if column.name == SAMPLE_TIME else kernel.address_in(column.name)
                row = WIDTH[column.type.store] * column.type.size
                sheet(f"{copy_}(out_{out} + m * {size * row}, {source} + i * {row}, {size * row})")
            kernel.write("start", TIME, ("i64(time, i)",))
            if self.nth:
                kernel.state.put(self.nth, f"{kernel.state.get(self.nth)} + {size}")
                kernel.write(SAMPLE_NUMBER, I64, (kernel.state.get(self.nth),))
            kernel.emit(f"i64(time, {stop} - 1)", "0")
            sheet(f"i = {stop}")

    def _stretch(self, kernel: Kernel) -> None:
        """Put the rows of a frame that does not lie whole in what was pushed into the ring, but for the one that fills it."""
        sheet, state, size = kernel.sheet, kernel.state, self.node.size
        some, k, q, at = (sheet.fresh(stem) for stem in ("some", "k", "q", "at"))
        place, filled = state.get(self.place), state.get(self.filled)
        sheet(f"{some} = min({size - 1} - max({place}, {filled}), n - i)")
        if kernel.gaps:
            with sheet.block("if gaps != 0"):
                sheet(f"{k} = 0")
                with sheet.block(f"while {k} < {some} and u8(gaps, i + {k}) == 0"):
                    sheet(f"{k} += 1")
                sheet(f"{some} = {k}")
        sheet(f"{at} = {place} * {self.words}")
        with sheet.block(f"for {q} in range({some})"):
            sheet(f"set_i64({self.ring}, {at}, i64(time, i + {q}))")
            word = 1
            for column in self.columns:
                width = column.type.size
                address = "time" if column.name == SAMPLE_TIME else kernel.address_in(column.name)
                for j in range(width):
                    element = f"{store_of(column.type)}({address}, (i + {q}) * {width} + {j})"
                    sheet(f"set_{kind_of(column.type)}({self.ring}, {at} + {word}, {element})")
                    word += 1
            sheet(f"{at} += {self.words}")
        for cell in (self.place, self.filled, *([self.nth] if self.nth else [])):
            state.put(cell, f"{state.get(cell)} + {some}")
        sheet(f"i += {some}")


def frame_type(sample: Type, length: int) -> Type:
    """The type of a column of frames, from the type of one sample."""
    return Type(sample.store, unit=sample.unit, shape=(length, *sample.shape), labels=sample.labels)


def kind_of(type_: Type) -> str:
    """The intrinsic that reads one word of what is kept."""
    return "f64" if type_.is_float else "i64"


def store_of(type_: Type) -> str:
    """The intrinsic that stores one element."""
    return LOADS[type_.store]
