"""What a run over recordings spends its time with: reading, each stage, writing; beside what the memory could do."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from flowedge.lang.errors import RunError
from flowedge.runtime.feeds import open_feeds
from flowedge.runtime.life import Life
from flowedge.runtime.meter import Meter, Spent, label_of
from flowedge.runtime.models import Allowed
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.plan import Plan
from flowedge.runtime.report import Report
from flowedge.runtime.run import Run
from flowedge.session.node import Node

_COPIED = 1 << 28
_COPIES = 5
_NOTHING = Allowed()


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the run took by itself: the median of the rounds.

    Attributes
    ----------
    rows : that entered it
    nbytes : of these
    wall_s : on the clock
    cpu_s : of the processor; what is missing to `wall_s` it waited for: a disk, a peer, its turn
    """

    name: str
    rows: int
    nbytes: int
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured.

    Attributes
    ----------
    rounds : runs, of which all times are medians
    copied_bytes_s : what a copy of a large array reads and writes, in between
    rows : of all sources
    wall_s, cpu_s : of the whole run, on one thread
    parts : reading, kernels and other nodes as they are run, writing
    stages : the same of nodes where no two stages are one kernel, in the order of the text; empty where that changes nothing
    """

    rounds: int
    copied_bytes_s: float
    rows: int
    wall_s: float
    cpu_s: float
    parts: tuple[Part, ...]
    stages: tuple[Part, ...]


def bench(
    plan: Plan,
    unfused: Plan,
    rounds: int = 3,
    trusted: Allowed = _NOTHING,
    clock: Callable[[], int] = time.perf_counter_ns,
    cpu: Callable[[], int] = time.thread_time_ns,
) -> Bench:
    """Run a pipeline over its recordings, with its outputs, and measure where the time goes.

    Parameters
    ----------
    unfused : the same with each stage as a node of its own
    rounds : how often, each time with both and with a copy of memory

    Raises
    ------
    RunError
        a source is live, or what a run raises
    """
    with closing(open_feeds(plan.program)) as feeds:
        live = [feed.name for feed in feeds.live]
    if live:
        raise RunError(f"`{live[0]}` has no end to be measured to; `flowedge calibrate` measures pipelines with live sources")  # fmt: skip
    found: dict[bool, list[_Measured]] = {True: [], False: []}
    copied = []
    for _ in range(rounds):
        for fused, which in ((True, plan), (False, unfused)):
            run = _Measured(which, trusted, meter=Meter(clock, cpu))
            began, had = clock(), cpu()
            run()
            run.whole = Spent(clock() - began, cpu() - had)
            found[fused].append(run)
        copied.append(_copied(clock))
    whole = [run.whole for run in found[True]]
    stages = _parts(found[False], only_nodes=True)
    parts = _parts(found[True], only_nodes=False)
    is_same = {part.name for part in stages} <= {part.name for part in parts}
    return Bench(
        rounds, max(copied), found[True][0].report.rows_in, median(x.wall_ns for x in whole) * 1e-9, median(x.cpu_ns for x in whole) * 1e-9,
        parts, () if is_same else stages,
    )  # fmt: skip


@dataclass
class _Measured(Run):
    """A run with a meter at all its parts."""

    meter: Meter = field(kw_only=True)
    whole: Spent = field(default_factory=Spent)
    nodes: dict[int, Node] = field(default_factory=dict)

    def _open(self, plan: Plan) -> Life:
        life = super()._open(plan)
        life.session.go_the_long_way()
        for feed in life.feeds.by_name.values():
            self.meter.watch(feed, "next", ("read", feed.name))
        for node in life.session.nodes.values():
            self.meter.attach(node)
            self.nodes[node.spec.id] = node
        return life

    def _outlets(self, life: Life, report: Report) -> Outlets:
        outlets = super()._outlets(life, report)
        for name, outlet in outlets.by_name.items():
            self.meter.watch(outlet, "write", ("write", name))
        for name in ("finish", "prepare", "commit", "settle"):
            self.meter.watch(outlets, name, ("finish", ""))
        return outlets


def _parts(runs: list[_Measured], *, only_nodes: bool) -> tuple[Part, ...]:
    first = runs[0]
    sources, sinks = first.report.sources, first.report.sinks
    told: dict[Any, tuple[str, int, int]] = {
        number: (label_of(node), node.counts.rows_in, first.meter.spent[number].nbytes)
        for number, node in first.nodes.items()
    }
    if not only_nodes:
        read = {("read", name): (f"read {name}", s.rows_in, s.bytes_in) for name, s in sources.items()}  # fmt: skip
        written = {("write", name): (f"write {name}", s.rows, s.bytes_taken) for name, s in sinks.items()}  # fmt: skip
        rows, nbytes = (sum(x) for x in zip(*((s.rows, s.bytes) for s in sinks.values()), strict=True))  # fmt: skip
        told = {**read, **told, **written, ("finish", ""): ("finish and show files", rows, nbytes)}
    out = []
    for key, (name, rows, nbytes) in told.items():
        spent = [run.meter.spent[key] for run in runs]
        wall, cpu = median(s.wall_ns for s in spent), median(s.cpu_ns for s in spent)
        out.append(Part(name, rows, nbytes, wall * 1e-9, cpu * 1e-9))
    return tuple(out)


def _copied(clock: Callable[[], int]) -> float:
    """Bytes that a copy of a large array reads and writes in a second: the best of some."""
    source, target = np.ones(_COPIED, np.uint8), np.empty(_COPIED, np.uint8)
    spans = []
    for _ in range(_COPIES):
        began = clock()
        np.copyto(target, source)
        spans.append(clock() - began)
    return 2 * _COPIED / (min(spans) * 1e-9)
