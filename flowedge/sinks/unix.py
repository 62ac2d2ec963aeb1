"""Rows over connections inside this machine."""

import contextlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flowedge.lang.errors import SinkError
from flowedge.links.sockets import dialled_unix, listening_unix
from flowedge.links.wire import Wire
from flowedge.sinks.contract import connector
from flowedge.sinks.streams import STREAMING, Streaming
from flowedge.types.connectors import Signature


@connector("unix")
class Unix(Streaming):
    """Send rows over a Unix socket: ``unix("/run/sensors.sock")``.

    As ``tcp`` in all; with ``mode=listen`` a socket that a program has left behind is replaced, and this one removed at the end.
    """

    options = Signature(STREAMING)
    _is_there = False

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._path = address.removeprefix("unix://")
        if not self._path or "\0" in self._path or len(self._path.encode()) > 107:
            raise SinkError(f"`unix`: `{address[:120]}` is no path of at most 107 bytes")

    def wire(self) -> Wire:
        """Without TLS: nobody listens in between."""
        return Wire()

    def listener(self) -> socket.socket:
        """Accepts under the path; raises ValueError."""
        found = listening_unix(self._path)
        self._is_there = True
        return found

    def dialler(self) -> Callable[[], socket.socket]:
        """Connects to the path."""
        return partial(dialled_unix, self._path)

    def end(self) -> None:
        """Say goodbye, and remove the socket."""
        super().end()
        if self._is_there:
            self._is_there = False
            with contextlib.suppress(OSError):
                Path(self._path).unlink()


__all__ = ["Unix"]
