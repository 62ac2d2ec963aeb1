"""``AGG(x) over D``: an aggregate at every row, without running sums that drift.

Both forms keep two stacks in one ring (Tangwongsan, Hirzel, Schneider: "Low-latency sliding-window
aggregation in worst-case constant time", DEBS 2017, section 3). The newer part folds into `run`; the
older part holds, at each place, the fold of that place and all newer ones of its part, made when the
stacks turn over. What left the window is in neither, so it leaves no trace.
"""

from typing import TYPE_CHECKING

from flowedge.compile.emit.afresh import emit_afresh, is_afresh
from flowedge.compile.emit.passes import Calm
from flowedge.compile.emit.state import TimedRing, Turn
from flowedge.compile.emit.writer import Sheet, literal
from flowedge.graph.expressions import Rolling
from flowedge.lang.errors import InternalError
from flowedge.operators.contract import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowedge.compile.emit.values import Value, Values


def emit_rolling(values: "Values", expr: Rolling, args: "Sequence[str]") -> "Value":
    """Write the statements that step a rolling aggregate; returns the texts of its result."""
    if is_afresh(expr):
        return emit_afresh(values, expr, args[0], constants_of(expr))
    if expr.aggregate.collects:
        return (
            _collect_counted(values, expr, args)
            if expr.count
            else _collect_timed(values, expr, args)
        )
    return _fold_counted(values, expr, args) if expr.count else _fold_timed(values, expr, args)


def constants_of(expr: "Rolling") -> list[str]:
    """The literals that an aggregate's functions take last."""
    types = tuple(a.type.element() for a in expr.args)
    return [literal(c) for c in expr.aggregate.constants(types, Context(rate_hz=expr.rate_hz))]


def tuple_of(names: "Sequence[str]") -> str:
    """``(a, b,)``: a tuple also of one."""
    return "(" + ", ".join(names) + ",)"


def _fold_counted(values: "Values", expr: Rolling, args: "Sequence[str]") -> "Value":
    agg, n, state, sheet = expr.aggregate, expr.count, values.state, values.state.sheet
    if n is None:
        raise InternalError("a rolling count", expected="a number of rows", seen="None")
    name = agg.name
    k = len(agg.zero) - 1 if agg.counts_last else len(agg.zero)
    consts = constants_of(expr)
    lift = state.names.function(agg.lift, f"{name}_lift")
    merge = state.names.function(agg.merge, f"{name}_merge")
    result = state.names.function(agg.result, f"{name}_result")
    if agg.sound is not None and state.strips:
        for own, sound in zip((lift, result), agg.sound, strict=True):
            values.sound[own] = state.names.function(sound, f"{own}_sound")
    zero = [literal(float(z)) for z in agg.zero[:k]]
    rest = ["0.0"] if agg.counts_last else []
    unused = [sheet.fresh("unused")] if agg.counts_last else []
    ring = state.ring_address((n + 1) * k)
    place, ready = state.cell(f"{name}_place", 0), state.cell(f"{name}_ready", 0)
    state.within(0, place, n - 1)
    run = [state.cell(f"{name}_run", float(z)) for z in agg.zero[:k]]
    q, part = sheet.fresh("q"), [sheet.fresh("a") for _ in range(k)]

    def at(index: str) -> str:
        return tuple_of([*(f"f64({ring}, {index} * {k} + {j})" for j in range(k)), *rest])

    clear = (
        f"if {state.get(ready)} == 0:",
        f"    for {q} in range({n + 1}):",
        *(f"        set_f64({ring}, {q} * {k} + {j}, {z})" for j, z in enumerate(zero)),
        *_put_lines(values, ready, "1", 1),
    )

    def one(index: str) -> tuple[str, ...]:
        return (
            f"{tuple_of([*part, *unused])} = {merge}({at(index)}, {tuple_of([*part, *rest])})",
            *(f"set_f64({ring}, {index} * {k} + {j}, {p})" for j, p in enumerate(part)),
        )

    turn: tuple[str, ...] = (f"{tuple_of(part)} = {tuple_of(zero)}",)
    if k == 1 and n >= 2 * _ABREAST:
        turn += _turn_abreast(sheet, merge, at, ring, n, part[0], rest, unused)
    left = n % _ABREAST if len(turn) > 1 else n
    if left:
        turn += (f"for {q} in range({left - 1}, -1, -1):", *(f"    {x}" for x in one(q)))
    reset = [line for c, z in zip(run, zero, strict=True) for line in _put_lines(values, c, z, 0)]
    flip = (*turn, *_put_lines(values, place, "0", 0), *reset)
    new = [sheet.fresh(f"{name}_x") for _ in range(k)]
    if not state.strips:
        sheet(*clear)
        p = sheet.fresh("p")
        sheet(f"{p} = {state.get(place)}")
    else:
        state.turns.append(Turn(position=place, count=n, flip=flip, clear=clear))
        p = place
    sheet(f"{tuple_of([*new, *unused])} = {lift}({', '.join([values.time, *args, *consts])})")
    for j, x in enumerate(new):
        sheet(f"set_f64({ring}, {p} * {k} + {j}, {x})")
    count = [_count_of_valid(values, name, n, args[0], p)] if agg.counts_last else []
    now = tuple_of([*(state.target(c) for c in run), *unused])
    sheet(
        f"{now} = {merge}({tuple_of([*(state.get(c) for c in run), *rest])}, {tuple_of([*new, *rest])})"
    )
    sheet(f"{p} += 1")
    out = sheet.fresh(name)
    total = [sheet.fresh(f"{name}_of") for _ in range(k)]
    sheet(
        f"{tuple_of([*total, *unused])} = {merge}({at(p)}, {tuple_of([*(state.target(c) for c in run), *rest])})"
    )
    sheet(f"{out} = {result}({', '.join([tuple_of([*total, *count]), *consts])})")
    if not state.strips:
        for c in run:
            state.store(c)
        state.put(place, p)
        with sheet.block(f"if {p} == {n}"):
            sheet(*flip)
    return (out,)


