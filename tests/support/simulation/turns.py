"""Threads that take turns: one works at a time, and a draw says who goes on, so that a seed replays them.

They change at the places where real ones could see each other: before a lock is taken, while one waits, and
before whatever a world counts (deliveries, durable calls).
"""

import threading

from flowedge.runtime.threads import Workers


class Turns(Workers):
    """The threads of one life of a process.

    Parameters
    ----------
    rng : draws who goes on
    """

    def __init__(self, rng):
        self._random = rng
        self._all = [_Worker("run")]
        self._at = self._all[0]
        self._is_stuck = False

    def start(self, work, name):
        worker = _Worker(name, self)

        def take_part():
            worker.turn.acquire()
            try:
                work()
            finally:
                self._all.remove(worker)
                worker.is_over = True
                self._give_to(self._next())

        self._all.append(worker)
        worker.thread = threading.Thread(target=take_part, name=name, daemon=True)
        worker.thread.start()
        return worker

    def condition(self):
        return _Condition(self)

    @property
    def left(self):
        """Threads that nobody has ended."""
        return [worker.name for worker in self._all[1:]]

    def pause(self, may_go_on=None):
        """Let others work; go on once that may be."""
        me = self._at
        me.may_go_on = may_go_on
        try:
            other = self._next()
            if other is not me:
                self._give_to(other)
                me.turn.acquire()
            assert not self._is_stuck, f"all wait for each other: {[w.name for w in self._all]}"
        finally:
            me.may_go_on = None

    def _next(self):
        able = [w for w in self._all if w.may_go_on is None or w.may_go_on()]
        if able:
            return able[0] if len(able) == 1 else self._random.choice(able)
        self._is_stuck = True
        return self._all[0]

    def _give_to(self, worker):
        self._at = worker
        worker.turn.release()


class _Worker:
    def __init__(self, name, turns=None):
        self.name, self._turns = name, turns
        self.turn = threading.Lock()
        self.turn.acquire()
        self.may_go_on = None
        self.is_over = False

    def join(self):
        """Wait for its end."""
        self._turns.pause(lambda: self.is_over)
        self.thread.join()


class _Condition:
    """As `threading.Condition`; the lock is free, since nobody else works until this one waits."""

    def __init__(self, turns):
        self._turns, self._told = turns, 0

    def __enter__(self):
        self._turns.pause()
        return True

    def __exit__(self, *_):
        pass

    def wait(self):
        told = self._told
        self._turns.pause(lambda: self._told > told)

    def notify_all(self):
        self._told += 1
