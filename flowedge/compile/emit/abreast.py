"""The same chain for eight keys at a time, whose samples come in turn: a, b, c, then a, b, c again.

A filter waits for its own last result; eight keys do not wait for each other. Where the rows of a push
go round the keys, the rows of one round lie side by side, so that eight of them are one load, and the text that
steps one key steps eight in the lanes of vectors (`flowedge.compile.abreast`): the same operations in the same
order, so the bits are the same.

Lanes know no branches. So a stretch of rows is first looked at for what would take one (a missing
value, an infinity, a rolling extent that is not full yet, a gap); one that has any is left to the kernel
that goes row by row, whose memory this one shares. Steps whose own text has branches have no such form.

The function follows the protocol of `flowedge.compile.program` but for what it returns::

    ROW    the first row that is not done
    NEED   rounds from there on that are done for some of their keys only
    OUT    how many keys of each of these rounds, from its first, are not done
    AROUND rows of a round
"""

import dis
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowedge.compile import program as p
from flowedge.compile.emit.writer import Sheet
from flowedge.compile.kernels.rounds import FEWEST, round_of, turns_until
from flowedge.compile.memory import ABREAST

if TYPE_CHECKING:
    from flowedge.compile.emit.kernel import Kernel
    from flowedge.compile.emit.writer import Cell

ROUNDS = 128
"""Rounds of a stretch: a row of scratch for eight keys takes 8 KiB."""
_WORD = re.compile(r"[A-Za-z_]\w*")
_ASSIGNED = re.compile(r"^\(?([\w, ()]+?),?\)? = ")
_LOAD = re.compile(r"^(\w+) = (f64|f32)\((in_\d+), i\)$")
_GUARD = re.compile(r"^if (abs\((\w+)\) < inf):$")
_STORE = re.compile(r"^set_(f64|f32)\((out_\d+), m, (.*)\)$")
_STEP = re.compile(r"^(\w+) \+= (.*)$")
_BRANCH = re.compile(
    r"^(if|for|while|else|elif)\b| (if|else|and|or|not) |\bnot\b|\*\*|%|//|!=|\b(t|slot|gap)\b"
)
_CALL = re.compile(r"\b([A-Za-z_]\w*)\(")
_PLAIN = frozenset({"abs", "f64", "f32", "set_f64", "set_f32"})
_MATHS = frozenset({"math", "fabs", "sqrt"})
_OWN = "w_"
"""What the names of variables begin with that hold eight."""


@dataclass
class _Text:
    """A chain without its branches.

    Attributes
    ----------
    lines : what happens to a row where nothing is odd
    sound : tests of values that must hold for it, by the value
    when : tests of cells that must hold at the start of a stretch
    """

    lines: list[str] = field(default_factory=list)
    sound: dict[str, str] = field(default_factory=dict)
    when: list[str] = field(default_factory=list)


def kernel_abreast(kernel: "Kernel", lines: Sequence[str]) -> tuple[str, int] | None:
    """The source of a kernel for eight keys at a time, and its scratch words behind the globals; None where the chain has no such form.

    Parameters
    ----------
    kernel : the chain as for a stream without keys; its names may be joined by others
    lines : what happens to a row
    """
    text = _without_branches(kernel, lines)
    cells = {c.name: c for c in kernel.state.registers}
    if text is None or kernel.state.timed or kernel.state.uses_arena or not cells:
        return None
    if kernel.state.scratch_words or len(cells) != len(kernel.state.record.cells):
        return None
    cut = next((k for k, line in enumerate(text.lines) if "b" in _words([line])), len(text.lines))
    before, behind = text.lines[:cut], text.lines[cut:]
    if not _may_be_cut(kernel, text, before, behind, cells):
        return None
    writer = _Writer(kernel, text, before, behind, cells)
    return writer.source(), writer.words


