"""Framing: where in a stream of bytes one payload ends and the next begins."""

from flowedge.sources.framing.contract import Framer, FramingError, Payload
from flowedge.sources.framing.named import FRAMINGS, framer

__all__ = ["FRAMINGS", "Framer", "FramingError", "Payload", "framer"]
