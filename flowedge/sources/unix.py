"""Payloads that come over connections inside this machine."""

import contextlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flowedge.lang.errors import SourceError
from flowedge.links.sockets import dialled_unix, listening_unix
from flowedge.sources.byte_streams import FRAMING, PATIENCE
from flowedge.sources.contract import connector
from flowedge.sources.messages import FORMAT
from flowedge.sources.tcp import MODE, MOST, Connected
from flowedge.types.connectors import Signature


@connector("unix")
class Unix(Connected):
    """Take payloads of connections to a Unix socket: ``unix("/run/sensors.sock")``.

    As ``tcp`` in all, but that ``_peer`` is the number of the process (``pid 123``), and that the permissions of the folder
    say who may connect. A socket that a program has left behind is replaced, and this one removed at the end.
    """

    options = Signature((FRAMING, FORMAT, MODE, MOST, PATIENCE))

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._path = address.removeprefix("unix://")
        if not self._path or "\0" in self._path or len(self._path.encode()) > 107:
            raise SourceError(f"`unix`: `{address[:120]}` is no path of at most 107 bytes")

    def listener(self) -> socket.socket:
        """Accepts under the path; raises ValueError."""
        found = listening_unix(self._path)
        self._is_there = True
        return found

    _is_there = False

    def dialler(self) -> Callable[[], tuple[socket.socket, str]]:
        """Connects to the path."""
        dial = partial(dialled_unix, self._path)
        return lambda: (dial(), self._path)

    def close(self) -> None:
        """Close all connections, and remove the socket."""
        super().close()
        if self._is_there:
            self._is_there = False
            with contextlib.suppress(OSError):
                Path(self._path).unlink()
