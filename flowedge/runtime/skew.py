"""How far the clocks of devices are off, and how fast they run: from event times and receipts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.session.batch import Array
from flowedge.session.devices import Device

_INTERVAL_NS = 10 * 10**9
_LEAST_INTERVALS = 6
"""A drift is told after so many, which is a minute."""
_SAMPLE_NS = 2 * 10**7
"""Between two looks at what comes."""
_MOST_DEVICES = 10_000
_TOLD = 10
"""Devices that a report names."""


@dataclass(slots=True)
class _Envelope:
    """The least of receipt less event time in each interval, and the straight line through these.

    Attributes
    ----------
    least : of the interval at hand [ns]
    known : of the last interval that is over, or of the one at hand where none is [ns]
    """

    began: int
    interval: int
    least: int
    known: int
    first: int = 0
    count: int = 0
    t: float = 0.0
    y: float = 0.0
    tt: float = 0.0
    ty: float = 0.0

    def note(self, offset: int, interval: int) -> None:
        """A row came so long [ns] after its event time, in the interval of this number."""
        if interval != self.interval:
            self._close()
            self.interval, self.least = interval, offset
        elif offset < self.least:
            self.least = offset
        if not self.count:
            self.known = self.least

    def _close(self) -> None:
        if not self.count:
            self.first = self.least
        t = (self.interval - self.began) * (_INTERVAL_NS * 1e-9)
        y = (self.least - self.first) * 1e-9
        self.t, self.y = self.t + t, self.y + y
        self.tt, self.ty = self.tt + t * t, self.ty + t * y
        self.count += 1
        self.known = self.least

    @property
    def slope(self) -> float | None:
        """Seconds by which the offset grows each second; None: too little is known."""
        spread = self.count * self.tt - self.t * self.t
        if self.count < _LEAST_INTERVALS or spread <= 0:
            return None
        return (self.count * self.ty - self.t * self.y) / spread


@dataclass
class ClockWatch:
    """Estimates how far each device's clock is off, and how fast it runs.

    A row comes after its event time by the offset of the device's clock and its way here, which is never negative and sometimes
    short: of each ten seconds the least difference counts. The offset is that of the last ones, and has the shortest way in
    it; the drift is the slope of a line fitted to all of them (Paxson, "On calibrating measurements of packet transit
    times", SIGMETRICS 1998; Moon, Skelly and Towsley, INFOCOM 1999). The receipt is this machine's time of day, so that what is
    wrong with it is in all of them.

    Rows are looked at every twenty milliseconds, and of 10,000 devices at most.

    Parameters
    ----------
    clock : of the run
    """

    clock: Clock = SYSTEM
    received_ns: int = 0
    _next: int = 0
    _devices: dict[Device, _Envelope] = field(default_factory=dict)

    @property
    def is_due(self) -> bool:
        """Whether rows are to be looked at now."""
        now = self.clock.ns()
        if now < self._next:
            return False
        self._next = now + _SAMPLE_NS
        return True

    def note(self, devices: Sequence[Device], newest: Array) -> None:
        """Rows have come at `received_ns`; the newest event time [ns] of each device, shape ``(devices,)``."""
        interval = self.clock.ns() // _INTERVAL_NS
        for device, time in zip(devices, newest.tolist(), strict=True):
            offset = self.received_ns - time
            known = self._devices.get(device)
            if known is not None:
                known.note(offset, interval)
            elif len(self._devices) < _MOST_DEVICES:
                self._devices[device] = _Envelope(interval, interval, offset, offset)

    def told(self) -> dict[str, Any]:
        """How many devices are known, and those whose clocks are furthest off, the worst first; empty: none is known.

        Of each its keys, ``offset_s`` (positive: its times lie behind the receipt), and ``drift_ppm`` (positive: its clock is slow)
        once a minute has passed, else None.
        """
        if not self._devices:
            return {}
        order = sorted(self._devices.items(), key=lambda item: -abs(item[1].known))
        worst = [
            {
                "key": ", ".join(map(str, device)),
                "offset_s": round(line.known * 1e-9, 6),
                "drift_ppm": None if (slope := line.slope) is None else round(slope * 1e6, 2),
            }
            for device, line in order[:_TOLD]
        ]
        return {"devices": len(self._devices), "worst": worst}