_ABREAST = 4
"""Places that turn over together: of their merges only the last waits for the four before."""


def _turn_abreast(
    sheet: "Sheet",
    merge: str,
    at: "Callable[[str], str]",
    ring: str,
    n: int,
    part: str,
    rest: list[str],
    unused: list[str],
) -> tuple[str, ...]:
    """Lines that turn a ring over from its newest end, four places at a time, down to a remainder."""
    q = sheet.fresh("q")
    own = [sheet.fresh("a") for _ in range(_ABREAST)]
    lines = [f"{tuple_of([own[-1], *unused])} = {at(f'({q} + {_ABREAST - 1})')}"]
    for j in range(_ABREAST - 2, -1, -1):
        newer = tuple_of([own[j + 1], *rest])
        lines.append(f"{tuple_of([own[j], *unused])} = {merge}({at(f'({q} + {j})')}, {newer})")
    for j in range(_ABREAST - 1, -1, -1):
        out = tuple_of([own[j], *unused])
        lines.append(f"{out} = {merge}({tuple_of([own[j], *rest])}, {tuple_of([part, *rest])})")
        lines.append(f"set_f64({ring}, {q} + {j}, {own[j]})")
    lines.append(f"{part} = {own[0]}")
    return (
        f"for {q} in range({n - _ABREAST}, -1, -{_ABREAST}):",
        *(f"    {x}" for x in lines),
    )


