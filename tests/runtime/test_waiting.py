"""Rows that wait for a peer come out as they went in, wherever they lay meanwhile."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.lang.errors import CheckpointError
from flowedge.runtime import rowlog
from flowedge.runtime import waiting as waiting_module
from flowedge.runtime.rowlog import RowLog
from flowedge.runtime.waiting import Waiting, joined
from flowedge.types.arrays import size_of


def rows(first, count):
    """Rows that bear their own numbers."""
    return pa.record_batch({"n": pa.array(range(first, first + count), pa.int64())})


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(rowlog, "_FRAME_BYTES", 200)
    monkeypatch.setattr(rowlog, "_SEGMENT_BYTES", 2_000)
    monkeypatch.setattr(waiting_module, "_MOST_SMALL", 5)


def made(kind, root):
    log = {"memory": None, "buffer": RowLog(root, float("inf")), "state": RowLog(root)}[kind]
    return Waiting(log, keeps_all=kind == "state", memory_bytes=400)


@pytest.mark.parametrize("kind", ["memory", "buffer", "state"])
@pytest.mark.parametrize("seed", range(12))
def test_whatever_waits_where_the_peer_gets_the_stream(tmp_path, kind, seed):
    """Puts, takes, failures and marks in any order; rows are taken again until they are safe."""
    drawn = random.Random(seed)
    waiting = made(kind, tmp_path / "log")
    got, made_so_far, number = [], 0, 0
    for _ in range(400):
        if drawn.random() < 0.55 and made_so_far < 3000:
            count = drawn.choice([1, 2, 3, 40])
            waiting.put(rows(made_so_far, count))
            made_so_far += count
        elif kind == "state" and drawn.random() < 0.2:
            waiting.mark()
            waiting.forget(waiting.safe)
        else:
            found = waiting.take(number, drawn.choice([1, 7, 100]))
            assert (found is None) == (number == made_so_far)
            if found is None or drawn.random() < 0.3:
                continue  # the peer was away
            first, batch = found
            assert first == number
            got += batch.column("n").to_pylist()
            number += batch.num_rows
            waiting.is_safe(number)
            assert waiting.count == made_so_far - number
    while (found := waiting.take(number, 50)) is not None:
        got += found[1].column("n").to_pylist()
        number += found[1].num_rows
        waiting.is_safe(number)
    assert got == list(range(made_so_far))
    assert (waiting.count, waiting.waiting_bytes, waiting.memory_used) == (0, 0, 0)
    if kind == "buffer":
        assert not list(tmp_path.rglob("*.rows"))


def test_memory_stays_within_its_bound_where_there_is_a_log(tmp_path):
    waiting = made("buffer", tmp_path / "log")
    for k in range(200):
        waiting.put(rows(k * 10, 10))
    assert waiting.nbytes < 400 + 80 + 200 + 80
    assert waiting.waiting_bytes == 200 * 80


def test_rows_that_come_one_by_one_do_not_each_keep_a_batch():
    waiting = Waiting()
    for n in range(1000):
        waiting.put(rows(n, 1))
    assert len(waiting._memory) <= 1000 / 5 + 5
    assert waiting.memory_used == sum(size_of(batch) for _, batch in waiting._memory)
    assert waiting.waiting_bytes == 8000
    waiting.is_safe(503)
    first, batch = waiting.take(503, 2000)
    assert (first, batch.column("n").to_pylist()) == (503, list(range(503, 1000)))
    waiting.is_safe(1000)
    assert (waiting.memory_used, waiting.waiting_bytes, waiting.count) == (0, 0, 0)


def test_rows_are_held_back_until_a_checkpoint_covers_them(tmp_path):
    waiting = Waiting(RowLog(tmp_path / "log"), keeps_all=True, holds_back=True)
    waiting.put(rows(0, 5))
    assert waiting.take(0, 10) is None
    assert waiting.is_held
    mark = waiting.mark()
    waiting.put(rows(5, 5))
    waiting.release(mark["rows"])
    assert not waiting.is_held
    assert waiting.take(0, 10)[1].num_rows == 5
    waiting.is_safe(5)
    assert waiting.take(5, 10) is None


@given(
    upto=st.integers(0, 30), safe=st.integers(0, 30), more=st.integers(0, 10), take=st.integers(1, 9)
)  # fmt: skip
def test_a_life_goes_on_with_what_the_log_has(tmp_path_factory, upto, safe, more, take):
    """A mark at `upto`, of which `safe` are there; rows that the peer has beyond it are not sent again."""
    root = tmp_path_factory.mktemp("log") / "log"
    before = made("state", root)
    for k in range(10):
        before.put(rows(3 * k, 3))
        if 3 * (k + 1) >= upto:
            break
    mark = before.mark()
    before.put(rows(mark["rows"], 4))  # never promised
    before.clear()
    log = RowLog(root)
    log.restore(mark)
    after = Waiting(log, keeps_all=True, memory_bytes=60)
    after.go_on(min(safe, mark["rows"]))
    number = safe
    if safe > mark["rows"]:
        after.is_safe(safe)
    for k in range(mark["rows"], mark["rows"] + more, 2):
        after.put(rows(k, 2))
    got = []
    while (found := after.take(number, take)) is not None:
        got += found[1].column("n").to_pylist()
        number += found[1].num_rows
        after.is_safe(number)
    assert got == list(range(safe, after.rows))
    assert after.waiting_bytes == 0


def test_a_damaged_log_is_told(tmp_path):
    waiting = made("state", tmp_path / "log")
    for k in range(100):
        waiting.put(rows(k, 1))
    waiting.mark()
    (first, *_) = sorted((tmp_path / "log").glob("*.rows"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    waiting._memory.clear()
    with pytest.raises(CheckpointError, match="DATA LOSS"):
        all_of(waiting)


def all_of(waiting):
    number = 0
    while (found := waiting.take(number, 5)) is not None:
        number = found[0] + found[1].num_rows


def test_texts_of_several_batches_become_one():
    label = pa.dictionary(pa.int32(), pa.string())
    batches = [pa.record_batch({"x": pa.array(x, label)}) for x in (["a", None], ["b", "a"])]
    assert joined(batches).column("x").to_pylist() == ["a", None, "b", "a"]
    lists = [pa.record_batch({"x": pa.array(np.ones((2, 3)).tolist(), pa.list_(pa.float32(), 3))})] * 2  # fmt: skip
    assert joined(lists).num_rows == 4


class Lives:
    """Rows that wait through lives that are killed, of which each goes on from a checkpoint; `pieces` are all that ever were given out."""

    def __init__(self, root, drawn):
        self.root, self.drawn = root, drawn
        self.kept = {"log": None, "from": 0, "cuts": []}
        self.pieces, self.made, self.begun = {}, 0, 0

    def begin(self):
        waiting = Waiting(
            RowLog(self.root), keeps_all=True, holds_back=True, repeats=True, memory_bytes=400
        )
        if self.kept["log"] is not None:
            waiting.log.restore(self.kept["log"])
            waiting.go_on(self.kept["from"], self.kept["cuts"])
        self.made, self.begun = waiting.rows, self.begun + 1
        return waiting

    def give(self, waiting):
        """One piece, if there is one; half of the time it comes to be safe."""
        number = waiting.safe
        found = waiting.take(number, 10)
        assert (found is None) == (not waiting.has(number))
        if found is None:
            return
        first, batch = found
        assert first == number
        numbers = tuple(batch.column("n").to_pylist())
        assert self.pieces.setdefault(first, numbers) == numbers
        if self.drawn.random() < 0.5:
            waiting.is_safe(first + len(numbers))

    def live(self, steps):
        waiting = self.begin()
        for _ in range(steps):
            what = self.drawn.random()
            if what < 0.4 and self.made < 3000:
                count = self.drawn.choice([1, 2, 3, 40])
                waiting.put(rows(self.made, count))
                self.made += count
            elif what < 0.6:
                mark = waiting.mark()
                kept = {
                    "log": mark,
                    "from": min(waiting.safe, mark["rows"]),
                    "cuts": list(waiting.cuts),
                }
                if self.drawn.random() < 0.3:
                    self.give(waiting)  # while the checkpoint is being made
                if self.drawn.random() < 0.1:
                    break  # killed before it was
                self.kept = kept
                assert len(kept["cuts"]) <= self.begun + 2
                if self.drawn.random() < 0.1:
                    break  # killed right after
                waiting.release(mark["rows"])
            else:
                self.give(waiting)
        waiting.log.close()
        return waiting


@pytest.mark.parametrize("seed", range(25))
def test_pieces_that_were_given_out_stay_what_they_were_through_kills(tmp_path, seed):
    drawn = random.Random(seed)
    lives = Lives(tmp_path / "log", drawn)
    for _ in range(12):
        lives.live(drawn.choice([5, 30, 100]))
    found = sorted(lives.pieces.items())
    at = 0
    for first, numbers in found:  # they join without a gap, and none reaches into the next
        assert first == at
        assert numbers == tuple(range(first, first + len(numbers)))
        assert len(numbers) <= 10
        at = first + len(numbers)


def test_without_checkpoints_a_piece_is_given_again_as_it_was():
    waiting = Waiting(repeats=True)
    waiting.put(rows(0, 3))
    assert waiting.take(0, 10)[1].num_rows == 3
    waiting.put(rows(3, 20))
    assert waiting.take(0, 10)[1].num_rows == 3
    waiting.is_safe(3)
    assert waiting.take(3, 10)[1].num_rows == 10


@pytest.mark.parametrize("kind", ["memory", "buffer", "state"])
@pytest.mark.parametrize("seed", range(12))
def test_what_is_shed_is_the_oldest_that_is_not_on_its_way_and_the_rest_comes_in_order(
    tmp_path, kind, seed
):
    drawn = random.Random(seed)
    waiting = made(kind, tmp_path / "log")
    got, gone, made_so_far, number = [], set(), 0, 0
    on_its_way = None
    for _ in range(400):
        draw = drawn.random()
        if draw < 0.5 and made_so_far < 3000:
            count = drawn.choice([1, 2, 3, 40])
            waiting.put(rows(made_so_far, count))
            made_so_far += count
        elif draw < 0.6:
            most = drawn.choice([0, 100, 400])
            start, stop = waiting.shed(most)
            fresh = set(range(start, stop))
            assert not fresh & gone
            assert not fresh & set(got)
            if on_its_way is not None:
                assert not fresh & set(on_its_way[1].column("n").to_pylist())
            gone |= fresh
        elif on_its_way is None:
            on_its_way = waiting.take(number, drawn.choice([1, 7, 100]))
            if on_its_way is None:
                assert not waiting.has(number)
                assert waiting.count == 0
        else:
            first, batch = on_its_way
            done = batch.num_rows if drawn.random() < 0.7 else drawn.randrange(batch.num_rows)
            got += batch.column("n").to_pylist()[:done]
            number = max(number, first + done)
            waiting.is_safe(number)
            on_its_way = None
            left = set(range(made_so_far)) - gone - set(got)
            assert waiting.count == len(left)
    if on_its_way is not None:
        waiting.is_safe(number)
    while (found := waiting.take(number, 50)) is not None:
        first, batch = found
        got += batch.column("n").to_pylist()
        number = first + batch.num_rows
        waiting.is_safe(number)
    assert gone
    assert got == sorted(set(range(made_so_far)) - gone)
    assert waiting.count == waiting.waiting_bytes == 0
