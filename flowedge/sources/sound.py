"""Sound as it is recorded: of a microphone, or of a program that sends raw samples."""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import connector
from flowedge.sources.live import Arrival, LiveSource, Shell
from flowedge.sources.samples import pcm, wav
from flowedge.sources.samples.clock import SampleClock
from flowedge.sources.samples.intake import Block, Intake
from flowedge.sources.samples.microphone import Microphone
from flowedge.sources.samples.pcm import Form
from flowedge.sources.samples.reader import Reader
from flowedge.sources.samples.wires import Dial, File, Listen, Pipe, Standard, Wire
from flowedge.sources.tcp import host_and_port
from flowedge.types.connectors import NEEDED, Option, Signature

MICROPHONE, PIPE, TCP, STANDARD = "microphone:", "pipe:", "tcp://", "-"
_MOST_RATE, _MOST_CHANNELS = 10_000_000, 256


@connector("sound")
class Sound(LiveSource):
    """Listen: ``sound("microphone:", rate=16 kHz)``, ``sound("pipe:/tmp/mic", rate=16 kHz, channels=2, format=s16le)``.

    The address says who records: ``microphone:`` (the default device) or ``microphone:hw:1,0`` (a number, or part of a name),
    through PortAudio; ``pipe:PATH``, a named pipe; ``-``, standard input; ``tcp://HOST:PORT``; else a file. What comes is raw
    PCM; a stream that begins as a WAV has to say the same in its head. A single channel is the column ``x``, several
    are ``ch0``, ``ch1`` and so on, or as `names` says; between -1 and 1, full scale; float64 only beyond 24 bits.

    ``time`` is the instant at which the first sample was taken, and from there on the number of samples; write ``at RATE``.
    An overrun, and a pause that nothing catches up, is a gap in time. A sound card's clock that has run off by
    0.2 s is followed, by 0.1 %. Files, and whatever has a `start`, count from there (1970), as fast as they are read. One partition.
    """

    extra = "microphone"
    describes_itself: ClassVar[bool] = True
    is_watched: ClassVar[bool] = False
    options = Signature((
        Option("rate", "frequency", NEEDED, "samples per second, a whole number [Hz]"),
        Option("channels", "integer", 1, f"1 to {_MOST_CHANNELS}"),
        Option("format", "text", "s16le", "of a value", choices=pcm.FORMATS),
        Option("names", "texts", (), "names of the channels, in order"),
        Option("start", "text", "", "the instant of the first sample; the time of day does not matter then"),
        Option("mode", "text", "listen", "of `tcp://`: `listen` for a program, or `connect` to one", choices=("listen", "connect")),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        rate, channels = float(self.given["rate"]), self.given["channels"]
        if not (1 <= rate <= _MOST_RATE and rate == int(rate)):
            raise SourceError(
                f"`sound`: a rate of {rate:g} Hz; it is a whole number from 1 Hz to 10 MHz"
            )
        if not 1 <= channels <= _MOST_CHANNELS:
            raise SourceError(f"`sound`: {channels} channels; there are 1 to {_MOST_CHANNELS}")
        if not address:
            raise SourceError(
                f'`sound` lacks its address; `"{MICROPHONE}"` is the default microphone'
            )
        self._form = Form(int(rate), channels, self.given["format"])
        self._names = self._named()
        kind = pa.float64() if pcm.is_wide(self._form.format) else pa.float32()
        fields = [pa.field("time", pa.timestamp("ns", "UTC"))]
        self._fields = pa.schema([*fields, *(pa.field(name, kind) for name in self._names)])
        self._start = _instant(self.given["start"])
        self._runs: Reader | Microphone | None = None
        self._taken = 0

    def _named(self) -> list[str]:
        channels = self._form.channels
        names = list(self.given["names"])
        if not names:
            return ["x"] if channels == 1 else [f"ch{k}" for k in range(channels)]
        if len(names) != channels or len(set(names)) != channels or "time" in names:
            raise SourceError(
                f"`sound`: `names` gives each of {channels} channels a name of its own, and none is `time`"
            )
        return names

    @property
    def rate_hz(self) -> float | None:
        """Samples per second [Hz]."""
        return float(self._form.rate)

    def schema(self) -> pa.Schema | None:
        """``time`` and a column for each channel; raises SourceError where a file is not there or is another WAV."""
        self._look()
        return self._fields

    @classmethod
    def comes_again(cls, options: Mapping[str, Any], address: str = "") -> bool:
        """A recording is read again; what was said into a microphone is not."""
        del options
        return _is_file(address)

    def _look(self) -> None:
        """Raises SourceError where what is asked for cannot be there, or is a WAV of another kind."""
        if self.address.startswith(TCP):
            host_and_port("tcp", self.address)
        if not _is_file(self.address):
            return
        try:
            with Path(self.address).open("rb") as file:
                wav.samples_of(file.read(wav.LONGEST_HEAD), self._form, self.address)
        except OSError as error:
            raise SourceError(
                f"`{self.address}`: {(error.strerror or str(error)).lower()}; a pipe that will be there is `{PIPE}{self.address}`"
            ) from None

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to listen; raises SourceError."""
        self._look()
        wire = self._wire()
        start = 0 if self._start is None and wire is not None and wire.is_recording else self._start
        clock = SampleClock(self._form.rate, start)
        self._intake = Intake(self._form, clock, shell.bell.ring)
        if wire is None:
            name = self.address.removeprefix(MICROPHONE)
            self._runs = Microphone(name, self._intake, shell.wall)
            return
        skip = int(state["samples"]) if state and wire.is_recording else 0
        clock.skip(skip)
        self._taken = skip
        self._runs = Reader(wire, self._intake, shell.wall, self.address, skip)

    def _wire(self) -> Wire | None:
        """Where bytes come from; None: of a microphone; raises SourceError."""
        address = self.address
        if address.startswith(MICROPHONE):
            return None
        if address == STANDARD:
            return _standard()
        if address.startswith(TCP):
            place = host_and_port("tcp", address)
            try:
                return Listen(place) if self.given["mode"] == "listen" else Dial(place)
            except ValueError as error:
                raise SourceError(f"`sound`: {error}") from None
        return File(address) if _is_file(address) else Pipe(address.removeprefix(PIPE))

    def take(self) -> list[Arrival]:
        """The samples that have come; raises SourceError."""
        if self._runs is None:
            return []
        blocks = []
        for one in self._intake.inbox.take():
            if isinstance(one, BaseException):
                raise one
            blocks.append(one)
        if not blocks:
            return []
        self._taken += sum(block.samples for block in blocks)
        return [Arrival("", self._rows(blocks), blocks[-1].received_ns, first_ns=blocks[0].received_ns)]  # fmt: skip

    def _rows(self, blocks: list[Block]) -> pa.RecordBatch:
        data = b"".join(block.data for block in blocks)
        samples = pcm.decoded(data, self._form.format, self._form.channels)
        times = np.concatenate([block.stamp.times(block.samples) for block in blocks])
        arrays = [pa.array(times.astype("datetime64[ns]")).cast(self._fields.field("time").type)]
        arrays += [pa.array(np.ascontiguousarray(samples[:, k])) for k in range(len(self._names))]
        return pa.RecordBatch.from_arrays(arrays, schema=self._fields)

    def state(self) -> dict[str, Any]:
        """How many samples were taken, from which a file goes on."""
        return {"samples": self._taken}

    @property
    def is_over(self) -> bool:
        """Whether the file, or standard input, is at its end and all of it taken."""
        return self._runs is not None and self._runs.is_over and self._intake.inbox.is_empty

    @property
    def nbytes(self) -> int:
        """Bytes of the samples that wait."""
        return 0 if self._runs is None else self._intake.inbox.nbytes

    def told(self) -> dict[str, int]:
        """Gaps, what was lost and why, and how fast the sound card runs."""
        if self._runs is None:
            return {}
        found = {**self._intake.counts, "drift_ppm": self._intake.clock.drift_ppm}
        return {what: n for what, n in found.items() if n}

    def close(self) -> None:
        """Listen no more."""
        if self._runs is not None:
            self._runs.close()


def _is_file(address: str) -> bool:
    """Whether an address is a recording's."""
    if address == STANDARD or address.startswith((MICROPHONE, PIPE, TCP)):
        return False
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.stat(address).st_mode)  # noqa: PTH116  # one call for all kinds
    return True


def _instant(text: str) -> int | None:
    """An instant [ns since 1970, UTC]; without a zone it is UTC; None of an empty text; raises SourceError."""
    if not text:
        return None
    try:
        return pa.scalar(text).cast(pa.timestamp("ns", "UTC")).value
    except pa.ArrowException:
        raise SourceError(
            f"`sound`: `start` is an instant such as `2026-01-01T12:00:00Z`, not `{text}`"
        ) from None


def _standard() -> Standard:
    """Standard input, where something else than a person is behind it; raises SourceError."""
    try:
        found = Standard()
        if not os.isatty(0):
            return found
    except OSError:
        pass
    raise SourceError(
        f"`sound`: there is nothing behind `{STANDARD}`; write `arecord -t raw … | flowedge run …`"
    )
