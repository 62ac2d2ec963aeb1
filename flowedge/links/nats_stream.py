"""A consumer of a JetStream stream that gives each message once and in the order of the stream.

The server keeps what was delivered and not acknowledged, and delivers it again after a while, behind what is new. That
order would be another one each time. So a connection begins with asking for all of it again at once (a negative acknowledgement of each
number in question; ADR-13 and ADR-15 of NATS), and the numbers of deliveries, which have no holes, show whether anything went elsewhere.
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from flowedge.links.nats import Link, Refused

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo, StreamInfo

    from flowedge.links.nats_client import BatchClient, Incoming

ALL, NEW, LAST = "all", "new", "last"
MOST_UNACKED = 50_000
"""Messages that the server delivers before it waits for acknowledgements."""
_ACK_WAIT_S = 300.0
_PULL = 2000
_PULL_BYTES = 8 << 20
_EXPIRES_S, _BEAT_S, _SILENT_S = 30, 5, 17.0
_NAKS = 5000
_PENDING = re.compile(rb"Nats-Pending-Messages: (\d+)")
_NO_STREAM, _NO_CONSUMER = 10059, 10014


class Delivered(NamedTuple):
    """A message of a stream.

    Attributes
    ----------
    number : its place in the stream, from 1
    stored_ns : when the server took it [ns since 1970]
    reply : where it is acknowledged
    """

    subject: bytes
    header: bytes
    payload: bytes
    number: int
    stored_ns: int
    reply: bytes


class Place(NamedTuple):
    """How far a stream was read.

    Attributes
    ----------
    created : of the stream, by which one that was made anew is known; empty: not known yet
    number : of the last message; 0: none
    """

    created: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read, and how.

    Attributes
    ----------
    subject : the filter
    durable : name of the consumer
    begin : where a new consumer begins: `ALL`, `NEW`, `LAST` (of each subject), or a time in ISO 8601
    kept_s : the server forgets the consumer when nobody has asked for so long [s]; 0: never
    """

    stream: str
    subject: str
    durable: str
    begin: str = ALL
    kept_s: float = 0.0


