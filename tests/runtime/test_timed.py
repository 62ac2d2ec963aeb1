"""A call that is late is given up or waited for; the run does not wait for what hangs."""

import threading
from pathlib import Path

import numpy as np
import pytest

from flowedge.lang.errors import LateError, ModelError
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.runtime.timed import Timed

X = [np.arange(3.0)]


class Clock:
    now = 0

    def ns(self):
        return self.now


class Held:
    """A model that answers when it is let."""

    def __init__(self):
        self.let, self.asked = threading.Event(), []

    def infer(self, inputs):
        self.asked.append(inputs[0].copy())
        self.let.wait()
        return [inputs[0] * 2]


def test_an_answer_in_time_is_the_model_s():
    model = Held()
    model.let.set()
    clock = Clock()
    bound = Timed(model, clock).within(10**10, waits=False)
    assert bound.infer(X)[0].tolist() == [0, 2, 4]
    assert not bound.was_late


def test_what_hangs_is_left_behind_and_heard_no_more():
    model, clock = Held(), Clock()
    timed = Timed(model, clock)
    bound = timed.within(20_000_000, waits=False)
    with pytest.raises(LateError, match="no answer within 20 ms"):
        bound.infer(X)
    with pytest.raises(LateError, match="still at work on frames that are given up"):
        bound.infer([np.full(3, 7.0)])
    model.let.set()
    timed_again = timed.within(10**10, waits=False)
    assert timed_again.infer([np.full(3, 5.0)])[0].tolist() == [10, 10, 10]
    assert [x[0] for x in model.asked] == [0, 5]


def test_the_deadline_runs_from_when_the_rows_came():
    model, clock = Held(), Clock()
    model.let.set()
    timed = Timed(model, clock)
    bound = timed.within(20_000_000, waits=False)
    clock.now = 30_000_000
    with pytest.raises(LateError, match="no time is left of its 20 ms"):
        bound.infer(X)
    assert not model.asked
    timed.came_ns = clock.now
    assert len(bound.infer(X)) == 1


def test_an_answer_that_is_waited_for_is_marked():
    clock = Clock()

    class Slow:
        takes = 30_000_000

        def infer(self, inputs):
            clock.now += self.takes
            return inputs

    model = Slow()
    timed = Timed(model, clock)
    bound = timed.within(20_000_000, waits=True)
    assert bound.infer(X)[0] is X[0]
    assert bound.was_late
    model.takes, timed.came_ns = 1000, clock.now
    bound.infer(X)
    assert not bound.was_late


def test_a_model_that_can_end_a_call_does_it_itself():
    class Apart:
        def infer_within(self, inputs, left_s):
            raise LateError(f"killed after {left_s:.2f} s")

    with pytest.raises(LateError, match=r"killed after 0\.02 s"):
        Timed(Apart(), Clock()).within(20_000_000, waits=False).infer(X)


@pytest.mark.parametrize("error", [ValueError("no"), ModelError("no"), KeyboardInterrupt()])
def test_what_a_model_raises_comes_out_where_it_was_asked(error):
    class Raises:
        def infer(self, inputs):
            raise error

    bound = Timed(Raises(), Clock()).within(10**10, waits=False)
    for _ in range(2):
        with pytest.raises(type(error)):
            bound.infer(X)


class Ticking:
    """A clock of which each look takes a second."""

    now = 0

    def ns(self):
        self.now += 10**9
        return self.now

    def s(self):
        return self.ns() * 1e-9

    def sleep(self, span_s):
        self.now += round(span_s * 1e9)


MODEL = Path(__file__).parents[2] / "pipelines" / "models" / "motion.pt2"


def test_frames_that_the_end_of_a_source_makes_whole_have_their_time_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f"""
model net = torch("{MODEL}") input (acc, gyro) output softmax ["a", "b", "c", "d"]
source watch from simulate.imu(seconds=10 s, rate=10 Hz) late 1 min
sink watch | window 50 samples | classify with net deadline 3 s else drop | select label to arrow("out.arrow")
"""
    report = Run(compile_flow(text=text), speed=1e6, clock=Ticking())()
    (told,) = report.models.values()
    assert (told["frames"], told["missed"]) == (2, 0)
