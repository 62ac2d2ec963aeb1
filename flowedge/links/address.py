"""Addresses of peers: scheme, host, port and path."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer is.

    Attributes
    ----------
    path : behind the host, without the slash before it; of a topic or subject all of it
    user : named before the host; empty: nobody
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    user: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the peer is on this machine, so that nobody listens in between."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """For messages: without the user."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse(text: str, ports: Mapping[str, int]) -> Address:
    """An address as the pipeline has it.

    Parameters
    ----------
    text : ``scheme://[user@]host[:port][/path]``
    ports : the usual port of each scheme that is known

    Raises
    ------
    ValueError : one clause about what is wrong

    Examples
    --------
    >>> parse("mqtts://broker.local/site/+/imu", {"mqtt": 1883, "mqtts": 8883})
    Address(scheme='mqtts', host='broker.local', port=8883, path='site/+/imu', user='')
    """
    head, found, rest = text.partition("://")
    if not found or head not in ports:
        known = " or ".join(f"{name}://" for name in ports)
        raise ValueError(f"`{text}` does not begin with {known}")
    place, _, path = rest.partition("/")
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"`{place}` is no host and port: {error}") from None
    if parts.password is not None:
        raise ValueError('the address holds a password; write `password=secret("env:NAME")`')
    if not parts.hostname or any(c.isspace() or c in "?#" for c in place):
        raise ValueError(f"`{place}` is no host and port")
    return Address(
        head,
        parts.hostname,
        ports[head] if port is None else port,
        path,
        unquote(parts.username or ""),
    )
