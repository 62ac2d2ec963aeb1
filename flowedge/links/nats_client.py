"""The client of nats-py, with a parser that hands over all messages of a block together, and TLS where it is asked for.

Measured on one core, messages of 30 bytes: nats-py calls back for 114,000 messages/s, with this parser for 318,000.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

Incoming = tuple[bytes, bytes, bytes, bytes]
"""Subject, subject of the reply, header, payload; empty where there is none."""
Take = Callable[[list[Incoming]], None]

_END = b"\r\n"
_LONGEST_LINE = 1 << 20
_MOST_PAYLOAD = 64 << 20
"""Bytes of a message, the most that a server can be configured for."""


class BatchParser(Parser):
    """Takes whole messages out of what is read; the lines between them are left to nats-py.

    Attributes
    ----------
    takers : by the number of a subscription who is given its messages; those of others go to nats-py
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.takers: dict[bytes, Take] = {}
        self._held = bytearray()
        self._wanted = 0
        """So many bytes must be held before there is anything whole."""

    async def parse(self, data: bytes = b"") -> None:
        """Take what is whole; raises ProtocolError."""
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return
            data = bytes(self._held)
        found: dict[bytes, list[Incoming]] = {}
        try:
            at = await self._all_of(data, found)
        except (
            ValueError,
            IndexError,
            AttributeError,
            TypeError,
            KeyError,
        ):  # garbage, here or in nats-py
            raise errors.ProtocolError from None
        finally:
            for number, messages in found.items():
                self.takers[number](messages)
        self._held = bytearray(data[at:])

    async def _all_of(self, data: bytes, found: dict[bytes, list[Incoming]]) -> int:
        """Take all that is whole; gives where the rest begins."""
        at, end_of_data, find, takers = 0, len(data), data.find, self.takers
        self._wanted = 0
        while (end := find(_END, at)) >= 0:
            has_header = data.startswith(b"HMSG ", at)
            if not has_header and not data.startswith(b"MSG ", at):
                await self._line(data[at : end + 2])
                at = end + 2
                continue
            told = data[at:end].split()
            size = int(told[-1])
            begin = end + 2
            behind = begin + size
            if not 0 <= size <= _MOST_PAYLOAD:
                raise ValueError(size)
            if behind + 2 > end_of_data:
                self._wanted = behind + 2 - at
                return at
            middle = begin + int(told[-2]) if has_header else begin
            if not begin <= middle <= behind:
                raise ValueError(middle)
            reply = told[3] if len(told) == 5 + has_header else b""
            header, payload, number = data[begin:middle], data[middle:behind], told[2]
            if number in takers:
                messages = found.get(number)
                if messages is None:
                    messages = found[number] = []
                messages.append((told[1], reply, header, payload))
            else:
                await self.nc._process_msg(int(number), told[1], reply, payload, header)  # noqa: SLF001  # as nats-py's parser
            at = behind + 2
        if end_of_data - at > _LONGEST_LINE:
            raise ValueError("a line without an end")
        return at

    async def _line(self, line: bytes) -> None:
        """One of the other lines."""
        self.buf = bytearray(line)
        await super().parse()
        if self.buf:
            raise errors.ProtocolError


class BatchClient(Client):
    """One connection; a new one is made for the next.

    Parameters
    ----------
    encrypted : it must be; else it must not
    gone : called when the connection ends, for whatever reason
    """

    def __init__(self, *, encrypted: bool, gone: Callable[[], None]) -> None:
        super().__init__()
        self._is_encrypted, self._gone = encrypted, gone
        self._ps: BatchParser = BatchParser(self)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """See that nothing secret goes over an open line; servers that it tells of are left alone.

        nats-py by itself encrypts where the server asks for it, and only there.
        """
        if not initial_connection:
            return
        if self._is_encrypted:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise errors.SecureConnWantedError
            info["tls_required"] = True
        elif info.get("tls_required"):
            raise errors.SecureConnRequiredError

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Tell of it first: nats-py stops half-way where the line breaks as it says goodbye."""
        self._gone()
        await super()._close(status, do_cbs)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """In its turn: that of nats-py overtakes what waits to be sent, and its answer then says nothing of that."""
        self._pongs.append(asyncio.Future() if future is None else future)
        await self.write(b"PING\r\n")

    async def listen(self, subject: str, take: Take, queue: str = "") -> None:
        """Let messages of a subject come to `take`, many at a time."""
        found = await self.subscribe(subject, queue=queue)
        self._ps.takers[str(found._id).encode()] = take  # noqa: SLF001

    async def write(self, block: bytes) -> None:
        """Send commands as they are."""
        await self._send_command(block)
        await self._flush_pending()

    async def cut(self) -> None:
        """Let go of the connection, whatever state it is in, and of all that is left of it."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.close(), 1.0)
        for line in ("_io_writer", "_bare_io_writer"):
            writer = getattr(self._transport, line, None)
            if writer is not None:
                writer.transport.abort()
        mine = asyncio.all_tasks() - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await asyncio.sleep(0)


__all__ = ["BatchClient", "Incoming", "Take"]
