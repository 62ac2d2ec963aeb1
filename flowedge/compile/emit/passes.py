"""The loop over a strip of rows taken apart, so that each pass over it is as fast as it can be.

A filter waits for its own last result at every row; what stands before and behind it does not. In
one loop all of it goes at the pace of the slowest. So the steps with memory (cascades of filters,
rolling aggregates) get loops of their own, the arithmetic between them one that the compiler turns
into vector instructions, and the values that cross lie in a scratch row short enough for the
nearest cache. The operations on each value stay the same, so the bits do.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

STRIP = 512
"""Rows of a strip: a few scratch rows of it stay within a first-level cache of 32 KiB."""

MARK = "PASS"
"""The line that emitters write before and behind a step with memory."""

_WORD = re.compile(r"[A-Za-z_]\w*")
_ASSIGNED = re.compile(r"^\(?([\w, ()]+?),?\)? = ")
_LOADED = re.compile(r"^\w+ = (?:f64|f32)\(in_\d+, i\)$")


@dataclass
class Pass:
    """One loop over the strip.

    Attributes
    ----------
    lines : what is done with a row
    takes, gives : variables read from, and written to, scratch rows: (variable, scratch row)
    """

    lines: list[str]
    takes: list[tuple[str, int]] = field(default_factory=list)
    gives: list[tuple[str, int]] = field(default_factory=list)

    @property
    def words(self) -> set[str]:
        """All names in its text."""
        return {w for line in self.lines for w in _WORD.findall(line)}


def passes(lines: Sequence[str], cells: Sequence[str], floats: set[str]) -> list[Pass] | None:
    """The loops that do together what `lines` do to a row; None where one loop must do it all.

    Parameters
    ----------
    lines : what happens to a row, with marks between its steps, not indented
    cells : variables that live on from row to row
    floats : variables known to hold float64: what may lie in a scratch row

    Examples
    --------
    >>> found = passes(["x = f64(in_0, i)", "s, y = step(s, x)", "PASS", "set_f64(out_0, m, y * y)"], ["s"], {"y"})
    >>> [(p.takes, p.gives) for p in found]
    [([], [('y', 0)]), ([('y', 0)], [])]
    """
    loads = {_assigned(x)[0]: x for x in lines if _LOADED.match(x)}
    parts = _merged(_parts([x for x in lines if not _LOADED.match(x)]), set(cells))
    if len(parts) < 2:
        return None
    out = [Pass(part) for part in parts]
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
        one.lines[:0] = [load for name, load in loads.items() if name in one.words]
    return out


def _parts(lines: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line == MARK:
            parts.append([])
        elif line.strip() != MARK:  # a mark inside a condition marks nothing
            parts[-1].append(line)
    return [part for part in parts if part]


def _merged(parts: list[list[str]], cells: set[str]) -> list[list[str]]:
    """Parts that share a cell, and all between them, in one."""
    places: dict[str, list[int]] = {}
    for k, part in enumerate(parts):
        for word in Pass(part).words & cells:
            places.setdefault(word, []).append(k)
    joined = {j for found in places.values() for j in range(found[0] + 1, found[-1] + 1)}
    out: list[list[str]] = []
    for k, part in enumerate(parts):
        only_writes = all(line.startswith("set_") for line in part)
        if out and (k in joined or only_writes):
            out[-1].extend(part)
        else:
            out.append(list(part))
    return out


def _assigned(line: str) -> list[str]:
    """Names that a line gives a value to."""
    found = _ASSIGNED.match(line.strip())
    return _WORD.findall(found.group(1)) if found else []


def written(parts: Sequence[Pass]) -> Iterator[tuple[Pass, list[str]]]:
    """Each pass with the text of its row: scratch rows read, the work, scratch rows written."""
    for part in parts:
        yield (
            part,
            [
                *(f"{name} = f64({_row(row)}, i - base)" for name, row in part.takes),
                *part.lines,
                *(f"set_f64({_row(row)}, i - base, {name})" for name, row in part.gives),
            ],
        )


def words(parts: Sequence[Pass]) -> int:
    """Words of scratch memory that the passes need."""
    return STRIP * len({row for part in parts for _, row in part.gives})


def _row(row: int) -> str:
    return f"strips + {8 * STRIP * row}" if row else "strips"
