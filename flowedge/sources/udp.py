"""Datagrams, each of which is a payload."""

import contextlib
import ipaddress
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.links.sockets import bound
from flowedge.links.turns import Turns
from flowedge.sources.byte_streams import PEER
from flowedge.sources.connections import peer_name
from flowedge.sources.contract import OnError, connector
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import FORMAT, RECEIVED, MessageSource
from flowedge.sources.tcp import host_and_port
from flowedge.types.connectors import Option, Signature

_LONGEST = 65_535
_OVERHEAD = 150
"""Bytes of a datagram besides its payload."""
_ROUND = 1024
"""Datagrams taken before anything else is looked at."""
_RXQ_OVFL = 40
"""SO_RXQ_OVFL of Linux: with each datagram, how many the system has dropped so far."""
_BUFFER = 8 << 20
_TICK_S = 0.5
_Datagram = tuple[bytes, tuple[Any, ...], int]


@connector("udp")
class Udp(MessageSource):
    """Take datagrams, each a payload: ``udp("udp://0.0.0.0:9000")``.

    An address such as ``239.1.2.3`` is a group, which is joined (on `interface`, an address of this machine; IPv6: its
    name). Raw fields: ``_peer`` (host and port of who sent it) and ``_received``, the time of the row where the source
    declares none. One partition. Nobody can be made to wait: what finds no room is lost, and counted, by the system and here.
    """

    mistakes: ClassVar[OnError] = "skip"
    about: ClassVar[Mapping[str, pa.DataType]] = {
        PEER: pa.string(), RECEIVED: pa.timestamp("ns", "UTC"),
    }  # fmt: skip
    options = Signature((
        FORMAT,
        Option("interface", "text", "", "where a group is joined; that which the system takes"),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._address = host_and_port("udp", address)
        self._turns: Turns | None = None
        self._counts: Counter[str] = Counter()

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to listen; raises SourceError."""
        del state
        self._decoder = self.decoder()
        self._decoder.prepare()  # nobody waits for us later
        self._beside = [f.name for f in self.declared or () if f.name in self.about]
        self._inbox: Inbox[_Datagram] = Inbox(shell.bell.ring)
        self._wall = shell.wall
        try:
            self._sock = bound(self._address, socket.SOCK_DGRAM)
        except ValueError as error:
            raise SourceError(f"`udp`: {error}") from None
        try:
            self._join()
        except (OSError, ValueError) as error:
            self._sock.close()
            raise SourceError(f"`udp` cannot join {self._address}: {error}") from None
        for option, value in ((socket.SO_RCVBUF, _BUFFER), (_RXQ_OVFL, 1)):
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, option, value)
        self._turns = Turns(self._sock.fileno(), self._work, "flowedge-udp", _TICK_S)
        self._turns.start()

    def _join(self) -> None:
        """Join a group, if the address is one; raises OSError, ValueError."""
        host, interface = self._address.host, self.given["interface"]
        try:
            place = ipaddress.ip_address(host)
        except ValueError:
            return
        if not place.is_multicast:
            return
        if place.version == 4:
            own = ipaddress.IPv4Address(interface or "0.0.0.0").packed  # noqa: S104  # whichever the system takes
            self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, place.packed + own)
            return
        number = socket.if_nametoindex(interface) if interface else 0
        self._sock.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, place.packed + struct.pack("@I", number)
        )

    def _work(self) -> bool:
        """Take the datagrams that are there; there is always room, for what finds none is lost."""
        found: list[_Datagram] = []
        size = 0
        with contextlib.suppress(OSError):  # nothing more is there; or an error of one datagram
            for _ in range(_ROUND):
                data, told, _, peer = self._sock.recvmsg(_LONGEST, 64)
                if told:
                    self._counts["lost_by_system"] = struct.unpack("@I", told[0][2][:4])[0]
                found.append((data, peer, self._wall()))
                size += len(data) + _OVERHEAD
        if found:
            self._counts["datagrams"] += len(found)
            if self._inbox.has_room:
                self._inbox.put_all(found, size)
            else:
                self._counts["lost"] += len(found)
        return True

    @property
    def turns(self) -> Turns | None:
        """Its socket."""
        return self._turns

    def take(self) -> list[Arrival]:
        """The rows of the datagrams that have come; raises SourceError under ``on error stop``."""
        found = self._inbox.take()
        if not found:
            return []
        payloads, peers, times = zip(*found, strict=True)
        extra: dict[str, Any] = {RECEIVED: times}
        if PEER in self._beside:
            extra[PEER] = [peer_name(self._sock, peer) for peer in peers]
        self._decoder.add_many(payloads, {name: extra[name] for name in self._beside})
        rows = self._decoder.take()
        rejected = self.turned_away(self._decoder, self.address)
        return [Arrival("", rows, times[-1], rejected, first_ns=times[0])]

    @property
    def nbytes(self) -> int:
        """Bytes of the datagrams that wait."""
        return self._inbox.nbytes if self._turns is not None else 0

    def told(self) -> dict[str, int]:
        """Datagrams, and those that were lost for want of room."""
        return dict(self._counts)

    def close(self) -> None:
        """Stop to listen."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.close()
            self._sock.close()
