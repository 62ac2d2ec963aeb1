"""One kernel: rows read, a chain of stages on each, rows written or held back by a tail.

The generated function follows the protocol of `flowedge.compile.program`. Its skeleton::

    def kernel(ctx):
        …                                 # addresses and counters out of the context
        while i <= n:                     # row n is the watermark
            now = …
            <tail: what the watermark closes>
            if i == n: break
            <gap: memory restarts>  <rings: room for one more row>
            <stages, nested by their filters>  <tail: the row itself>
            i += 1
        …                                 # counters back
        return 0
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flowedge.compile import program as p
from flowedge.compile.emit import branchless, passes
from flowedge.compile.emit.state import State, Turn
from flowedge.compile.emit.values import Value, Values
from flowedge.compile.emit.writer import Names, Record, Sheet, literal
from flowedge.graph.expressions import LONGEST_LIST
from flowedge.lang.errors import InternalError
from flowedge.types.schema import WIDTH, Column, Type

if TYPE_CHECKING:
    from flowedge.compile.emit.chain import Chain

LOADS = {
    "f64": "f64", "f32": "f32", "bool": "u8",
    **dict.fromkeys(("i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "string", "binary", "time"), "i64"),
}  # fmt: skip


@dataclass
class Kernel:
    """What a kernel under construction has: its sheet, its state, its columns in and out.

    Attributes
    ----------
    keyed : the stream has keys, so state lies in records
    gaps : rows carry a gap flag, at which memory restarts
    """

    keyed: bool
    gaps: bool
    text_id: Callable[[str], int]
    tail: "Tail | None" = None
    ports: int = 1
    is_bare: bool = False
    """The tail has the rows as they come: no stage stands before it."""
    names: Names = field(default_factory=Names)
    sheet: Sheet = field(default_factory=Sheet)
    globals: Record = field(default_factory=Record)
    reads: list[tuple[int, str]] = field(default_factory=list)
    writes: list[p.Field] = field(default_factory=list)
    uses_touched: bool = False
    joins: bool = False
    """Two inputs meet by shared keys: slots are translated by maps."""
    ranks_right: bool = False
    """The keys of the right side are put in order."""
    ends_ns: int | None = None
    """So long after its last row at the source a key has ended; None: at the end of the input."""
    counts_dropped: bool = False
    counts_lost: bool = False
    """The tail counts rows that come to nothing in `lost`."""
    strip_words: int = 0
    """Scratch words for values that cross from one pass over a strip to another."""
    gap_due: str | None = None
    """Cell that carries a gap over rows that a filter drops, to the next row written."""

    def __post_init__(self) -> None:
        """Make the state and the values that write on this sheet."""
        self.state = State(self.sheet, self.names, keyed=self.keyed)
        self.values = Values(state=self.state, read=self.read, text_id=self.text_id)

    # ---- columns

    def address_in(self, name: str, port: int = 0) -> str:
        """The variable that holds the address of an input column."""
        if (port, name) not in self.reads:
            self.reads.append((port, name))
        return f"in_{self.reads.index((port, name))}"

    def read(self, name: str, type_: Type, port: int = 0) -> Value:
        """A column's elements of the row at hand, loaded into local variables."""
        if type_.size > LONGEST_LIST:
            raise InternalError(
                "a long list in an expression", expected=f"at most {LONGEST_LIST}", seen=str(type_)
            )
        source, row, load = self.address_in(name, port), self.row, LOADS[type_.store]
        out = []
        for j in range(type_.size):
            index = row if type_.size == 1 else f"{row} * {type_.size} + {j}"
            variable = self.sheet.fresh(f"v_{name}")
            self.sheet(f"{variable} = {load}({source}, {index})")
            out.append(variable)
        return tuple(out)

    @property
    def row(self) -> str:
        """Text of the row's number in its input's columns."""
        return "j" if self.ports > 1 else "i"

    def write(self, name: str, type_: Type, values: Value, at: str = "m") -> None:
        """Store a value into an output column; it becomes a field of the output on the first call."""
        index = self.field_out(name, type_)
        store = LOADS[type_.store]
        for j, value in enumerate(values):
            place = at if type_.size == 1 else f"{at} * {type_.size} + {j}"
            self.sheet(f"set_{store}(out_{index}, {place}, {value})")

    def field_out(self, name: str, type_: Type) -> int:
        """The number of an output column, new ones at the end."""
        for index, known in enumerate(self.writes):
            if known.name == name:
                return index
        self.writes.append(field_of(Column(name, type_)))
        return len(self.writes) - 1

    def copy_column_as(
        self, name: str, source: str, type_: Type, *, row: str | None = None, port: int = 0, at: str = "m"
    ) -> None:  # fmt: skip
        """Copy one value of an input column to the output row `at`, whatever its length."""
        index, address = self.field_out(name, type_), self.address_in(source, port)
        load, row = LOADS[type_.store], row or self.row
        if type_.size == 1:
            self.sheet(f"set_{load}(out_{index}, {at}, {load}({address}, {row}))")
        else:
            size = type_.size * WIDTH[type_.store]
            self.sheet(f"copy(out_{index} + {at} * {size}, {address} + {row} * {size}, {size})")

    # ---- ways out

    def leave(self, status: str, *, cursor: Sequence[str] = ()) -> None:
        """Write a return in the middle of the row `i`, with all that must be kept."""
        self.sheet(*cursor, f"LEAVE_{status}")

    def emit(self, time: str, slot: str) -> None:
        """Write time, slot and gap of the output row `m`, and count it; `r` is the key's record."""
        self.sheet(f"set_i64(out_time, m, {time})")
        if self.keyed:
            self.sheet(f"set_i32(out_slot, m, {slot})")
        if self.gap_due is not None:
            self.sheet(f"set_u8(out_gap, m, {self.state.get(self.gap_due)})")
            with self.sheet.block(f"if {self.state.get(self.gap_due)} != 0"):
                self.state.put(self.gap_due, "0")
        self.sheet("m += 1")

    def carry_gaps(self) -> None:
        """Rows written show the gaps of rows read, also of those that were dropped in between, and the tail's own."""
        self.gap_due = self.state.cell("gap_due", 0)
        self.state.keep(self.gap_due)

    # ---- the whole

    def finish(self, body: Callable[[], None], *, dense: bool, stages: Sequence[str]) -> str:
        """The source of the kernel, once `body` has written what happens to one row."""
        sheet = self.sheet
        self.state.strips = self.tail is None and not self.keyed and self.ports == 1
        if self.tail is not None:
            self._loop_with_tail(body)
        elif self.state.strips:
            self._loop_by_strips(body, dense=dense)
        else:
            self._loop_by_row(body, dense=dense)
        return self._assemble(sheet.lines, stages)

    def _row_start(self) -> None:
        sheet = self.sheet
        sheet("t = i64(time, i)")
        if self.ports > 1:
            sheet("port = u8(ports, i)", "j = i64(source_row, i)")
        sheet("slot = i32(slots, i)" if self.keyed else "slot = 0")
        if self.joins:
            # The record belongs to the key that both sides share; the output row to the left key.
            sheet("left_slot = slot")
            with sheet.block("if port == 0"):
                sheet("slot = slot if left_map == 0 else i32(left_map, slot)")
            with sheet.block("else"):
                sheet("slot = slot if right_map == 0 else i32(right_map, slot)")
        if self.keyed:
            sheet("RECORD", "BLOCK")
            if self.ports == 1:
                sheet("AHEAD")
        if self.gaps:
            sheet("gap = 0 if gaps == 0 else u8(gaps, i)")
            if self.tail is not None and self.tail.ignores_gaps_of_events:
                sheet("gap = gap if port == 0 else 0")
            with sheet.block("if gap != 0"):
                if self.tail is not None:
                    self.tail.gap(self)
                sheet("RESTART", "GAPPED")
        sheet("ROOM")

    def _loop_with_tail(self, body: Callable[[], None]) -> None:
        sheet, tail = self.sheet, self.tail
        if tail is None:
            raise InternalError("a loop with a tail", expected="a tail", seen="None")
        with sheet.block("while i <= n"):
            sheet("now = i64(time, i) if i < n else watermark")
            tail.close(self)
            with sheet.block("if i == n"):
                sheet("break")
            self._row_start()
            body()
            sheet("i += 1")
        tail.end(self)

    def _loop_by_row(self, body: Callable[[], None], *, dense: bool) -> None:
        sheet = self.sheet
        with sheet.block("for i in range(first, n)"):
            if dense:
                sheet("m = i")
            self._row_start()
            sheet(*branchless.rows(self.lines_of(body)))
        sheet("i = n")

    def lines_of(self, body: Callable[[], None]) -> list[str]:
        """What happens to a row, taken off the sheet again."""
        sheet = self.sheet
        start, depth = len(sheet.lines), sheet.depth
        body()
        lines = [x[4 * depth :] for x in sheet.lines[start:]]
        del sheet.lines[start:]
        return lines

    def _loop_by_strips(self, body: Callable[[], None], *, dense: bool) -> None:
        """Without keys: state in registers, rings turned over between strips, not in the hot loop."""
        sheet = self.sheet
        with sheet.block("while i < n"):
            if self.gaps:
                with sheet.block("if gaps != 0 and u8(gaps, i) != 0"):
                    sheet("RESTART", "GAPPED")
            sheet("CLEAR")
            lines = self.lines_of(body)
            cells = [c.name for c in self.state.registers]
            is_plain = dense and not self.state.timed and not self.state.uses_arena
            parts = (
                passes.passes(lines, cells, self.values.floats, self.values.calms)
                if is_plain
                else None
            )
            if parts is None:
                self._strip(passes.without_marks(lines), dense=dense)
            else:
                self._strip_by_passes(parts)

    def _strip(self, lines: Sequence[str], *, dense: bool) -> None:
        sheet = self.sheet
        sheet("stop = n", *_sooner("i", self.state.turns))
        self._until_gap()
        rows = branchless.rows(lines)
        calm = branchless.without_gap(rows, self.gap_due) if self.gap_due is not None else None
        if calm is None:
            self._strip_rows(rows, dense=dense)
        else:
            made, q = sheet.fresh("made"), sheet.fresh("q")
            with sheet.block(f"if {self.gap_due} == 0"):
                sheet(f"{made} = m")
                self._strip_rows(calm, dense=dense)
                with sheet.block(f"for {q} in range({made}, m)"):
                    sheet(f"set_u8(out_gap, {q}, 0)")
            with sheet.block("else"):
                self._strip_rows(rows, dense=dense)
        sheet("i = stop", *_flips(self.state.turns))

    def _strip_rows(self, lines: Sequence[str], *, dense: bool) -> None:
        known = ["m = i"] if dense else []
        with self.sheet.block("for i in range(i, stop)"):
            self.sheet(*known, "t = i64(time, i)", "slot = 0", "ROOM", *lines)

    def _strip_by_passes(self, parts: Sequence[passes.Pass]) -> None:
        sheet = self.sheet
        self.strip_words = passes.words(parts)
        sheet("base = i", f"limit = min(n, i + {passes.STRIP})")
        self._until_gap("limit")
        for part in parts:
            text = passes.text_of(part, passes.rows_of(parts))
            turns = [t for t in self.state.turns if t.position in part.words]
            if text.look:
                sheet("odd = 0")
                self._rows("base", "limit", text.look)
            if text.strip:
                with sheet.block(f"if odd == 0 and limit - base >= {passes.FEWEST}"):
                    sheet(*text.strip)
                with sheet.block("else"):
                    self._rows("base", "limit", text.row)
                continue
            if not turns:
                self._rows("base", "limit", text.row)
                continue
            sheet("i = base")
            with sheet.block("while i < limit"):
                sheet("stop = limit", *_sooner("i", turns))
                if part.calm is not None and text.calm_row:
                    with sheet.block(f"if odd == 0 and {part.calm.when}"):
                        self._rows("i", "stop", text.calm_row)
                    with sheet.block("else"):
                        self._rows("i", "stop", text.row)
                else:
                    self._rows("i", "stop", text.row)
                sheet("i = stop", *_flips(turns))
        sheet("i = limit", "m = i - 1")

    def _rows(self, first: str, stop: str, lines: Sequence[str]) -> None:
        """A loop over rows, which know of themselves what the lines ask for."""
        known = [
            text for word, text in _ROW_WORDS if any(re.search(rf"\b{word}\b", x) for x in lines)
        ]
        with self.sheet.block(f"for i in range({first}, {stop})"):
            self.sheet(*known, *lines)

    def _until_gap(self, limit: str = "stop") -> None:
        """Let a strip end before the next row with a gap."""
        sheet = self.sheet
        if self.gaps:
            with sheet.block("if gaps != 0"):
                sheet("k = i + 1")
                with sheet.block(f"while k < {limit} and u8(gaps, k) == 0"):
                    sheet("k += 1")
                sheet(f"{limit} = k")

    def _assemble(self, lines: list[str], stages: Sequence[str]) -> str:
        state = self.state
        head = Sheet()
        head(
            *(["dropped = 0"] if self.counts_dropped else []), *(["lost = 0"] if self.counts_lost else []),
            f"i = first = i64(ctx, {p.ROW})", f"n = i64(ctx, {p.ROWS})", f"m = i64(ctx, {p.OUT})",
            f"room = i64(ctx, {p.OUT_ROOM})", f"watermark = i64(ctx, {p.WATERMARK})", f"time = i64(ctx, {p.TIME})",
            "need = 0",
        )  # fmt: skip
        optional = {
            "slots": p.SLOT, "gaps": p.GAP, "ports": p.PORT, "source_row": p.SOURCE_ROW, "records": p.RECORDS,
            "blocks": p.BLOCKS, "arena": p.ARENA, "arena_words": p.ARENA_WORDS, "g": p.GLOBALS, "touched": p.TOUCHED,
            "order": p.ORDER, "rank": p.RANK, "keys": p.KEYS, "out_time": p.OUT_TIME, "out_slot": p.OUT_SLOT,
            "out_gap": p.OUT_GAP, "counters": p.COUNTERS, "maps": p.MAPS, "finish": p.FINISH,
            "lasts": p.LASTS,
        }  # fmt: skip
        if not self.keyed:
            head(f"r = i64(ctx, {p.RECORDS})", f"b = i64(ctx, {p.BLOCKS})")
        for name, word in optional.items():
            head(f"{name} = i64(ctx, {word})")
        if self.joins:
            head("left_map = i64(maps, 0)", "right_map = i64(maps, 1)")
        if self.ranks_right:
            head("right_rank = i64(maps, 2)")
        if state.scratch_words:
            head(f"scratch = g + {self.globals.size}")
        if self.strip_words:
            head(f"strips = g + {self.globals.size + 8 * state.scratch_words}")
        for k in range(len(self.reads)):
            head(f"in_{k} = i64(ctx, {p.COLUMNS + k})")
        for k in range(len(self.writes)):
            head(f"out_{k} = i64(ctx, {p.COLUMNS + len(self.reads) + k})")
        for cell in self.globals.cells:
            head(f"{cell.name} = {cell.load}(g + {cell.offset}, 0)")
        state.sheet = load = Sheet()
        state.load_registers()
        head(*(line[4:] for line in load.lines))
        body = [out for line in lines for out in self._expand(line)]
        out = [
            *(f"# {line}" for stage in stages for line in stage.splitlines()),
            "def kernel(ctx):", *head.lines, *body, *self._expand("    LEAVE_DONE"),
        ]  # fmt: skip
        words = Counter(re.findall(r"\w+", "\n".join(out)))
        keep = [
            x for x in out if not (" = i64(ctx, " in x and words[x.split(" = ")[0].strip()] == 1)
        ]
        return "\n".join(keep) + "\n"

    def _expand(self, line: str) -> list[str]:
        """Markers in the text that stand for things known only at the end."""
        word = line.strip()
        pad = line[: len(line) - len(line.lstrip())]
        state = self.state
        match word:
            case "RECORD":
                return (
                    [f"{pad}r = records + slot * {state.record.size}"] if state.record.size else []
                )
            case "AHEAD":
                return [pad + x for x in _ahead(state.record.size)]
            case "BLOCK":
                return [f"{pad}b = blocks + slot * {state.block}"] if state.block else []
            case "RESTART":
                state.sheet = sheet = Sheet(depth=0)
                state.restart()
                return [pad + x for x in sheet.lines] or [f"{pad}pass"]
            case "GAPPED":
                if self.gap_due is None:
                    return []
                state.sheet = sheet = Sheet(depth=0)
                state.put(self.gap_due, "1")
                return [pad + x for x in sheet.lines]
            case "ROOM":
                lines = [x for ring in state.timed for x in ring.make_room]
                lines += [x for ring in state.timed for x in ring.work]
                return [y for x in lines for y in self._expand(pad + x)]
            case "CLEAR":
                return [pad + x for turn in state.turns for x in turn.clear]
            case passes.MARK | "CALMED":
                return []
            case "LEAVE_FULL" | "LEAVE_GROW" | "LEAVE_DONE":
                return [pad + x for x in self._leave_lines(word)]
            case _ if word.startswith("CALM "):
                return []
            case _:
                return [line.replace("RECORD_SIZE", str(state.record.size))]

    def _leave_lines(self, word: str) -> list[str]:
        state = self.state
        state.sheet = sheet = Sheet(depth=0)
        if not self.keyed:
            state.store_registers()
        for cell in self.globals.cells:
            sheet(f"set_{cell.load}(g + {cell.offset}, 0, {cell.name})")
        sheet(f"set_i64(ctx, {p.ROW}, i)", f"set_i64(ctx, {p.OUT}, m)")
        if self.counts_dropped:
            sheet("set_i64(counters, 0, i64(counters, 0) + dropped)")
        if self.counts_lost:
            sheet("set_i64(counters, 1, i64(counters, 1) + lost)")
        if word == "LEAVE_GROW":
            sheet(f"set_i64(ctx, {p.NEED}, need)")
        if word == "LEAVE_DONE":
            out = self.tail.watermark(self) if self.tail is not None else "watermark"
            sheet(f"set_i64(ctx, {p.OUT_WATERMARK}, {out})")
        status = {"LEAVE_FULL": p.FULL, "LEAVE_GROW": p.GROW, "LEAVE_DONE": p.DONE}[word]
        sheet(f"return {status}")
        return sheet.lines

    def globals_init(self) -> bytes:
        """The kernel's own memory at the start: its cells."""
        return self.globals.initial()

    def bounds(self) -> tuple[tuple[tuple[p.Term, ...], int, p.Word | None], ...]:
        """What a snapshot of its memory must hold to, by the places of words."""
        return tuple(
            (
                tuple((*self._word(name), factor) for name, factor in factors.items()),
                constant,
                self._word(when) if when else None,
            )
            for factors, constant, when in self.state.bounds
        )

    def place(self, name: str) -> int:
        """Where a word of the globals lies [bytes]; -1 if there is none of this name."""
        return next((cell.offset for cell in self.globals.cells if cell.name == name), -1)

    def _word(self, name: str) -> p.Word:
        if self.place(name) >= 0:
            return "globals", self.place(name)
        if name in self.state.block_words:
            return "block", self.state.block_words[name]
        return (name, 0) if name == "arena" else ("record", self.state.offset(name))

    @property
    def scratch_words(self) -> int:
        """Words behind the cells that every call may overwrite, and that no snapshot keeps."""
        return self.state.scratch_words + self.strip_words


