"""FLAC recordings."""

from flowedge.sources.audio import Audio
from flowedge.sources.contract import connector


@connector("flac")
class Flac(Audio):
    """Read FLAC; a single channel is the column ``x``, several are ``ch0``, ``ch1`` and so on.

    A declared schema of as many columns as there are channels names them in order.
    """