class StreamReader:
    """Reads a stream over the connections of a link, one after the other; all of it in the link's loop.

    Parameters
    ----------
    place : behind which it begins; all up to there may be acknowledged
    on_messages : called with messages in the order of the stream, and with a `Place` where the stream was made anew, or has gone back
    has_room : while it says no, nothing is asked for

    Attributes
    ----------
    doubled : messages that came again and were left out
    most_unacked : messages that the server delivers before it waits for acknowledgements
    """

    def __init__(
        self,
        wanted: Wanted,
        place: Place,
        on_messages: Callable[[Sequence[Delivered | Place]], None],
        has_room: Callable[[], bool],
    ) -> None:
        self.wanted, self._place = wanted, place
        self._on_messages, self._has_room = on_messages, has_room
        self.doubled = 0
        self.most_unacked = MOST_UNACKED
        self._covered = place.number
        self._is_first = True
        self._next = self._asked = self._pulls = 0
        self._heard_s = 0.0
        self._link: Link | None = None
        self._client: BatchClient | None = None
        self._inbox = ""

    # ---- a connection begins

    async def prepare(self, link: Link, client: "BatchClient") -> None:
        """Find the consumer or make it, and begin to read; raises `Refused`, and what nats-py raises."""
        from nats.errors import NoRespondersError  # noqa: PLC0415  # an extra
        from nats.js.errors import APIError  # noqa: PLC0415

        try:
            stream = await link.asked(client.jsm().stream_info(self.wanted.stream))
            self._see_stream(stream)
            info = await self._consumer(link, client, stream)
            self._see_consumer(info)
            await self._see_place(link, client, info)
            await self._ask_again(link, client, info)
            await self._read(link, client, info)
        except NoRespondersError:
            raise ConnectionError("it has no JetStream, or none for this account") from None
        except APIError as error:
            told = f"stream `{self.wanted.stream}`: {error.description}"
            if error.code in (400, 404) and (error.err_code != _NO_STREAM or self._is_first):
                raise Refused(told) from None
            raise ConnectionError(told) from None
        self._is_first = False

    def _see_stream(self, stream: "StreamInfo") -> None:
        """Whether it is the one that was read before, and has what it had."""
        created = str(stream.created)
        last = stream.state.last_seq
        before = self._place
        if before.created and (created != before.created or last < before.number):
            self._place = Place(created, last if created == before.created else 0)
            self._covered = min(self._covered, self._place.number)
            self._on_messages([self._place])
        elif not before.created:
            self._place = Place(created, before.number)
            self._on_messages([self._place])

    async def _consumer(
        self, link: Link, client: "BatchClient", stream: "StreamInfo"
    ) -> "ConsumerInfo":
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy  # noqa: PLC0415
        from nats.js.errors import NotFoundError  # noqa: PLC0415

        wanted, jsm = self.wanted, client.jsm()
        try:
            return await link.asked(jsm.consumer_info(wanted.stream, wanted.durable))
        except NotFoundError as error:
            if error.err_code != _NO_CONSUMER:
                raise
        begin: dict[str, Any] = {"deliver_policy": {
            NEW: DeliverPolicy.NEW, ALL: DeliverPolicy.ALL, LAST: DeliverPolicy.LAST_PER_SUBJECT,
        }.get(wanted.begin, DeliverPolicy.BY_START_TIME)}  # fmt: skip
        if begin["deliver_policy"] is DeliverPolicy.BY_START_TIME:
            begin["opt_start_time"] = datetime.fromisoformat(wanted.begin).astimezone(UTC)
        if self._place.number:
            if stream.config.retention == RetentionPolicy.WORK_QUEUE:
                begin = {"deliver_policy": DeliverPolicy.ALL}
            else:
                begin = {
                    "deliver_policy": DeliverPolicy.BY_START_SEQUENCE,
                    "opt_start_seq": self._place.number + 1,
                }
        config = ConsumerConfig(
            durable_name=wanted.durable, filter_subject=wanted.subject, ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_S,
            max_ack_pending=MOST_UNACKED, inactive_threshold=wanted.kept_s or None, description="flowedge", **begin,
        )  # fmt: skip
        return await link.asked(jsm.add_consumer(wanted.stream, config))

    def _see_consumer(self, info: "ConsumerInfo") -> None:
        """Refuse a consumer that somebody else has made for something else."""
        config, what = info.config, f"the consumer `{self.wanted.durable}`"
        if config.deliver_subject:
            raise Refused(f"{what} pushes; take another name, or delete it")
        if (config.filter_subject or ">") != self.wanted.subject:
            raise Refused(
                f"{what} listens to `{config.filter_subject or '>'}`; take another name, or delete it"
            )
        if str(getattr(config.ack_policy, "value", config.ack_policy)) != "explicit":
            raise Refused(
                f"{what} wants no acknowledgement of each message; take another name, or delete it"
            )
        if (config.max_deliver or -1) > 0:
            raise Refused(
                f"{what} gives a message up after {config.max_deliver} deliveries; take another name, or delete it"
            )
        most = config.max_ack_pending or 0
        self.most_unacked = most if most > 0 else MOST_UNACKED

    async def _see_place(self, link: Link, client: "BatchClient", info: "ConsumerInfo") -> None:
        """Refuse to go on from a state that is earlier than what the consumer has acknowledged."""
        from nats.js.errors import NotFoundError  # noqa: PLC0415

        wanted, last = self.wanted, self._place.number
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        if not (self._is_first and 0 < last < floor):
            return
        # The floor moves over messages of other subjects, too.
        try:
            found = await link.asked(
                client.jsm().get_msg(wanted.stream, last + 1, wanted.subject, next=True)
            )
        except NotFoundError:
            return
        if (found.seq or 0) <= floor:
            raise Refused(
                f"the consumer `{wanted.durable}` has acknowledged {floor:,}, and the state goes to {last:,}: it is an earlier one; "
                "delete the consumer to read on from there"
            )

    async def _ask_again(self, link: Link, client: "BatchClient", info: "ConsumerInfo") -> None:
        """Have delivered again, before anything new, what went where nobody was, in order."""
        if not info.num_ack_pending:
            return
        assert info.ack_floor is not None
        assert info.delivered is not None
        low, high = info.ack_floor.stream_seq, info.delivered.stream_seq
        if not self._is_first:
            low = max(low, self._place.number)
        head = f"$JS.ACK.{self.wanted.stream}.{self.wanted.durable}.1"
        tail = f"{info.delivered.consumer_seq}.0.0"
        for at in range(low + 1, high + 1, _NAKS):
            numbers = range(at, min(at + _NAKS, high + 1))
            await client.write(
                b"".join(f"PUB {head}.{n}.{tail} 4\r\n-NAK\r\n".encode() for n in numbers)
            )
            await client.flush()
        if high > low:  # they are taken one after the other: the last is answered when all are
            await link.asked(client.request(f"{head}.{high}.{tail}", b"-NAK", timeout=5))

    async def _read(self, link: Link, client: "BatchClient", info: "ConsumerInfo") -> None:
        assert info.delivered is not None
        self._link, self._client = link, client
        self._next = info.delivered.consumer_seq + 1
        self._asked = 0
        self._inbox = client.new_inbox()
        self._heard_s = asyncio.get_running_loop().time()
        await client.listen(f"{self._inbox}.*", self._came)
        link.spawn(self._watch(link, client))
        self.pull()

    # ---- it goes on

    def pull(self) -> None:
        """Ask for more, if little is asked for and there is room."""
        link, client = self._link, self._client
        if (
            link is None
            or client is None
            or client.is_closed
            or self._asked > _PULL // 2
            or not self._has_room()
        ):
            return
        self._pulls += 1
        self._asked += _PULL
        more = {
            "batch": _PULL, "max_bytes": _PULL_BYTES + 2 * client.max_payload, "expires": _EXPIRES_S * 10**9,
            "idle_heartbeat": _BEAT_S * 10**9,
        }  # fmt: skip
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.wanted.stream}.{self.wanted.durable}"
        link.spawn(
            client.publish(subject, json.dumps(more).encode(), f"{self._inbox}.{self._pulls}")
        )

    def ack(self, number: int, replies: Sequence[bytes]) -> None:
        """Acknowledge messages, the last of which is `number`."""
        self._covered = max(self._covered, number)
        link, client = self._link, self._client
        if link is not None and client is not None and not client.is_closed:
            link.spawn(client.write(b"".join(b"PUB %b 4\r\n+ACK\r\n" % reply for reply in replies)))

    async def _watch(self, link: Link, client: "BatchClient") -> None:
        """A server that is asked gives a sign of life from time to time."""
        while not client.is_closed:
            await asyncio.sleep(1.0)
            self.pull()
            now = asyncio.get_running_loop().time()
            if not self._asked:
                self._heard_s = now
            elif now - self._heard_s > _SILENT_S:
                link.fail("the stream gives no sign of life")
                return

    def _came(self, messages: "list[Incoming]") -> None:
        link = self._link
        assert link is not None
        self._heard_s = asyncio.get_running_loop().time()
        found, known, last = [], [], self._place.number
        for subject, reply, header, payload in messages:
            tokens = reply.split(b".")
            if len(tokens) < 9:
                self._status(link, header)
                continue
            at = 5 if len(tokens) == 9 else 7
            number, turn, stored_ns = int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 2])
            if turn != self._next:
                link.fail(f"another client takes messages of the consumer `{self.wanted.durable}`")
                break
            if self._asked < -_PULL:
                link.fail("it sends more than it was asked for")
                break
            self._next += 1
            self._asked -= 1
            if number > last:
                last = number
                found.append(Delivered(subject, header, payload, number, stored_ns, reply))
                continue
            self.doubled += 1
            if number <= self._covered:
                known.append(reply)
        self._place = Place(self._place.created, last)
        if found:
            self._on_messages(found)
        if known:
            self.ack(0, known)
        self.pull()

    def _status(self, link: Link, header: bytes) -> None:
        """What the server says of a request."""
        line, _, rest = header.partition(b"\r\n")
        code, told = line[9:12], line[13:].decode(errors="replace")
        if code == b"100":
            return
        left = _PENDING.search(rest)
        self._asked = max(0, self._asked - int(left[1])) if left else 0
        if code == b"503" or (
            code == b"409" and any(w in told for w in ("Deleted", "Shutdown", "Leadership"))
        ):
            link.fail(told or "the consumer is gone")
        elif code == b"400" or "Exceeded MaxRequest" in told:
            link.refuse(f"the consumer `{self.wanted.durable}`: {told}")


__all__ = ["ALL", "LAST", "MOST_UNACKED", "NEW", "Delivered", "Place", "StreamReader", "Wanted"]
