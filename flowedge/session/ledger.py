"""The ledger: what became of each row that entered a node."""

from collections.abc import Iterable
from dataclasses import dataclass

from flowedge.compile.program import NodeSpec


def names_of(nodes: Iterable[NodeSpec]) -> dict[int, str]:
    """What the ledger calls each node, by its id: its label, of which the second one of a kind has the id behind it."""
    out: dict[int, str] = {}
    taken: set[str] = set()
    for node in nodes:
        label = node.label or node.name
        out[node.id] = label if label not in taken else f"{label} #{node.id}"
        taken.add(out[node.id])
    return out


@dataclass(slots=True)
class Counts:
    """Rows of one node; in = used + filtered + late + duplicate + rejected + shed + incomplete + held.

    `rows_out` is counted apart: one row in may give none or many. `jitter`, `gaps` and `filled` are
    notes about a signal (samples beside their instant, gaps met, rows put into gaps), `leaps` one about
    a recording (pushes in which time leaps by more than a year); `too_many_keys` says how many of the rejected
    rows had a key beyond ``max keys``; `nulled` and `clamped` count values that were not valid and became
    missing, or the nearest valid one; `failed`, `missed` and `rested` are frames that a model could not answer, did
    not answer in time, and was not asked about after many failures.

    Examples
    --------
    >>> Counts(rows_in=3, used=2, late=1).imbalance()
    0
    """

    rows_in: int = 0
    rows_out: int = 0
    used: int = 0
    filtered: int = 0
    late: int = 0
    duplicate: int = 0
    rejected: int = 0
    shed: int = 0
    incomplete: int = 0
    held: int = 0
    jitter: int = 0
    gaps: int = 0
    filled: int = 0
    leaps: int = 0
    too_many_keys: int = 0
    nulled: int = 0
    clamped: int = 0
    failed: int = 0
    missed: int = 0
    rested: int = 0

    def imbalance(self) -> int:
        """Rows in less rows with a fate: 0 unless something is wrong with the engine."""
        return self.rows_in - (
            self.used + self.filtered + self.late + self.duplicate + self.rejected + self.shed
            + self.incomplete + self.held
        )  # fmt: skip

    @property
    def fates(self) -> dict[str, int]:
        """What became of the rows, by the word for it; without what became of none."""
        names = ("used", "filtered", "late", "duplicate", "rejected", "shed", "incomplete", "held")
        return {name: n for name in names if (n := getattr(self, name))}

    def as_dict(self) -> dict[str, int]:
        """By name, in order."""
        return {
            name: getattr(self, name) for name in self.__slots__
        }  # a tenth of the time of asdict
