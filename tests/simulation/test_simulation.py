"""The whole engine in a world of its own: whatever happens there, the rows are those of the plain run.

FLOWEDGE_SEEDS says how many worlds, FLOWEDGE_SEED where they begin.
"""

import os

import numpy as np
import pytest
from support.simulation.broker import connected
from support.simulation.pipelines import pipeline
from support.simulation.promises import watched
from support.simulation.stages import parts_of
from support.simulation.world import POWER, SHARED, live

from flowedge.compile.program import NodeSpec
from flowedge.operators import discover
from flowedge.runtime.keeping import acknowledge
from flowedge.runtime.plan import Plan
from flowedge.runtime.run import Run
from flowedge.session.batch import Batch
from flowedge.session.held import Held
from flowedge.session.kernel import KernelNode
from flowedge.session.node import Node
from flowedge.session.session import Session
from flowedge.sources.contract import Position

FIRST = int(os.environ.get("FLOWEDGE_SEED", "0"))
COUNT = int(os.environ.get("FLOWEDGE_SEEDS", "24"))
PIPELINES = range(FIRST // SHARED, (FIRST + COUNT - 1) // SHARED + 1)
FEW = range(64)
"""Worlds in which a broken engine must be found out."""


@pytest.fixture(autouse=True, scope="module")
def broker():
    with connected():
        yield


@pytest.mark.parametrize("number", PIPELINES)
def test_the_rows_are_those_of_the_plain_run(number, tmp_path):
    seeds = range(max(FIRST, number * SHARED), min(FIRST + COUNT, (number + 1) * SHARED))
    wrong = [world.told() for seed in seeds if (world := live(seed, tmp_path)).wrong]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_a_seed_gives_the_same_world_again(tmp_path):
    for seed in range(FIRST, FIRST + 8):
        one, two = (live(seed, tmp_path) for _ in range(2))
        assert one.trace == two.trace


def test_every_operator_may_be_drawn():
    assert not {key for key in discover() if parts_of(*key) is None}


def test_few_drafts_are_refused():
    drafts = [pipeline(n) for n in range(60)]
    assert sum(d.refused for d in drafts) < 0.15 * sum(d.drawn for d in drafts)


# ---- a harness that cannot fail proves nothing


def test_a_promise_that_is_broken_is_noted():
    def rows(*time):
        return Batch(len(time), np.array(time, np.int64), None, None, {})

    wrong = []
    with watched(wrong):
        node = Node(NodeSpec(id=0, name="s"), None)
        node.give(rows(5, 9), 10)
        node.give(rows(10), 20)
        held = Held(is_sorted=True)
        held.add(rows(1, 2, 2))
        held.add(rows(2, 3))
        assert not wrong
        node.give(rows(25, 19), 30)
        node.give(rows(29), 30)
        held.add(rows(4, 2))
    assert len(wrong) == 2
    assert "a row of 19 behind the watermark 20 of `s`" in wrong[0]


class Forgetful(Plan):
    """The state of kernels is left out when a run goes on."""

    def restore(self, snapshot, models=None):
        session, fresh = super().restore(snapshot, models), super().open(models)
        for number, node in session.nodes.items():
            if isinstance(node, KernelNode):
                node.load(fresh.nodes[number].state())
        return session


class Cut(Plan):
    """The last row of each push is lost."""

    def open(self, models=None):
        return Shortened(self.program, models or {})


class Shortened(Session):
    def push(self, source, rows, *more, **options):
        return super().push(source, rows.slice(0, max(0, rows.num_rows - 1)), *more, **options)


class Displaced(Run):
    """A run goes on a row too far."""

    def _take_over(self, saved, feeds, *more):
        super()._take_over(saved, feeds, *more)
        for feed in feeds.by_name.values():
            if feed.position is not None:
                feed.position = Position(0, feed.position.row + 1)


class Hasty(Run):
    """Sources hear of a checkpoint before it is there."""

    def _save(self, session, feeds, outlets, **options):
        acknowledge(feeds, {n: f.position for n, f in feeds.by_name.items()})
        return super()._save(session, feeds, outlets, **options)


class Hurried(Run):
    """A checkpoint does not wait for the thread that writes."""

    def _save(self, session, feeds, outlets, **options):
        outlets.drain = lambda: None
        saved = super()._save(session, feeds, outlets, **options)
        del outlets.drain
        return saved


class Careless(Run):
    """A run that goes on keeps no rejected rows."""

    def _take_over(self, saved, feeds, *more):
        super()._take_over(saved, feeds, *more)
        for feed in feeds.by_name.values():
            feed.quarantine = ""


class Mixed(Plan):
    """Rows of all partitions are one sequence, as they arrive."""

    def open(self, models=None):
        return InOne(self.program, models or {})


class InOne(Session):
    def push(self, source, rows, _partition="", **options):
        return super().push(source, rows, **options)


def wrapped(kind):
    return lambda plan: kind(plan.program)


OUTLAWS = {
    "forgets state": {"wrap": wrapped(Forgetful)},
    "depends on cuts": {"wrap": wrapped(Cut)},
    "goes on elsewhere": {"run": Displaced},
    "acknowledges early": {"run": Hasty},
    "does not wait for writers": {"run": Hurried},
    "keeps no rejected rows": {"run": Careless},
    "mixes partitions": {"wrap": wrapped(Mixed)},
    "does not sync rows": {
        "forget": lambda call, path: call == "sync" and "/state/rows/" in path,
        "kinds": POWER,
    },
}


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(x, marks=pytest.mark.slow)
        if x in ("does not sync rows", "does not wait for writers")
        else x
        for x in OUTLAWS
    ],
)
def test_a_broken_engine_is_found_out(law, tmp_path):
    assert any(live(seed, tmp_path, **OUTLAWS[law]).wrong for seed in FEW), law