_ROW_WORDS = (("m", "m = i"), ("t", "t = i64(time, i)"), ("slot", "slot = 0"))
"""What a row knows of itself, written where it is asked for."""


_AHEAD_ROWS = 8
_AHEAD_LINES = 4
_LINE_BYTES = 64


def _ahead(record: int) -> list[str]:
    """Lines that ask for the record of a row further on: of many keys it is in no near cache."""
    if not record:
        return []
    lines = min(-(-record // _LINE_BYTES), _AHEAD_LINES)
    return [
        f"ahead = records + i32(slots, min(i + {_AHEAD_ROWS}, n - 1)) * {record}",
        *(f"prefetch(ahead + {_LINE_BYTES * k})" for k in range(lines)),
    ]


def _sooner(at: str, turns: "Sequence[Turn]") -> list[str]:
    """Lines that let a strip end where a ring is full."""
    return [f"stop = min(stop, {at} + {t.count} - {t.position})" for t in turns]


def _flips(turns: "Sequence[Turn]") -> list[str]:
    """Lines that turn over the rings that are full."""
    return [
        x for t in turns for x in (f"if {t.position} == {t.count}:", *("    " + y for y in t.flip))
    ]


class Tail:
    """What stands at the end of a chain and holds rows back, or gives several for one.

    Attributes
    ----------
    rows_per_row : output rows to make room for, for each row in
    out_gaps : its rows carry the gaps of the input on
    makes_gaps : its rows may show gaps that the input does not
    follows_chain : may stand behind other stages in one kernel; not where a row is entered again
    ignores_gaps_of_events : only a gap of the first input restarts its memory
    """

    rows_per_row: float = 1.0
    out_gaps: ClassVar[bool] = False
    makes_gaps: bool = False
    follows_chain: ClassVar[bool] = True
    ignores_gaps_of_events: ClassVar[bool] = False

    def row(self, kernel: Kernel, chain: "Chain") -> None:
        """Write what happens to one row that has come through the chain."""
        raise NotImplementedError

    def close(self, kernel: Kernel) -> None:
        """Write what `now` (the row's time, or the watermark) makes final; before the row."""

    def gap(self, kernel: Kernel) -> None:
        """Write what becomes final before the memory of a key restarts at a gap."""

    def end(self, kernel: Kernel) -> None:
        """Write what follows the last row and the watermark."""

    def watermark(self, kernel: Kernel) -> str:
        """Text of the watermark of the output, once that of the input is ``watermark``."""
        return "watermark"


def field_of(column: Column) -> p.Field:
    """A column as the program writes it down."""
    t = column.type
    unit = None if t.unit is None else str(t.unit)
    return p.Field(name=column.name, store=t.store, shape=t.shape, unit=unit, labels=t.labels)


def functions() -> dict[str, Any]:
    """What every kernel may call: constants, guarded conversions."""
    return {"nan": float("nan"), "inf": float("inf"), "MISSING": -(2**63), "NEVER": p.NEVER, "FOREVER": p.FOREVER,
            "shift_time": shift_time, "to_int": to_int, "round_f32": round_f32}  # fmt: skip


def shift_time(time: int, seconds: float) -> int:
    """A time [ns] moved by some seconds; missing where either is, or beyond what int64 ns hold."""
    if time == -9223372036854775808 or seconds != seconds:  # noqa: PLR0124
        return -9223372036854775808
    if seconds > 9.2e9 or seconds < -9.2e9:
        return -9223372036854775808
    return time + int(round(seconds * 1e9))  # noqa: RUF046  # in a kernel it is a float


def to_int(value: float, low: float, high: float) -> int:
    """The whole part of a float, missing where it is NaN or outside [low, high]."""
    if not (value >= low and value <= high):
        return -9223372036854775808
    return int(value)


def round_f32(value: float) -> float:
    """A float rounded to what a float32 holds."""
    return float(np.float32(value))


__all__ = ["Kernel", "Tail", "field_of", "functions", "literal"]
