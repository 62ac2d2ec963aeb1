"""Payloads: what one message of a device holds, in five formats, becomes rows of declared fields.

`Decoder` is all that a live source needs. What a payload may say stands in ``docs/payloads.md``.
"""

from flowedge.sources.payloads.bounds import (
    DEEPEST,
    LONGEST,
    MOST_VALUES,
    CutShortError,
    PayloadError,
)
from flowedge.sources.payloads.decoder import Decoder, decode
from flowedge.sources.payloads.formats import FORMATS, Format, format_of
from flowedge.sources.payloads.rows import Rejected

__all__ = [
    "DEEPEST",
    "FORMATS",
    "LONGEST",
    "MOST_VALUES",
    "CutShortError",
    "Decoder",
    "Format",
    "PayloadError",
    "Rejected",
    "decode",
    "format_of",
]
