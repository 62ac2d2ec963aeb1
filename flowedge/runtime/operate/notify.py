"""Word to systemd: the run is ready, what it does, that it is alive, that it reloads, that it stops.

The protocol is one datagram to the socket that ``$NOTIFY_SOCKET`` names, lines of ``NAME=value`` (sd_notify(3)). A package for that
would be as long as this: the one that is used most (sdnotify 0.3.2, of 2017) sends a text, and knows neither of the
watchdog's variables nor of the clock that ``RELOADING=1`` wants.
"""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from flowedge.runtime.clock import SYSTEM, Clock

_PATIENCE_S = 2.0
"""So long a manager that is busy is waited for with what is said once; what is said again and again waits for nobody."""


class Supervisor:
    """The service manager, if there is one; all calls do nothing without it, and nothing that goes wrong is raised.

    The variables are taken out of the environment, so that programs that the run starts do not speak in its name.

    Parameters
    ----------
    environment : where the variables are
    clock : of the run

    Attributes
    ----------
    watchdog_ns : after so long without a sign of life the run is killed; 0: never
    """

    def __init__(
        self, environment: MutableMapping[str, str] | None = None, clock: Clock = SYSTEM
    ) -> None:
        given = os.environ if environment is None else environment
        self._address = given.pop("NOTIFY_SOCKET", "")
        every_us, pid = given.pop("WATCHDOG_USEC", ""), given.pop("WATCHDOG_PID", "")
        is_ours = pid in ("", str(os.getpid()))
        self.watchdog_ns = int(every_us) * 1000 if every_us.isdecimal() and is_ours else 0
        self._clock = clock
        self._socket: socket.socket | None = None
        self._told = ""
        if self._address[:1] in ("/", "@"):  # of the kinds that there are, those of this machine
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)  # fmt: skip

    @property
    def is_there(self) -> bool:
        """Whether anybody is told anything."""
        return self._socket is not None

    def ready(self) -> None:
        """The run is up, or is again after a reload."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        line = " ".join(text.split())
        if line != self._told:
            self._told = line
            self._send(f"STATUS={line}", 0.0)

    def alive(self) -> None:
        """The watchdog need not bite."""
        self._send("WATCHDOG=1", 0.0)

    def reloading(self) -> None:
        """Another pipeline is looked at; `ready` says when that is over."""
        # CLOCK_MONOTONIC, whatever clock the run has: systemd compares it with its own.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The run is about to end."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str, patience_s: float = _PATIENCE_S) -> None:
        if self._socket is None:
            return
        address = self._address
        with contextlib.suppress(OSError):
            self._socket.settimeout(patience_s)
            self._socket.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)
