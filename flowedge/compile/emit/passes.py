"""The loop over a strip of rows taken apart, so that each pass over it is as fast as it can be.

A filter waits for its own last result at every row; what stands before and behind it does not. In
one loop all of it goes at the pace of the slowest. So the steps with memory (cascades of filters,
rolling aggregates) get loops of their own, the arithmetic between them one that the compiler turns
into vector instructions, and the values that cross lie in a scratch row short enough for the
nearest cache. The operations on each value stay the same, so the bits do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

STRIP = 512
"""Rows of a strip: a few scratch rows of it stay within a first-level cache of 32 KiB."""

MARK = "PASS"
"""The line that emitters write before and behind a step with memory."""

FEWEST = 16
"""Rows of a strip from which on a step does the whole strip by one call."""

_WORD = re.compile(r"[A-Za-z_]\w*")
_ASSIGNED = re.compile(r"^\(?([\w, ()]+?),?\)? = ")
_LOADED = re.compile(r"^\w+ = (?:f64|f32)\(in_\d+, i\)$")


@dataclass(frozen=True, slots=True)
class Calm:
    """How a step is done where every value of a strip is sound (there, finite): simpler and faster.

    The lines that it stands for lie between the lines ``CALM k`` and ``CALMED``.

    Attributes
    ----------
    value, is_sound : a variable, and the text of the test that it is sound
    when : text of what must hold besides, at the start of each stretch of rows; "" for nothing
    rows : lines for a row, in place of those that it stands for
    result, strip : the variable that they give, and lines that give a whole strip of it instead,
        with `{x}` and `{y}` for the addresses of values and results, `{rows}` for how many
    """

    value: str
    is_sound: str
    when: str = ""
    rows: tuple[str, ...] = ()
    result: str = ""
    strip: tuple[str, ...] = ()


@dataclass
class Pass:
    """One loop over the strip.

    Attributes
    ----------
    lines : what is done with a row
    loads : of these, those that read an input column, by variable
    takes, gives : variables read from, and written to, scratch rows: (variable, scratch row)
    calm, calm_lines : what may be done instead, and the lines of a row with it
    """

    lines: list[str]
    loads: dict[str, str] = field(default_factory=dict)
    takes: list[tuple[str, int]] = field(default_factory=list)
    gives: list[tuple[str, int]] = field(default_factory=list)
    calm: Calm | None = None
    calm_lines: list[str] = field(default_factory=list)

    @property
    def words(self) -> set[str]:
        """All names in its text."""
        return {w for line in self.lines for w in _WORD.findall(line)}


def passes(
    lines: Sequence[str], cells: Sequence[str], floats: set[str], calms: Sequence[Calm] = ()
) -> list[Pass] | None:
    """The loops that do together what `lines` do to a row; None where one loop must do it all.

    Parameters
    ----------
    lines : what happens to a row, with marks between its steps, not indented
    cells : variables that live on from row to row
    floats : variables known to hold float64: what may lie in a scratch row
    calms : by number, what may stand in place of marked lines

    Examples
    --------
    >>> found = passes(["x = f64(in_0, i)", "s, y = step(s, x)", "PASS", "z = y * y", "set_f64(out_0, m, z)"], ["s"], {"y"})
    >>> [(p.takes, p.gives) for p in found]
    [([], [('y', 0)]), ([('y', 0)], [])]
    """
    loads = {_assigned(x)[0]: x for x in lines if _LOADED.match(x)}
    parts = _merged(_parts([x for x in lines if not _LOADED.match(x)]), set(cells), calms)
    if len(parts) < 2 and not any(c.strip for c in calms):
        return None
    out = [_calmed(part, calms) for part in parts]
    rows: dict[str, int] = {}
    for k, one in enumerate(out):
        made = {name for line in one.lines for name in _assigned(line)} - set(cells)
        for name in sorted(made):
            readers = [later for later in out[k + 1 :] if name in later.words]
            if not readers:
                continue
            if name not in floats:
                return None
            row = rows.setdefault(name, len(rows))
            one.gives.append((name, row))
            for reader in readers:
                reader.takes.append((name, row))
    for one in out:
        one.loads = {name: load for name, load in loads.items() if name in one.words}
        _only_where_it_can_be(one)
    return out


def _calmed(part: list[str], calms: Sequence[Calm]) -> Pass:
    """A part with what may stand in its place, if that is one thing."""
    starts = [k for k, line in enumerate(part) if line.startswith("CALM ")]
    out = Pass(without_calms(part))
    if len(starts) != 1:
        return out
    start, stop = starts[0], part.index("CALMED")
    calm = calms[int(part[start].split()[1])]
    before, after = part[:start], part[stop + 1 :]
    if calm.strip and (before or after):
        return out
    out.calm, out.calm_lines = calm, [*before, *calm.rows, *after]
    return out


def _only_where_it_can_be(one: Pass) -> None:
    """A value must lie in a row that can be looked at beforehand; of a strip the result goes to a row."""
    calm = one.calm
    if calm is None:
        return
    lies = calm.value in one.loads or any(name == calm.value for name, _ in one.takes)
    if not lies or (calm.strip and [name for name, _ in one.gives] != [calm.result]):
        one.calm = None


def without_marks(lines: Sequence[str]) -> list[str]:
    """Lines without any marks, for one loop."""
    return [x for x in without_calms(lines) if x.strip() != MARK]


def without_calms(lines: Sequence[str]) -> list[str]:
    """Lines without the marks of what may stand in their place."""
    return [x for x in lines if not x.lstrip().startswith("CALM")]


def _column(load: str) -> str | None:
    """The address of a float64 column that a line reads, None for other types."""
    found = re.match(r"^\w+ = f64\((in_\d+), i\)$", load)
    return found.group(1) if found else None


def _parts(lines: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line == MARK:
            parts.append([])
        elif line.strip() != MARK:  # a mark inside a condition marks nothing
            parts[-1].append(line)
    return [part for part in parts if part]


def _merged(parts: list[list[str]], cells: set[str], calms: Sequence[Calm]) -> list[list[str]]:
    """Parts that share a cell, and all between them, in one; those that only write go along."""
    places: dict[str, list[int]] = {}
    for k, part in enumerate(parts):
        for word in Pass(part).words & cells:
            places.setdefault(word, []).append(k)
    joined = {j for found in places.values() for j in range(found[0] + 1, found[-1] + 1)}
    out: list[list[str]] = []
    for k, part in enumerate(parts):
        goes_along = (
            all(line.startswith("set_") for line in part)
            and bool(out)
            and not any(calms[int(x.split()[1])].strip for x in out[-1] if x.startswith("CALM "))
        )
        if out and (k in joined or goes_along):
            out[-1].extend(part)
        else:
            out.append(list(part))
    return out


def _assigned(line: str) -> list[str]:
    """Names that a line gives a value to."""
    found = _ASSIGNED.match(line.strip())
    return _WORD.findall(found.group(1)) if found else []


@dataclass(frozen=True, slots=True)
class Text:
    """A pass as text.

    Attributes
    ----------
    row : lines for a row
    calm_row : lines for a row of a calm strip, if there are any
    look : lines for a row that count what is not sound in `odd`
    strip : lines that do a whole calm strip
    """

    row: list[str]
    calm_row: list[str]
    look: list[str]
    strip: list[str]


def text_of(one: Pass, rows: int) -> Text:
    """The lines of a pass: scratch rows read, the work, scratch rows written.

    Parameters
    ----------
    rows : number of scratch rows taken before this pass; one more may be used
    """
    loads = list(one.loads.values())
    takes = {name: f"{name} = f64({_row(row)}, i - base)" for name, row in one.takes}
    gives = [f"set_f64({_row(row)}, i - base, {name})" for name, row in one.gives]
    row = [*loads, *takes.values(), *one.lines, *gives]
    calm = one.calm
    if calm is None:
        return Text(row, [], [], [])
    value = calm.value
    look = [one.loads.get(value) or takes[value], f"odd += 0 if {calm.is_sound} else 1"]
    if not calm.strip:
        return Text(row, [*loads, *takes.values(), *one.calm_lines, *gives], look, [])
    column = _column(one.loads.get(value, ""))
    if column is not None:
        source = f"{column} + 8 * base"
    elif value in takes:
        source = _row(dict(one.takes)[value])
    else:
        source = _row(rows)
        look.append(f"set_f64({source}, i - base, {value})")
    target = _row(one.gives[0][1])
    return Text(
        row, [], look, [x.format(x=source, y=target, rows="limit - base") for x in calm.strip]
    )


def rows_of(parts: Sequence[Pass]) -> int:
    """Scratch rows in which values cross."""
    return len({row for part in parts for _, row in part.gives})


def words(parts: Sequence[Pass]) -> int:
    """Words of scratch memory that the passes need, with one row to widen float32 values in."""
    return STRIP * (rows_of(parts) + 1)


def _row(row: int) -> str:
    return f"strips + {8 * STRIP * row}" if row else "strips"