def _without_branches(kernel: "Kernel", lines: Sequence[str]) -> _Text | None:
    out, k = _Text(), 0
    calms = kernel.values.calms
    while k < len(lines):
        line = lines[k]
        k += 1
        if line.strip() in ("PASS", "CALMED"):
            continue
        if line.startswith("CALM "):
            calm = calms[int(line.split()[1])]
            if calm.rows:
                k = lines.index("CALMED", k) + 1
                out.lines += calm.rows
                out.sound[calm.value] = calm.is_sound
                out.when += [calm.when] if calm.when else []
            continue
        guard = _GUARD.match(line)
        if guard is None:
            out.lines.append(line)
            continue
        out.sound[guard.group(2)] = guard.group(1)
        while k < len(lines) and lines[k].startswith("    "):
            if lines[k].strip() != "PASS":
                out.lines.append(lines[k][4:])
            k += 1
        if k == len(lines) or lines[k] != "else:":
            return None
        k += 1
        while k < len(lines) and lines[k].startswith("    "):
            k += 1
    out.lines = [_with_sound_names(kernel, line) for line in out.lines]
    if not all(_is_straight(kernel, line) for line in out.lines):
        return None
    for finite, held in kernel.values.steady:
        out.sound |= {x: f"abs({x}) < inf" for x in finite}
        out.when += [f"{cell} == {cell}" for cell in held]
    return out


def _with_sound_names(kernel: "Kernel", line: str) -> str:
    """A line that calls what is meant for values that are there; the time of a row, which it does not look at, is left out."""
    for name, twin in kernel.values.sound.items():
        line = re.sub(rf"\b{name}\(t, ", f"{twin}(0, ", line)
        line = re.sub(rf"\b{name}\(", f"{twin}(", line)
    return line


def _is_straight(kernel: "Kernel", line: str) -> bool:
    """Whether a line means the same for eight numbers."""
    if _LOAD.match(line):
        return True
    if line.startswith(" ") or _BRANCH.search(line):
        return False
    if not _STORE.match(line) and {"i", "m"} & _words(
        [line]
    ):  # an element of a list has a place of another kind
        return False
    return all(
        name in _PLAIN or _has_no_branch(kernel.names.table.get(name))
        for name in _CALL.findall(line)
    )


def _has_no_branch(run: Any) -> bool:  # noqa: ANN401
    """Whether a function does the same with all numbers: arithmetic, and roots."""
    if not inspect.isfunction(run) or not set(run.__code__.co_names) <= _MATHS:
        return False
    jumps = {*dis.hasjrel, *dis.hasjabs}
    return not any(x.opcode in jumps for x in dis.get_instructions(run))


def _may_be_cut(
    kernel: "Kernel", text: _Text, before: list[str], behind: list[str], cells: dict[str, "Cell"]
) -> bool:
    """Whether all that is tested is known before a ring is written to, and no memory is stepped on both sides."""
    known = {name for line in before for name in _assigned(line)}
    first, second = _words(before) & set(cells), _words(behind) & set(cells)
    turned = {t.position for t in kernel.state.turns}
    return set(text.sound) <= known and not first & second and turned <= second


def _words(lines: Sequence[str]) -> set[str]:
    return {w for line in lines for w in _WORD.findall(line)}


def _assigned(line: str) -> list[str]:
    """Names that a line gives a value to."""
    found = _ASSIGNED.match(line) or _STEP.match(line)
    return _WORD.findall(found.group(1)) if found else []


