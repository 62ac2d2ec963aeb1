"""What a run is watched by: its pulse, its newest status, and what follows from the two."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.operate.changes import Changes
from flowedge.runtime.operate.events import say
from flowedge.runtime.operate.notify import Supervisor
from flowedge.runtime.operate.status import Checkpoints, Status, lag_s

HANG_S = 30.0
"""A run whose loop has not turned for so long is not healthy; under systemd, its watchdog says how long."""
AWAY_S = 30.0
"""A run is not ready while the peer of a sink has been away for longer."""
_STATUS_EVERY_NS = 5 * 10**9
_NEVER = 1 << 62


class Monitor:
    """Watches one run.

    `turn` and `publish` are called by the run; all else may be called from any thread, takes no lock, and reads what
    was published last.

    Parameters
    ----------
    name : of the pipeline
    clock : of the run
    supervisor : systemd, if it has started the run
    is_watched : somebody reads the status; without, the run does not put one together

    Attributes
    ----------
    status : as the run has published it last
    """

    def __init__(
        self,
        name: str = "",
        clock: Clock = SYSTEM,
        supervisor: Supervisor | None = None,
        *,
        is_watched: bool = False,
    ) -> None:
        self._clock = clock
        self._supervisor = supervisor or Supervisor({})
        self.is_watched = is_watched or self._supervisor.is_there
        self.status = Status(name, started_ns=clock.wall_ns(), taken_ns=clock.wall_ns())
        self._began = self._turned = clock.ns()
        watchdog = self._supervisor.watchdog_ns
        self._alive_every = watchdog // 2 or _NEVER
        self.hang_ns = watchdog or int(HANG_S * 1e9)
        self._next_alive = 0 if watchdog else _NEVER
        self._next_status = 0
        self._changes = Changes(clock)
        self._checkpoints = Checkpoints()
        self._reloads: Counter[str] = Counter()
        self._phase = "starting"

    # ---- by the run

    def turn(self) -> None:
        """The loop of the run has come around."""
        now = self._turned = self._clock.ns()
        if now >= self._next_alive:
            self._next_alive = now + self._alive_every
            self._supervisor.alive()

    def begin(self, pipeline: str) -> None:
        """What runs, by its digest; raises nothing."""
        self.status = replace(self.status, pipeline=pipeline)

    def ready(self) -> None:
        """Models are warm and sources are begun, for the first time or again."""
        if self._phase == "starting":
            say("ready", after_s=round((self._clock.ns() - self._began) / 1e9, 3))
        self._enter("running")
        self._supervisor.ready()

    def finishing(self) -> None:
        """All rows are read."""
        self._enter("finishing")

    def stopping(self) -> None:
        """The run was asked to stop, or ends."""
        if self._phase != "stopping":
            self._enter("stopping")
            self._supervisor.stopping()

    def saved(self, epoch: int, took_s: float) -> None:
        """A checkpoint was made."""
        before = self._checkpoints
        self._checkpoints = Checkpoints(
            before.count + 1, before.total_s + took_s, took_s, epoch, self._clock.wall_ns()
        )
        self._changes.saved(self._checkpoints)

    def reloading(self) -> None:
        """Another pipeline is looked at."""
        say("reload")
        self._supervisor.reloading()

    def reloaded(self, outcome: str) -> None:
        """It was taken, refused, or nothing has changed."""
        self._reloads[outcome] += 1
        self._supervisor.ready()

    def publish(self, parts: Mapping[str, Any], limit_bytes: int | None, *, saves: bool) -> None:
        """Hand out a new status, and tell what has changed since the last one."""
        self.status = replace(
            self.status, **parts, phase=self._phase, taken_ns=self._clock.wall_ns(), limit_bytes=limit_bytes,
            checkpoints=self._checkpoints if saves else None, reloads=dict(self._reloads),
        )  # fmt: skip
        self._changes.look(self.status)
        now = self._clock.ns()
        if self._supervisor.is_there and now >= self._next_status:
            self._next_status = now + _STATUS_EVERY_NS
            self._supervisor.status(in_a_line(self.status, self._clock))

    def close(self) -> None:
        """The run has ended."""
        self._supervisor.close()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self.status = replace(self.status, phase=phase)

    # ---- by whoever asks

    @property
    def loop_age_s(self) -> float:
        """How long ago the loop of the run came around [s]."""
        return (self._clock.ns() - self._turned) / 1e9

    def away_s(self, kind: str, name: str) -> float:
        """How long the peer of a source or sink has been away [s]; 0 if it is not."""
        since = self._changes.away.get((kind, name))
        return 0.0 if since is None else max(0.0, (self._clock.ns() - since) / 1e9)

    def health(self) -> dict[str, Any]:
        """Whether the run moves: JSON for ``/health``."""
        reasons = []
        age = self.loop_age_s
        if self.status.phase != "starting" and age > self.hang_ns / 1e9:
            reasons.append(
                f"the loop has not come around for {age:.0f} s (allowed: {self.hang_ns / 1e9:g} s)"
            )
        return self._answer(reasons)

    def readiness(self) -> dict[str, Any]:
        """Whether the run takes rows and gets rid of them: JSON for ``/ready``."""
        reasons = list(self.health()["reasons"])
        if self.status.phase == "starting":
            reasons.append("starting: models are loaded, sources are opened")
        if self.status.phase == "stopping":
            reasons.append("stopping")
        for name, sink in self.status.sinks.items():
            away = self.away_s("sink", name)
            if sink.peer is not None and away > AWAY_S:
                reasons.append(f"the peer of sink {name} has been away for {away:.0f} s: {sink.peer.away}")  # fmt: skip
        return self._answer(reasons)

    def _answer(self, reasons: list[str]) -> dict[str, Any]:
        return {
            "ok": not reasons, "reasons": reasons, "flow": self.status.name, "phase": self.status.phase,
            "loop_age_s": round(self.loop_age_s, 3),
        }  # fmt: skip


def in_a_line(status: Status, clock: Clock) -> str:
    """What a run does, for `systemctl status`."""
    rows = sum(one.rows for one in status.sources.values())
    out = sum(one.rows for one in status.sinks.values())
    words = [f"{status.phase}: {rows:,} rows in, {out:,} out"]
    lags = [lag for one in status.sources.values() if (lag := lag_s(one, clock)) is not None]
    if lags:
        words.append(f"lag {max(lags):.1f} s")
    words += [f"source {n} is away" for n, one in status.sources.items() if one.away]
    words += [
        f"sink {n} is away, {one.peer.waiting:,} rows wait"
        for n, one in status.sinks.items()
        if one.peer is not None and one.peer.away
    ]
    return "; ".join(words)
