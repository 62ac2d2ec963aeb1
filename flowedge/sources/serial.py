"""Lines and payloads that come over a serial port."""

import contextlib
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowedge.lang.errors import SourceError
from flowedge.links.backoff import Backoff
from flowedge.sources.byte_streams import ByteStreams
from flowedge.sources.connections import Chunk
from flowedge.sources.contract import connector
from flowedge.sources.framing import Framer, FramingError, Payload
from flowedge.sources.framing.nmea import Nmea
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import FORMAT
from flowedge.types.connectors import Option, Signature

_BLOCK = 1 << 16
_TICK_S = 0.25
_MOST_WAIT_S = 2.0
"""Between two looks for a port that is unplugged."""
_OVERHEAD = 120


@dataclass(eq=False)
class _Port:
    """The one peer."""

    peer: str
    partition: str = ""


@connector("serial")
class Serial(ByteStreams):
    """Read a serial port: ``serial("/dev/ttyUSB0", baud=115200, framing=lines)``.

    ``framing`` is ``lines`` (JSON, or CSV whose first line may hold names), ``nmea`` (sentences of NMEA 0183, whose
    checksum is verified; see `docs/live.md` for the fields), or one of those of ``tcp``. Where it is lost, reading begins anew
    with what comes next. A port that is unplugged, or not there yet, is looked for until it is back. Raw fields: ``_peer``
    (the port) and ``_received``, the time of a row where the source declares none. One partition.
    """

    extra = "serial"
    options = Signature((
        Option("baud", "integer", 9600, "bits per second"),
        Option(
            "framing", "text", "lines", "where a payload ends",
            choices=("lines", "nmea", "length", "msgpack", "arrow"),
        ),
        FORMAT,
        Option("parity", "text", "none", "of each byte", choices=("none", "even", "odd")),
        Option("stop_bits", "integer", 1, "1 or 2"),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._thread: threading.Thread | None = None
        self._counts: Counter[str] = Counter()
        self._trouble = ""
        if self.given["stop_bits"] not in (1, 2) or self.given["baud"] < 1:
            raise SourceError("`serial`: `baud` is above 0, and `stop_bits` 1 or 2")

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to read; raises SourceError."""
        try:
            import serial  # noqa: PLC0415  # an extra
        except ImportError:
            raise SourceError("`serial` needs pyserial; `pip install 'flowedge[serial]'`") from None
        self.prepare(shell, None)
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(serial,), name="flowedge-serial", daemon=True
        )
        self._thread.start()

    def new_framer(self) -> Framer:
        """The framing, from the beginning."""
        return Nmea() if self.given["framing"] == "nmea" else super().new_framer()

    def _partition(self, one: Any) -> str:  # noqa: ANN401
        return ""

    def _run(self, serial: Any) -> None:  # noqa: ANN401  # the module, which has no types
        given = self.given
        waits = Backoff(most_s=_MOST_WAIT_S)
        one = _Port(self.address)
        while not self._closing.is_set():
            try:
                port = serial.Serial(
                    self.address, given["baud"], timeout=0, parity=given["parity"][0].upper(),
                    stopbits=given["stop_bits"],
                )  # fmt: skip
            except (OSError, ValueError) as error:  # of which pyserial's own are some
                self._trouble = str(error)
                self._counts["failed"] += 1
                self._closing.wait(waits.next_s())
                continue
            self._counts["connects"] += 1
            self._trouble = ""
            waits.reset()
            with contextlib.closing(port), contextlib.suppress(OSError):
                self._listen(port.fileno(), one)
            self._counts["unplugged"] += not self._closing.is_set()
            self._trouble = "unplugged"
            self._closing.wait(waits.next_s())

    def _listen(self, port: int, one: _Port) -> None:
        """Read until it is unplugged; raises OSError."""
        framer = self.new_framer()
        poll = select.poll()
        poll.register(port, select.POLLIN)
        while not self._closing.is_set():
            if not self._inbox.has_room:
                time.sleep(_TICK_S / 10)
                continue
            if not (found := poll.poll(int(_TICK_S * 1000))):
                continue
            data = os.read(port, _BLOCK)
            if not data and found[0][1] & (select.POLLHUP | select.POLLERR | select.POLLIN):
                return
            try:
                payloads = framer.feed(data)
            except FramingError as error:
                payloads = error.payloads
                self._counts[error.count] += 1
                framer = self.new_framer()
            self._put(one, payloads)

    def _put(self, one: Any, payloads: list[Payload]) -> None:  # noqa: ANN401
        if payloads:
            size = sum(len(p) if isinstance(p, bytes) else p.nbytes for p in payloads)
            self._inbox.put(Chunk(one, payloads, self._wall()), size + _OVERHEAD * len(payloads))

    def take(self) -> list[Arrival]:
        """The rows that have come; raises SourceError under ``on error stop``."""
        return self.take_rows()

    def state(self) -> dict[str, Any]:
        """Nothing: what was not read while a run was stopped is gone."""
        return {}

    @property
    def away(self) -> str:
        """Why the port cannot be read now; empty while it can."""
        return self._trouble

    def told(self) -> dict[str, int]:
        """How often the port was opened and lost, and where framing was."""
        return dict(self._counts)

    def close(self) -> None:
        """Close the port."""
        if self._thread is not None:
            self._closing.set()
            self._thread.join()