class _Writer:
    """Writes the kernel."""

    def __init__(
        self, kernel: "Kernel", text: _Text, before: list[str], behind: list[str], cells: dict[str, "Cell"]
    ) -> None:  # fmt: skip
        self.kernel, self.text, self.cells, self.sheet = kernel, text, cells, Sheet()
        self.before, self.behind = before, behind
        made = {n for line in text.lines for n in _assigned(line)}
        self._renamed = {*made, *cells, "b"}
        self._crossing = [
            name for name in sorted(made - set(cells)) if self._crosses(name, before, behind)
        ]
        kernel.names.table |= {"round_of": round_of, "turns_until": turns_until}

    def _crosses(self, name: str, before: list[str], behind: list[str]) -> bool:
        """Whether a value made before the first ring is read behind it."""
        made = {n for line in before for n in _assigned(line) if not _LOAD.match(line)}
        first = next((x for x in behind if name in _words([x])), None)
        if name not in made or first is None:
            return False
        return name not in _assigned(first) or name in _words([first.partition(" = ")[2]])

    @property
    def words(self) -> int:
        """Scratch: values that cross, where lanes have their memory, and that of lanes without a key."""
        state = self.kernel.state
        crossing = len(self._crossing) * ROUNDS * ABREAST
        return crossing + 2 * ABREAST + (state.record.size + state.block) // 8

    def source(self) -> str:
        """The whole."""
        sheet, kernel = self.sheet, self.kernel
        record, block = kernel.state.record.size, kernel.state.block
        team = 8 * len(self._crossing) * ROUNDS * ABREAST
        sheet(
            f"i = i64(ctx, {p.ROW})", f"n = i64(ctx, {p.ROWS})", f"slots = i64(ctx, {p.SLOT})", f"gaps = i64(ctx, {p.GAP})",
            f"records = i64(ctx, {p.RECORDS})", f"blocks = i64(ctx, {p.BLOCKS})",
            f"strips = i64(ctx, {p.GLOBALS}) + {kernel.globals.size}", f"team = strips + {team}",
            f"spare = team + {16 * ABREAST}", f"spare_block = spare + {record}",
            *(f"in_{k} = i64(ctx, {p.COLUMNS + k})" for k in range(len(kernel.reads))),
            *(f"out_{k} = i64(ctx, {p.COLUMNS + len(kernel.reads) + k})" for k in range(len(kernel.writes))),
            "rounds = 0", "left = 0", "around = round_of(slots, i, n)",
        )  # fmt: skip
        with sheet.block("if around > 0"):
            sheet("n = turns_until(slots, i, n, around)")
        with sheet.block("while around > 0"):
            # The last keys are computed along with what lies behind them, which is written anew afterwards.
            sheet(
                f"rounds = min((n - i - {ABREAST - 1}) // around, {ROUNDS})", "odd = 0",
                f"first = (around - 1) // {ABREAST} * {ABREAST}",
            )  # fmt: skip
            with sheet.block(f"if rounds < {FEWEST}"):
                sheet("rounds = 0", "break")
            with sheet.block("if gaps != 0"), sheet.block("for k in range(rounds * around)"):
                sheet("odd += u8(gaps, i + k)")
            if self.text.when:
                with sheet.block("for k in range(i, i + around)"):
                    sheet(f"r = records + i32(slots, k) * {record}")
                    self._scalar([f"odd += 0 if {x} else 1" for x in self.text.when], keeps=False)
            with sheet.block("while first >= 0 and odd == 0"):
                self._stretch()
                with sheet.block("if odd == 0"):
                    sheet(f"first -= {ABREAST}")
            with sheet.block("if odd != 0"):
                sheet(f"left = min(around, first + {ABREAST})", "break")
            sheet("i += rounds * around")
        sheet(
            f"set_i64(ctx, {p.ROW}, i)", f"set_i64(ctx, {p.NEED}, rounds)", f"set_i64(ctx, {p.OUT}, left)", f"set_i64(ctx, {p.AROUND}, around)",
            f"return {p.DONE}",
        )  # fmt: skip
        title = f"# {ABREAST} keys at a time"
        size = f"# records of {record} bytes, blocks of {block}"
        return "\n".join([title, size, "def kernel(ctx):", *sheet.lines]) + "\n"

    def _stretch(self) -> None:
        """Some rounds of eight keys."""
        sheet, kernel = self.sheet, self.kernel
        record, block = kernel.state.record.size, kernel.state.block
        sheet("base = i + first", f"width = min({ABREAST}, around - first)")
        with sheet.block(f"for lane in range({ABREAST})"):
            sheet("r = spare", "b = spare_block")
            with sheet.block("if lane < width"):
                sheet(
                    f"r = records + i32(slots, base + lane) * {record}",
                    f"b = blocks + i32(slots, base + lane) * {block}",
                )
            with sheet.block("if lane == width"):
                sheet(f"copy(spare, i64(team, 0), {record})")
            sheet("set_i64(team, lane, r)", f"set_i64(team, {ABREAST} + lane, b)")
        sheet("w_r = i64_row(team, 0)")
        self._first_part()
        if self.behind:
            with sheet.block("if odd == 0"):
                self._second_part()

    def _first_part(self) -> None:
        sheet = self.sheet
        self._load(self.before)
        if self.text.sound:
            sheet("w_sound = all_true()")
        with sheet.block("for j in range(rounds)"):
            self._rows(self.before)
            for test in self.text.sound.values():
                sheet(f"w_sound = w_sound & ({self._eight(test)})")
            for name in self._crossing:
                sheet(f"set_f64_row({self._scratch(name)}, {ABREAST} * j, {_OWN}{name})")
        if self.text.sound:
            sheet("odd = 1 - are_all(w_sound)")
            with sheet.block("if odd == 0"):
                self._store(self.before)
        else:
            self._store(self.before)

    def _second_part(self) -> None:
        """From the first ring on: stretches end where one is full."""
        sheet, turns = self.sheet, self.kernel.state.turns
        clear = [line for t in turns for line in t.clear]
        self._by_lane(clear)
        sheet(f"w_b = i64_row(team, {ABREAST})", "j = 0")
        with sheet.block("while j < rounds"):
            sheet("stop = rounds")
            with sheet.block(f"for lane in range({ABREAST})"):
                sheet("r = i64(team, lane)")
                for t in turns:
                    place = f"i64(r + {self.cells[t.position].offset}, 0)"
                    sheet(f"stop = min(stop, j + {t.count} - {place})")
            self._load(self.behind)
            with sheet.block("for j in range(j, stop)"):
                for name in self._crossing:
                    sheet(f"{_OWN}{name} = f64_row({self._scratch(name)}, {ABREAST} * j)")
                loads = [
                    x
                    for x in self.before
                    if _LOAD.match(x) and set(_assigned(x)) & _words(self.behind)
                ]
                self._rows([*loads, *self.behind])
            self._store(self.behind)
            sheet("j = stop")
            for t in turns:
                self._by_lane([f"if {t.position} == {t.count}:", *("    " + x for x in t.flip)])

    # ---- eight at a time

    def _scratch(self, name: str) -> str:
        return f"strips + {8 * ABREAST * ROUNDS * self._crossing.index(name)}"

    def _load(self, lines: Sequence[str]) -> None:
        for cell in self._cells_in(lines):
            self.sheet(f"{_OWN}{cell.name} = {cell.load}_each(w_r + {cell.offset}, 0)")

    def _store(self, lines: Sequence[str]) -> None:
        for cell in self._cells_in(lines):
            self.sheet(f"set_{cell.load}_each(w_r + {cell.offset}, 0, {_OWN}{cell.name})")

    def _cells_in(self, lines: Sequence[str]) -> list["Cell"]:
        found = _words(lines)
        return [c for c in self.cells.values() if c.name in found]

    def _rows(self, lines: Sequence[str]) -> None:
        if any(_LOAD.match(x) or _STORE.match(x) for x in lines):
            self.sheet("at = base + j * around")
        self.sheet(*(self._line(x) for x in lines))

    def _line(self, line: str) -> str:
        if found := _LOAD.match(line):
            name, kind, column = found.groups()
            return f"{_OWN}{name} = {kind}_row({column}, at)"
        if found := _STORE.match(line):
            kind, column, value = found.groups()
            return f"set_{kind}_row({column}, at, {self._eight(value)})"
        if found := _STEP.match(line):
            line = f"{found.group(1)} = {found.group(1)} + {found.group(2)}"
        return re.sub(r"\b(set_)?f64\(", r"\1f64_each(", self._eight(line))

    def _eight(self, text: str) -> str:
        return _WORD.sub(
            lambda m: _OWN + m.group() if m.group() in self._renamed else m.group(), text
        )

    # ---- one at a time

    def _by_lane(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        # All lanes without a key share one place.
        with self.sheet.block(f"for lane in range(min({ABREAST}, width + 1))"):
            self.sheet("r = i64(team, lane)", f"b = i64(team, {ABREAST} + lane)")
            self._scalar(lines)

    def _scalar(self, lines: Sequence[str], *, keeps: bool = True) -> None:
        cells = self._cells_in(lines)
        for cell in cells:
            self.sheet(f"{cell.name} = {cell.load}(r + {cell.offset}, 0)")
        self.sheet(*lines)
        for cell in cells if keeps else ():
            self.sheet(f"set_{cell.load}(r + {cell.offset}, 0, {cell.name})")
