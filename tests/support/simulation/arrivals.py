"""The rows of a seed handed to a session in partitions, as they happen to arrive.

A partition is a sequence of rows and marks; nothing else about arrival has a meaning. So however partitions
and sources come one among another, however they are cut, and wherever a session is stopped and restored,
the rows are those of one partition after the other, as long as all were announced before the first row. In
what order late rows of several partitions come is not promised.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowedge.compile import program as p
from flowedge.lang.errors import FlowEdgeError, InternalError
from flowedge.session.session import Session

NAMES = ("", "p", "ä", "a")


@dataclass(frozen=True)
class Partition:
    """A sequence: rows, and before which of them a mark stands, by its number."""

    source: str
    name: str
    rows: pa.RecordBatch
    marks: dict[int, int]


class Arrivals:
    """One way to cut the rows of sources into partitions.

    Parameters
    ----------
    plan, models : what runs
    sources : the rows of each that can be read
    rng : draws partitions, marks, and the order of `play`
    """

    def __init__(self, plan, models, sources, rng):
        self.plan, self.models, self.random = plan, models, rng
        specs = {n.name: n for n in plan.program.nodes if isinstance(n, p.SourceSpec)}
        self.partitions = []
        for name, rows in sources.items():
            # Keys that are late each for itself leave as they come, so partitions would show.
            several = not specs[name].late_per_key and rng.random() < 0.75
            names = rng.sample(NAMES, rng.choice([2, 3]) if several else 1)
            if not several:
                names = [""]
            self.partitions += self._cut(name, rows, names)

    def _cut(self, source, rows, names):
        draw = np.random.default_rng(self.random.randrange(2**32))
        of = draw.integers(0, len(names), rows.num_rows)
        if self.random.random() < 0.3:  # one of them is much shorter
            of[rows.num_rows // 3 :] = 0
        last = pc.max(rows["time"].cast(pa.int64())).as_py()
        for k, name in enumerate(names):
            mine = rows.filter(pa.array(of == k))
            # A mark behind the last row is seen at the end only if no other partition ended later.
            times = [t for t in mine["time"].cast(pa.int64()).to_pylist() if t is not None]
            places = [self.random.randrange(mine.num_rows + 1) for _ in range(4)]
            spread = 2 * 10**9
            marks = {
                at: min(
                    last,
                    self.random.choice(times[:at] or times) + self.random.randint(-spread, spread),
                )
                for at in places[: self.random.choice([0, 0, 2, 4])]
                if times
            }
            yield Partition(source, name, mine, marks)

    def in_turn(self):
        """One partition after the other."""
        return self._played(None)

    def mixed(self):
        """As a draw has it, with snapshots between."""
        return self._played(self.random)

    def _played(self, rng):
        try:
            return _Play(self, rng).tables(), None
        except InternalError:
            raise
        except FlowEdgeError as error:
            return None, error


class _Play:
    def __init__(self, arrivals, rng):
        self.plan, self.models = arrivals.plan, arrivals.models
        self.partitions, self.random = arrivals.partitions, rng
        self.session = self.plan.open(self.models)
        self.found = {name: [] for name in self.session.schemas}
        self.rejected = {name: [] for name in self.session.sources}

    def tables(self):
        """Tables by sink, rejected rows by source, and the ledger."""
        at = [0] * len(self.partitions)
        told = [set() for _ in self.partitions]
        announced = list(self.partitions)
        if self.random is not None:
            self.random.shuffle(announced)
        for one in announced:
            self._keep(self.session.mark(one.source, p.NEVER, one.name))
        left = list(range(len(self.partitions)))
        while left:
            k = left[0] if self.random is None else self.random.choice(left)
            one = self.partitions[k]
            if at[k] in one.marks and at[k] not in told[k]:
                told[k].add(at[k])
                self._keep(self.session.mark(one.source, one.marks[at[k]], one.name))
            elif at[k] == one.rows.num_rows:
                left.remove(k)
                self._end(one, left)
            else:
                behind = min((m for m in one.marks if m > at[k]), default=one.rows.num_rows)
                if self.random is not None:
                    behind = min(behind, at[k] + self.random.choice([1, 3, 20, 100]))
                piece = one.rows.slice(at[k], behind - at[k])
                self._keep(self.session.push(one.source, piece, one.name))
                at[k] = behind
            self._perhaps_restored()
        self._keep(self.session.finish())
        tables = {
            name: pa.Table.from_batches(batches, self.session.schemas[name])
            for name, batches in self.found.items()
        }
        rejected = {name: sorted(rows) for name, rows in self.rejected.items()}
        return tables, rejected, self.session.ledger()

    def _end(self, one, left):
        if any(self.partitions[k].source == one.source for k in left):
            if self.random is not None and self.random.random() < 0.5:
                self._keep(self.session.end(one.source, one.name))
        else:
            self._keep(self.session.end(one.source))

    def _keep(self, out):
        for name, batch in out.items():
            self.found[name].append(batch)
        for name in self.rejected:
            self.rejected[name] += self.session.rejected(name)

    def _perhaps_restored(self):
        """Go on from a snapshot, with other hashes, and with keys that are forgotten at once or late."""
        if self.random is None or self.random.random() > 0.1:
            return
        program, kept = self.plan.program, self.session.snapshot()
        seed = self.random.randrange(100)
        self.session = Session.restore(program, kept, self.models, seed=seed)
        self.session.key_slack = self.random.choice([0, 1000])


def arrivals_seen(plan, models, sources, rng, differences):
    """What of the order in which partitions arrive can be seen, in words."""
    arrivals = Arrivals(plan, models, sources, rng)
    (wanted, failed), (found, failed_too) = arrivals.in_turn(), arrivals.mixed()
    if failed is not None or failed_too is not None:
        if failed is not None and failed_too is not None:  # which mistake comes first may be seen
            return []
        return [f"partitions in turn say {failed!r}, mixed {failed_too!r}"]
    late = {
        sink.name
        for sink in plan.program.nodes
        if isinstance(sink, p.SinkSpec) and _is_late(plan.program, sink)
    }
    out = []
    for name, table in wanted[0].items():
        one, two = table, found[0][name]
        if name in late:
            one, two = (_sorted(t) for t in (one, two))
        out += [f"partitions, sink {name}: {w}" for w in differences(one, two)]
    for name, rows in wanted[1].items():
        lacks, more = (sorted(set(a) - set(b)) for a, b in ((rows, found[1][name]), (found[1][name], rows)))  # fmt: skip
        if lacks or more or len(rows) != len(found[1][name]):
            out.append(f"partitions, rejected of {name}: {more[:5]}, not {lacks[:5]}")
    for node, counts in wanted[2].items():
        changed = {n: (found[2][node][n], c) for n, c in counts.items() if found[2][node][n] != c}
        if changed:
            out.append(f"partitions, ledger of {node}: {changed} (found, wanted)")
    return out


def _is_late(program, sink):
    nodes = {n.id: n for n in program.nodes}
    before = nodes[sink.inputs[0]]
    return isinstance(before, p.PartSpec) and before.part == "late"


def _sorted(table):
    plain = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    rows = list(zip(*(column.to_pylist() for column in plain), strict=True))
    return table.take(pa.array(sorted(range(len(rows)), key=lambda at: repr(rows[at])), pa.int64()))
