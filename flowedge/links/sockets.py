"""Sockets that listen, and those that begin to connect without waiting."""

import contextlib
import errno
import socket
import stat
from pathlib import Path

from flowedge.links.address import Address

_QUEUE = 1024
"""Connections that the system lets wait to be accepted."""


def listening(address: Address) -> socket.socket:
    """A socket that accepts on a host and port; raises ValueError where it cannot."""
    sock = bound(address, socket.SOCK_STREAM)
    sock.listen(_QUEUE)
    return sock


def bound(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A socket of this machine at a host and port; raises ValueError."""
    try:
        family, *_, place = socket.getaddrinfo(
            address.host, address.port, type=kind, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind)
    except OSError as error:
        raise ValueError(f"{address}: {error.strerror or error}") from None
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
    except OSError as error:
        sock.close()
        raise ValueError(f"{address}: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock


def listening_unix(path: str) -> socket.socket:
    """A socket that accepts under a path; one that a program left there which is gone makes way; raises ValueError."""
    place = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(place.lstat().st_mode):
            raise ValueError(f"`{path}` is there, and is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                place.unlink()
            except OSError as error:
                raise ValueError(f"`{path}`: {error.strerror or error}") from None
            else:
                raise ValueError(f"another program listens at `{path}`")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(_QUEUE)
    except OSError as error:
        sock.close()
        raise ValueError(f"`{path}`: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock


def dialled(address: Address) -> socket.socket:
    """A socket that begins to connect; raises OSError."""
    family, kind, _, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    )[0]
    return _begun(socket.socket(family, kind), place)


def dialled_unix(path: str) -> socket.socket:
    """A socket that begins to connect to a path; raises OSError."""
    return _begun(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


def _begun(sock: socket.socket, place: object) -> socket.socket:
    sock.setblocking(False)
    found = sock.connect_ex(place)  # type: ignore[arg-type]  # of as many kinds as families
    if found not in (0, errno.EINPROGRESS, errno.EAGAIN):
        sock.close()
        raise OSError(found, "cannot connect")
    return sock