def _count_of_valid(values: "Values", name: str, n: int, x: str, place: str) -> str:
    """Write the statements that count the values of the last n rows that are not missing.

    While none is missing that is the number of rows. The first missing one starts a ring of marks,
    which is kept until n rows in a row are there again; so the count is exact, and free otherwise.
    """
    state, sheet = values.state, values.state.sheet
    marks = state.ring_address((n + 7) // 8)
    seen, tracks = state.cell(f"{name}_seen", 0), state.cell(f"{name}_tracks", 0)
    valid, good = state.cell(f"{name}_valid", 0), state.cell(f"{name}_good", 0)
    count, q, mark = sheet.fresh("count_of"), sheet.fresh("q"), sheet.fresh("mark")
    if not state.keyed:
        sheet(f"CALM {len(values.calms)}")
        full = f"{tracks} == 0 and {seen} == {n}"
        values.calms.append(Calm(x, f"{x} == {x}", full, rows=(f"{count} = {float(n)!r}",)))
    with sheet.block(f"if {x} == {x} and {state.get(tracks)} == 0"):
        rows = sheet.fresh("rows")
        sheet(f"{rows} = min({state.get(seen)} + 1, {n})")
        state.put(seen, rows)
        sheet(f"{count} = float({rows})")
    with sheet.block("else"):
        with sheet.block(f"if {state.get(tracks)} == 0"):
            with sheet.block(f"for {q} in range({n})"):
                sheet(f"set_u8({marks}, {q}, 1)")
            state.put(tracks, "1")
            state.put(valid, state.get(seen))
            state.put(good, "0")
        sheet(f"{mark} = 1 if {x} == {x} else 0")
        with sheet.block(f"if {state.get(seen)} == {n}"):
            state.put(valid, f"{state.get(valid)} - u8({marks}, {place})")
        sheet(f"set_u8({marks}, {place}, {mark})")
        state.put(valid, f"{state.get(valid)} + {mark}")
        state.put(seen, f"min({state.get(seen)} + 1, {n})")
        state.put(good, f"{state.get(good)} + 1 if {mark} == 1 else 0")
        with sheet.block(f"if {state.get(good)} >= {n}"):
            state.put(tracks, "0")
        sheet(f"{count} = float({state.get(valid)})")
    if not state.keyed:
        sheet("CALMED")
    return count


def _put_lines(values: "Values", cell: str, text: str, depth: int) -> list[str]:
    state = values.state
    pad = "    " * depth
    if state.keyed:
        return [f"{pad}set_{state.kind(cell)}({state.address(cell)}, 0, {text})"]
    return [f"{pad}{cell} = {text}"]


def _fold_timed(values: "Values", expr: Rolling, args: "Sequence[str]") -> "Value":
    agg, state, sheet = expr.aggregate, values.state, values.state.sheet
    k, name = len(agg.zero), agg.name
    consts = constants_of(expr)
    lift = state.names.function(agg.lift, f"{name}_lift")
    merge = state.names.function(agg.merge, f"{name}_merge")
    result = state.names.function(agg.result, f"{name}_result")
    zero = [literal(float(z)) for z in agg.zero]
    ring = ArenaRing(values, name, words=k + 1)
    front = state.cell(f"{name}_front", 0)
    state.within(0, front, ring.length)
    run = [state.cell(f"{name}_run", float(z)) for z in agg.zero]
    part, q, at = [sheet.fresh("a") for _ in range(k)], sheet.fresh("q"), sheet.fresh("at")
    older = ring.oldest_time()
    turn = [
        f"    if {state.get(front)} == 0:",
        f"        {tuple_of(part)} = {tuple_of(zero)}",
        f"        for {q} in range({state.get(ring.length)} - 1, -1, -1):",
        f"            {at} = {ring.place(q)}",
        f"            {tuple_of(part)} = {merge}({tuple_of([f'f64(arena, {at} + {j + 1})' for j in range(k)])}, {tuple_of(part)})",
        *(f"            set_f64(arena, {at} + {j + 1}, {p})" for j, p in enumerate(part)),
        *_put_lines(values, front, state.get(ring.length), 2),
        *(line for c, z in zip(run, zero, strict=True) for line in _put_lines(values, c, z, 2)),
    ]
    evict = (
        f"while {state.get(ring.length)} > 0 and {older} <= {values.time} - {_ns(expr)}:",
        *turn,
        *ring.drop_oldest(1),
        *_put_lines(values, front, f"{state.get(front)} - 1", 1),
    )
    state.timed.append(TimedRing(make_room=(*evict, *ring.room_for_one())))
    new = [sheet.fresh(f"{name}_x") for _ in range(k)]
    sheet(f"{tuple_of(new)} = {lift}({', '.join([values.time, *args, *consts])})")
    ring.push(new)
    total = [sheet.fresh(f"{name}_run") for _ in range(k)]
    sheet(f"{tuple_of(total)} = {merge}({tuple_of([state.get(c) for c in run])}, {tuple_of(new)})")
    for c, x in zip(run, total, strict=True):
        state.put(c, x)
    with sheet.block(f"if {state.get(front)} > 0"):
        sheet(f"{at} = {ring.place('0')}")
        old = tuple_of([f"f64(arena, {at} + {j + 1})" for j in range(k)])
        sheet(f"{tuple_of(total)} = {merge}({old}, {tuple_of(total)})")
    out = sheet.fresh(name)
    sheet(f"{out} = {result}({', '.join([tuple_of(total), *consts])})")
    return (out,)


def _ns(expr: Rolling) -> int:
    if expr.extent.seconds is None:
        raise InternalError("a rolling extent", expected="seconds", seen=str(expr.extent))
    return round(expr.extent.seconds * 1e9)


class ArenaRing:
    """A growing ring of (time, words…) for each key, in the kernel's arena."""

    def __init__(self, values: "Values", name: str, words: int) -> None:
        state = values.state
        self.values, self.words = values, words
        self.offset = state.cell(f"{name}_at", 0)
        self.room = state.cell(f"{name}_room", 0)
        self.head, self.length = state.cell(f"{name}_head", 0), state.cell(f"{name}_length", 0)
        state.keep(self.offset, self.room)
        state.stays += [self.offset, self.room]
        state.within(0, self.length, self.room)
        state.never_negative({self.offset: 1}, -1, when=self.room)
        state.never_negative({"arena": 1, self.offset: -1, self.room: -words})
        state.uses_arena = True

    def holds_slots(self, word: int, side: int) -> None:
        """Say that a word of each element is a slot of the keys of an input."""
        cells = (self.offset, self.room, self.head, self.length)
        self.values.state.ring_slots.append((cells, self.words, word, side))

    def place(self, index: str) -> str:
        """Word at which the element `index` after the oldest begins."""
        get = self.values.state.get
        inside = f"({get(self.head)} + {index}) & ({get(self.room)} - 1)"
        return f"{get(self.offset)} + ({inside}) * {self.words}"

    def oldest_time(self) -> str:
        """Text of the time of the oldest element."""
        return f"i64(arena, {self.place('0')})"

    def drop_oldest(self, depth: int) -> list[str]:
        """Lines that forget the oldest element."""
        get = self.values.state.get
        return [
            *_put_lines(self.values, self.head, f"{get(self.head)} + 1", depth),
            *_put_lines(self.values, self.length, f"{get(self.length)} - 1", depth),
        ]

    def room_for_one(self) -> list[str]:
        """Lines that make room for one more, or leave with GROW before anything has changed."""
        state, sheet = self.values.state, self.values.state.sheet
        get = state.get
        size, top, q, j = (sheet.fresh(x) for x in ("size", "top", "q", "j"))
        return [
            f"if {get(self.length)} == {get(self.room)}:",
            f"    {size} = max(8, 2 * {get(self.room)})",
            f"    {top} = i64(arena, 0)",
            f"    if {top} + {size} * {self.words} > arena_words:",
            f"        need = {size} * {self.words}",
            "        LEAVE_GROW",
            f"    for {q} in range({get(self.length)}):",
            f"        for {j} in range({self.words}):",
            f"            set_i64(arena, {top} + {q} * {self.words} + {j}, i64(arena, {self.place(q)} + {j}))",
            *_put_lines(self.values, self.offset, top, 1),
            *_put_lines(self.values, self.room, size, 1),
            *_put_lines(self.values, self.head, "0", 1),
            f"    set_i64(arena, 0, {top} + {size} * {self.words})",
        ]

    def room_to_work(self, words: int, extra: int = 0) -> list[str]:
        """Lines that make room behind the arena for so many words an element, or leave with GROW.

        Another ring that grows takes that room away, and a restored arena has none: so this stands
        behind all growing, and right before rows are looked at when none has come.
        """
        need = f"{words} * ({self.values.state.get(self.length)} + 1) + {extra}"
        return [
            f"if i64(arena, 0) + {need} > arena_words:",
            f"    need = {need}",
            "    LEAVE_GROW",
        ]

    def push(self, values: "Sequence[str]") -> None:
        """Write the statements that add (row time, values…)."""
        state, sheet = self.values.state, self.values.state.sheet
        at = sheet.fresh("at")
        sheet(f"{at} = {self.place(state.get(self.length))}")
        sheet(f"set_i64(arena, {at}, {self.values.time})")
        for j, x in enumerate(values):
            sheet(f"set_f64(arena, {at} + {j + 1}, {x})")
        state.put(self.length, f"{state.get(self.length)} + 1")


def _finish(values: "Values", expr: Rolling, array: str, count: str, work: str) -> "Value":
    agg, state, sheet = expr.aggregate, values.state, values.state.sheet
    finish = state.names.function(agg.finish, f"{agg.name}_finish")
    consts = constants_of(expr)
    out = sheet.fresh(agg.name)
    sheet(f"{out} = {finish}({', '.join([array, count, work, work, *consts])})")
    return (out,)


def _finish_list(
    values: "Values", expr: Rolling, array: str, count: str, work: str, out: str
) -> "Value":
    """The same for a result of several numbers, held before the next aggregate works in its place."""
    agg, state, sheet = expr.aggregate, values.state, values.state.sheet
    finish, length = state.names.function(agg.finish, f"{agg.name}_finish"), expr.type.size
    enough, j = f"{count} == {expr.count}" if agg.needs_all else f"{count} > 0", sheet.fresh("j")
    with sheet.block(f"if {enough}"):
        given = [array, count, work, f"array_f64({out}, {length})", *constants_of(expr)]
        sheet(f"{finish}({', '.join(given)})")
    with sheet.block("else"), sheet.block(f"for {j} in range({length})"):
        sheet(f"set_f64({out}, {j}, nan)")
    return tuple(values.hold(f"f64({out}, {k})", agg.name) for k in range(length))


def _collect_counted(values: "Values", expr: Rolling, args: "Sequence[str]") -> "Value":
    agg, n, state, sheet = expr.aggregate, expr.count, values.state, values.state.sheet
    if n is None:
        raise InternalError("a rolling count", expected="a number of rows", seen="None")
    ring = state.ring_address(n)
    place, seen = state.cell(f"{agg.name}_place", 0), state.cell(f"{agg.name}_seen", 0)
    state.within(0, place, n - 1)
    state.within(0, seen, n)
    # The elements of a list column come one by one; a spectrum is a list of its own.
    length = 0 if any(a.type.shape for a in expr.args) else sum(expr.type.shape)
    work = state.scratch(3 * n + length)
    q, m, x, p = (sheet.fresh(s) for s in ("q", "m", "x", "p"))
    sheet(f"{p} = {state.get(place)}", f"set_f64({ring}, {p}, {args[0]})")
    sheet(f"{p} = {p} + 1 if {p} + 1 < {n} else 0")
    state.put(place, p)
    state.put(seen, f"min({n}, {state.get(seen)} + 1)")
    sheet(f"{m} = 0")
    with sheet.block(f"for {q} in range({n} - {state.get(seen)}, {n})"):
        sheet(f"{x} = f64({ring}, ({p} + {q}) % {n})")
        with sheet.block(f"if {'True' if agg.needs_rate else f'{x} == {x}'}"):
            sheet(f"set_f64({work}, {m}, {x})", f"{m} += 1")
    array, behind = f"array_f64({work}, {n})", f"array_f64({work} + {8 * n}, {2 * n})"
    if length:
        return _finish_list(values, expr, array, m, behind, f"({work} + {24 * n})")
    return _finish(values, expr, array, m, behind)


def _collect_timed(values: "Values", expr: Rolling, args: "Sequence[str]") -> "Value":
    agg, state, sheet = expr.aggregate, values.state, values.state.sheet
    ring = ArenaRing(values, agg.name, words=2)
    evict = (
        f"while {state.get(ring.length)} > 0 and {ring.oldest_time()} <= {values.time} - {_ns(expr)}:",
        *ring.drop_oldest(1),
    )
    room = TimedRing((*evict, *ring.room_for_one()), tuple(ring.room_to_work(3)))
    state.timed.append(room)
    ring.push([args[0]])
    q, m, x, w = (sheet.fresh(s) for s in ("q", "m", "x", "w"))
    sheet(f"{m} = 0", f"{w} = arena + 8 * i64(arena, 0)")
    with sheet.block(f"for {q} in range({state.get(ring.length)})"):
        sheet(f"{x} = f64(arena, {ring.place(q)} + 1)")
        with sheet.block(f"if {'True' if agg.needs_rate else f'{x} == {x}'}"):
            sheet(f"set_f64({w}, {m}, {x})", f"{m} += 1")
    rows = state.get(ring.length)
    return _finish(
        values, expr, f"array_f64({w}, {rows})", m, f"array_f64({w} + 8 * {rows}, 2 * {rows})"
    )
