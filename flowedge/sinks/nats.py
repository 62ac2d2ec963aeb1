"""Messages to a NATS server."""

from typing import Any

from flowedge.sinks.contract import connector
from flowedge.sinks.nats_bus import NatsBus
from flowedge.sinks.row_messages import LAYING, RowMessages
from flowedge.sinks.topics import NATS
from flowedge.types.connectors import Option, Signature


@connector("nats")
class Nats(RowMessages):
    """Publish rows to a NATS server: ``nats("nats://host/alerts.{device}", jetstream="ALERTS")``.

    Behind the host stands the subject; names of columns in braces are the values of each row (`flowedge.sinks.topics.token` says
    what becomes of ``.``, wildcards and missing ones). Messages are those of the sink `mqtt`; the source `nats` reads all of them.

    With ``jetstream`` a message is safe when that stream has answered for it: at least once, and not twice within the duplicate window of the
    stream. Without, whoever listens hears it: at most once.

    Raises
    ------
    SinkError : the server does not let it in, there is no such stream, it does not listen to the subject, or takes no message as long as
        that of a row
    """

    extra = "nats"
    buses = (NatsBus,)
    naming = NATS
    options = Signature((
        Option("subject", "text", "", "the subject, where it is not in the address"), *LAYING, *NatsBus.options,
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        assert isinstance(self._bus, NatsBus)
        self._bus.pattern = self._topics.pattern


__all__ = ["Nats"]
