"""Rows that a filter lets through, written without a branch.

Where a filter lets about half of the rows through, the processor guesses wrong at every other row, for longer than the row
takes. What stands behind the condition is done for each row then, at the place of the next row that leaves, and the place moves
on by the condition: the next one writes over a row that does not leave.
"""

import re
from collections.abc import Sequence

_LONGEST = 12
"""A longer block is left as it is: leaving it out gains more than guessing right."""
_CALL = re.compile(r"\b(\w+)\(")
_PLAIN = {"f64", "f32", "i64", "i32", "i16", "u8", "abs", "min", "max", "float"}
"""What costs no more than a few instructions, and may be done for nothing."""
_STORE = re.compile(r"set_\w+\((out_\w+), m, ")
_LOCAL = re.compile(r"(?!s_|r$|b$)[a-z]\w* = ")
_FLAG = re.compile(r"set_u8\(out_gap, m, \w+\)$")
_TURN = re.compile(r"if (s_gap_due\w*) != 0:$")


def rows(lines: Sequence[str]) -> list[str]:
    """The lines for a row; with a last block that only computes and writes, one without the branch.

    A place to write to is there for each row that has come, for none gives more than one.
    """
    start = next(
        (k for k, line in enumerate(lines) if line.startswith("if ") and line.endswith(":")), None
    )
    if start is None:
        return list(lines)
    block = [line[4:] for line in lines[start + 1 :]]
    if not all(
        line.startswith("    ") for line in lines[start + 1 :]
    ) or not _may_be_done_for_nothing(block):
        return list(lines)
    keep = "leaves_"
    out = [*lines[:start], f"{keep} = 1 if {lines[start][3:-1]} else 0"]
    number = 0
    while number < len(block):
        turn = _TURN.match(block[number])
        if turn is not None:
            out.append(f"{turn[1]} = {turn[1]} & ({keep} - 1)")
            number += 1
        elif block[number] == "m += 1":
            out.append(f"m += {keep}")
        else:
            out.append(block[number])
        number += 1
    return out


def without_gap(lines: Sequence[str], due: str) -> list[str] | None:
    """Such lines for rows before which no gap is to be shown, whose flags are written afterwards; None where there are others.

    A third less to store, and no row waits for whether the one before has left.
    """
    own = [line for line in lines if due in line]
    if len(own) != 2 or _FLAG.match(own[0]) is None or not own[1].startswith(f"{due} = {due} & "):
        return None
    return [line for line in lines if line not in own]


def _may_be_done_for_nothing(block: Sequence[str]) -> bool:
    if len(block) > _LONGEST or block[-1:] != ["m += 1"]:
        return False
    number = 0
    while number < len(block) - 1:
        line = block[number]
        turn = _TURN.match(line)
        if turn is not None:
            if block[number + 1] != f"    {turn[1]} = 0":
                return False
            number += 2
            continue
        store = _STORE.match(line)
        if store is None and _LOCAL.match(line) is None:
            return False
        calls = _CALL.findall(line)
        if any(name not in _PLAIN for name in (calls[1:] if store else calls)):
            return False
        if re.search(r"[/%]|\*\*", line):
            return False
        number += 1
    return True
