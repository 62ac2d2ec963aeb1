"""How sinks publish to a NATS server: as it passes, or into a stream of JetStream."""

import hashlib
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from flowedge.links.address import Address
from flowedge.links.nats import DENIED, Link, Outgoing, Refused
from flowedge.links.nats_login import NATS_LOGIN, PORTS, nats_login_of
from flowedge.sinks.publishing import Bus, Line, Message
from flowedge.sinks.remote import Guarantee
from flowedge.types.connectors import Option

if TYPE_CHECKING:
    from flowedge.links.nats_client import BatchClient

_HEADER = 256
"""Bytes of a message for the header, at most: that of EdgeX is the longest."""
_WRONG_STREAM, _TOO_LONG, _SEALED = 10060, 10054, 10109
_FOR_EVER = frozenset({DENIED, _WRONG_STREAM, _TOO_LONG, _SEALED})
"""Refusals of a message that it would meet again (NATS, `server/errors.json`)."""


class NatsBus(Bus):
    """A stream answers for each message once it has it; of others the server says that it has read them, and nothing more.

    Into a stream each message goes under an id (``Nats-Msg-Id``) of its first row's number and of what it holds. What is published again
    within the duplicate window of the stream is not stored again.

    Attributes
    ----------
    pattern : what matches all subjects that messages go to; empty: unknown
    """

    word = "NATS"
    extra = "nats"
    library = "nats-py and nkeys"
    ports: ClassVar[Mapping[str, int]] = PORTS
    options = (
        Option("jetstream", "text", "", "the stream that must have each message; none: whoever listens hears it, once at most"),
        *NATS_LOGIN,
    )  # fmt: skip

    def __init__(self, name: str, peer: Address, given: Mapping[str, Any]) -> None:
        super().__init__(name, peer, given)
        self.pattern = ""
        self._stream: str = given["jetstream"]
        self._link: Link | None = None
        self._was_there = False
        self._most_of_stream = 0

    @classmethod
    def promises(cls, options: Mapping[str, Any]) -> Guarantee:
        """By whether a stream answers for it."""
        return "at least once" if options.get("jetstream") else "at most once"

    def line(
        self, on_change: Callable[[], None], on_published: Callable[[int, int, str], None]
    ) -> Line:
        """A new connection; raises SecretError, ValueError, ImportError."""
        self._link = Link(
            self.peer, nats_login_of(self.given, self.peer), prepare=self._see_stream if self._stream else None,
            on_change=on_change, on_published=on_published, comes_back=False,
        )  # fmt: skip
        return self._link

    async def _see_stream(self, link: Link, client: "BatchClient") -> None:
        """Whether it is there and listens; where this client may not ask, its answers will tell."""
        from nats.errors import NoRespondersError  # noqa: PLC0415  # an extra
        from nats.js.errors import APIError, NotFoundError  # noqa: PLC0415

        try:
            found = await link.asked(client.jsm().stream_info(self._stream))
        except Refused:
            link.forgive()
            return
        except ValueError:
            raise Refused(f"`{self._stream}` is no name of a stream") from None
        except NoRespondersError:
            raise ConnectionError("it has no JetStream, or none for this account") from None
        except NotFoundError:
            told = f"there is no stream `{self._stream}`"
            raise (ConnectionError if self._was_there else Refused)(told) from None
        except APIError as error:
            raise ConnectionError(f"stream `{self._stream}`: {error.description}") from None
        subjects = found.config.subjects or []
        if self.pattern and not any(meet(self.pattern, one) for one in subjects):
            told = ", ".join(f"`{one}`" for one in subjects) or "nothing"
            raise Refused(f"the stream `{self._stream}` listens to {told}, not to `{self.pattern}`")
        self._was_there = True
        self._most_of_stream = max(0, found.config.max_msg_size or 0)

    def see(self) -> None:
        """All is seen while it is let in."""

    @property
    def most_bytes(self) -> int:
        """Of subject and payload together."""
        most = self._link.most_bytes if self._link is not None else 0
        most = min(most, self._most_of_stream or most)
        return max(1, most - _HEADER) if most else 0

    def outgoing(self, number: int, message: Message, mark: str) -> Outgoing:
        """With an id, if it goes into a stream."""
        headers = dict(message.headers or {})
        if self._stream:
            held = hashlib.blake2b(message.payload, digest_size=12, person=b"flowedge")
            held.update(message.topic.encode())
            headers |= {
                "Nats-Msg-Id": f"{mark}-{held.hexdigest()}",
                "Nats-Expected-Stream": self._stream,
            }
        return Outgoing(number, message.topic, message.payload, headers or None, bool(self._stream))

    def is_final(self, code: int) -> bool:
        """By what the server says of the message."""
        return code in _FOR_EVER


def meet(one: str, other: str) -> bool:
    """Whether some subject matches both filters.

    Examples
    --------
    >>> meet("a.*.c", "a.b.>"), meet("a.*", "a.b.c")
    (True, False)
    """
    for a, b in zip_longest(one.split("."), other.split(".")):
        if ">" in (a, b):
            return a is not None and b is not None
        if a != b and "*" not in (a, b):
            return False
        if a is None or b is None:
            return False
    return True


__all__ = ["NatsBus", "meet"]
