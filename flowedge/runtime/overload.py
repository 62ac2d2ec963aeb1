"""A run that cannot keep up: what is left out, and when."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flowedge.compile import program as p
from flowedge.compile.gates import importance_of

LAG_NS = 10**9
"""Rows may wait so long before less important work is left out, where no more important sink has a deadline."""
EVERYTHING = -(2**63)
"""Below this priority nothing is: all gates are open."""
_TELLING_NS = 10**6
"""A push that takes less says little of what a row costs: most of it is the push itself."""
_WEIGHT = 0.25
"""Of a push, against what a row was thought to cost before."""
_DOUBT_NS = 10**9
"""What a row was thought to cost is halved when it was not seen for so long."""


@dataclass(slots=True)
class _Cost:
    """What a row of a source takes [ns] while certain sinks are left out, and when that was looked at."""

    each_ns: float = 0.0
    looked: int = 0

    def seen(self, each_ns: float, now: int) -> None:
        """A row has taken so long."""
        self.each_ns += (each_ns - self.each_ns) * (_WEIGHT if self.each_ns else 1.0)
        self.looked = now

    def guess(self, now: int) -> float:
        """What a row may take; less where that was long ago."""
        return self.each_ns * 0.5 ** ((now - self.looked) / _DOUBT_NS)


@dataclass(frozen=True, slots=True)
class _Level:
    """Sinks of one priority, which are left out while rows have waited for more than `limit_ns`."""

    priority: int
    limit_ns: int


@dataclass
class Overload:
    """Decides what is left out, from how long rows have waited when their turn comes.

    Rows of live sources are taken in the order in which they came, so those whose turn it is are the oldest. Of the time that
    the deadline of a more important sink leaves for waiting (the deadline, less what the pipeline itself waits), a part may
    pass until rows are through before the least important sinks are left out, a larger part before the next ones are, and
    half of it before rows are turned away that could reach the most important sinks only when it is too late: where all
    of these say ``else drop``. What was left out is taken in again when rows are through in less than half of that.

    Until rows are through they have waited for their turn, and are worked on: what that will take is known from
    the rows before them, source by source. Without it a batch that has come at once would be too late by its own work.

    Parameters
    ----------
    nodes : of the program

    Attributes
    ----------
    below : sinks of a lower priority are left out now
    """

    nodes: Sequence[p.NodeSpec]
    below: int = EVERYTHING
    _levels: list[_Level] = field(default_factory=list)
    _too_late: dict[str, int] = field(default_factory=dict)
    _importance: dict[str, int] = field(default_factory=dict)
    _costs: dict[tuple[str, int], _Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out what may be left out, and when."""
        sinks = [n for n in self.nodes if isinstance(n, p.SinkSpec)]
        priorities = sorted({n.priority for n in sinks})
        for number, priority in enumerate(priorities[:-1]):
            budget = min((_budget(s) for s in sinks if s.priority > priority and s.deadline_ns >= 0), default=LAG_NS)  # fmt: skip
            share = (number + 1) / (2 * len(priorities))
            self._levels.append(_Level(priority, int(budget * share)))
        importance = importance_of(self.nodes)
        behind = _sinks_behind(self.nodes)
        for source in self.nodes:
            if not isinstance(source, p.SourceSpec) or source.id not in importance:
                continue
            self._importance[source.name] = importance[source.id]
            first = [s for s in behind[source.id] if s.priority == priorities[-1]]
            if first and all(s.deadline_ns >= 0 and s.otherwise == ("drop", "") for s in first):
                self._too_late[source.name] = max(map(_budget, first)) // 2

    @property
    def may_act(self) -> bool:
        """Whether anything could be left out."""
        return bool(self._levels or self._too_late)

    def note(self, age_ns: int, source: str = "", rows: int = 0, now: int = 0) -> bool:
        """So many rows of a source have their turn after so long, by the clock `now` [ns]; whether `below` has changed."""
        below = EVERYTHING
        for level in self._levels:
            is_out = level.priority < self.below
            cost = self._costs.get((source, below))
            through_ns = age_ns if cost is None else age_ns + rows * cost.guess(now)
            if through_ns > level.limit_ns // (2 if is_out else 1):
                below = level.priority + 1
        has_changed, self.below = below != self.below, below
        return has_changed

    def took(self, source: str, rows: int, took_ns: int, now: int) -> None:
        """Rows of a source were pushed, which has taken so long."""
        if took_ns >= _TELLING_NS:
            self._costs.setdefault((source, self.below), _Cost()).seen(took_ns / rows, now)

    def is_useless(self, source: str, age_ns: int) -> bool:
        """Whether nothing in time can come of rows of a source that have waited so long."""
        if self._importance.get(source, EVERYTHING) < self.below:
            return True
        limit = self._too_late.get(source)
        return limit is not None and age_ns > limit


def _budget(sink: p.SinkSpec) -> int:
    """How much of a deadline is left for waiting and work [ns]."""
    return max(0, sink.deadline_ns - max(0, sink.floor_ns))


def _sinks_behind(nodes: Sequence[p.NodeSpec]) -> dict[int, list[p.SinkSpec]]:
    """By id, the sinks that a node's rows lead to."""
    out: dict[int, dict[int, p.SinkSpec]] = {n.id: {} for n in nodes}
    for node in reversed(nodes):
        if isinstance(node, p.SinkSpec):
            out[node.id][node.id] = node
        for origin in node.inputs:
            out[origin] |= out[node.id]
    return {at: list(found.values()) for at, found in out.items()}
