"""What sources of messages share: payloads to rows, what a topic captures, and columns about the message itself."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import REJECTED
from flowedge.sources.live import LiveSource
from flowedge.sources.payloads import FORMATS, Decoder, Format
from flowedge.types.connectors import Option

FORMAT = Option(
    "format",
    "text",
    "auto",
    "of the payloads; `auto` tells it from the first bytes of each",
    choices=FORMATS,
)
RECEIVED = "_received"
"""Raw field of any source of messages: when the message came."""
_KINDS: Mapping[str, pa.DataType] = {RECEIVED: pa.timestamp("ns", "UTC")}


class MessageSource(LiveSource):
    """A live source whose rows come in payloads.

    The declared raw fields are looked for in the payload, but for those that tell of the message itself: the captures of
    its topic, and fields whose name begins with ``_``, of which each connector says what they hold.

    Attributes
    ----------
    about : raw fields that tell of the message, and their types
    """

    about: ClassVar[Mapping[str, pa.DataType]] = _KINDS
    converts: ClassVar[bool] = True
    received: ClassVar[str] = RECEIVED

    def schema(self) -> pa.Schema | None:
        """The declared fields; None where nothing is declared."""
        return self.declared

    def decoder(self) -> Decoder:
        """Makes rows of the declared fields; raises SourceError."""
        return self.decoder_of(self.given["format"])

    def decoder_of(self, format: Format) -> Decoder:  # noqa: A002  # the word of the language
        """Makes rows of the declared fields, of payloads of a format; raises SourceError."""
        declared = self.declared or pa.schema([])
        beside = {*self.captures, *self.about}
        unknown = [f.name for f in declared if f.name.startswith("_") and f.name not in beside]
        if unknown:
            known = ", ".join(f"`{name}`" for name in self.about)
            raise SourceError(f"`{self.name}` has no `{unknown[0]}`; of a message it knows {known}")
        inside = pa.schema([f for f in declared if f.name not in beside])
        return Decoder(
            inside, format, extra=pa.schema([f for f in declared if f.name in beside]),
            fitting={name: policy for name, policy in self.fitting.items() if name in inside.names},
        )  # fmt: skip

    def turned_away(self, decoder: Decoder, where: Sequence[str] | str) -> pa.RecordBatch | None:
        """What the decoder turned away, for the quarantine; raises SourceError under ``on error stop``."""
        for name, (nulled, clamped) in decoder.take_altered().items():
            self.rejects.alter(name, nulled=nulled, clamped=clamped)
        rejected = decoder.rejected
        if not rejected:
            return None
        place = where if isinstance(where, str) else self.address
        if self.on_error == "stop":
            one = rejected[0]
            raise SourceError(
                f"`{place}` reading {one.number}: {one.reason}: `{one.text}`; mend the sender, or add "
                '`on error skip` or `on error quarantine "FILE"` to the source'
            )
        columns: dict[str, list[Any]] = {
            "file": [place] * len(rejected), "row": [r.number for r in rejected],
            "reason": [r.reason for r in rejected], "text": [r.text for r in rejected],
        }  # fmt: skip
        rejected.clear()
        return pa.RecordBatch.from_pydict(columns, schema=REJECTED)
