"""What a pipeline may take at most: memory for its state, and time from a row to its results."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowedge.graph import nodes as g
from flowedge.graph.floors import floors
from flowedge.lang.diagnostics import Diagnostic, Rule
from flowedge.lang.span import Span
from flowedge.types.sizes import SIZES

_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


class OverBudget(Rule):
    """`flowedge check --budget 64MB,20ms` asks whether a pipeline keeps within a memory and a delay.

    The memory is that of its keys and of what its stages remember, and must have a bound that is known before
    anything runs: keys need `max keys N`, rows that wait to be put in order a rate. The delay is the longest
    time that a row may wait in the stages before a sink, computing apart.
    """

    code = "FE511"


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes of state, and seconds of delay; None where nothing is asked."""

    state_bytes: float | None = None
    delay_s: float | None = None


def parse_budget(text: str) -> Budget:
    """A budget as it is written: a size, a duration, or both with a comma between.

    Raises
    ------
    ValueError
        it is neither

    Examples
    --------
    >>> parse_budget("64MB,20ms")
    Budget(state_bytes=64000000.0, delay_s=0.02)
    """
    size = delay = None
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", part)
        unit = found.group(2) if found else ""
        if found and unit.upper() in SIZES and size is None:
            size = float(found.group(1)) * SIZES[unit.upper()]
        elif found and unit in _TIMES and delay is None:
            delay = float(found.group(1)) * _TIMES[unit]
        else:
            message = f"`{part.strip()}` is no size or duration; give for example `64MB,20ms`"
            raise ValueError(message)
    return Budget(size, delay)


def too_slow(nodes: Sequence[g.Node], budget: Budget) -> Iterator[Diagnostic]:
    """The sinks whose rows may wait longer than the budget says."""
    if budget.delay_s is None:
        return
    waits, of = floors(nodes), {n.id: n for n in nodes}
    for node in nodes:
        if not isinstance(node, g.Sink) or node.span is None:
            continue
        wait = waits[node.id]
        if wait is not None and wait <= budget.delay_s * (1 + 1e-9):
            continue
        told = "may wait without a bound" if wait is None else f"may wait {shown_s(wait)}"
        chain = list(_above(node, of))
        worst = next((n for n in chain if waits[n.id] == wait and n.span is not None), node)
        others: list[tuple[Span, str]] = []
        if worst is not node and worst.span is not None:
            others.append((worst.span, "waits last"))
        yield OverBudget.at(
            node.span, f"rows to `{node.name}` {told}, the budget is {shown_s(budget.delay_s)}", others=others,
            why="a row comes out when nothing can change it any more", fix="shorten windows, `late`, or what looks ahead",
        )  # fmt: skip


def _above(node: g.Node, of: dict[int, g.Node]) -> Iterator[g.Node]:
    """What stands before a node, the furthest first."""
    for i in node.inputs:
        yield from _above(of[i], of)
        yield of[i]


def shown_s(seconds: float) -> str:
    """A duration for a reader."""
    return f"{seconds:g} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1e3:g} ms"
