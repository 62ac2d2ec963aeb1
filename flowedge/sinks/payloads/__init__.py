"""Payloads: rows become messages in five formats, which `flowedge.sources.payloads` reads back.

`Encoder` is all that a sink needs. What a reader finds in a payload stands in ``docs/payloads.md``, what is written besides in ``docs/mqtt.md``.
"""

from flowedge.sinks.payloads.encoder import FORMATS, LAYOUTS, Encoder, encode

__all__ = ["FORMATS", "LAYOUTS", "Encoder", "encode"]
