"""A device that records, through PortAudio."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

from flowedge.lang.errors import SourceError
from flowedge.links.backoff import Backoff
from flowedge.sources.samples.intake import Intake

FORMATS = {"s16le": "int16", "s32le": "int32", "f32le": "float32", "s8": "int8", "u8": "uint8", "s24le": "int24"}  # fmt: skip
"""Those that PortAudio gives, on machines whose bytes stand in this order, and its names for them."""
_LOOK_S = 0.25
_MOST_LATENCY_S = 10.0


def portaudio() -> Any:  # noqa: ANN401  # untyped
    """The package `sounddevice`; raises SourceError where it or PortAudio is missing."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise SourceError("`sound` needs sounddevice for a microphone; `pip install 'flowedge[microphone]'`") from None  # fmt: skip
    except OSError:
        raise SourceError(
            "`sound` needs the library PortAudio for a microphone; `apt-get install libportaudio2`, or `dnf install portaudio`; "
            "without it another program may record: `arecord -t raw … | flowedge run …`, and `sound(\"-\", …)`"
        ) from None  # fmt: skip


class Microphone:
    """Blocks of samples as the device gives them.

    Where the system had no room for what was recorded (an overrun), or the run took nothing for too long, samples are lost; the
    next ones have the time at which the device took them, and so there is a gap.

    Parameters
    ----------
    name : a number or part of a name that PortAudio knows, such as ``hw:1,0``; empty: the default
    intake : what it hands samples to
    wall : the time of day

    Raises
    ------
    SourceError : there is no such device, or it does not record in this form
    """

    is_over = False

    def __init__(self, name: str, intake: Intake, wall: Callable[[], int]) -> None:
        self._intake, self._wall = intake, wall
        self._sounddevice = portaudio()
        form = intake.form
        if form.format not in FORMATS:
            known = ", ".join(FORMATS)
            raise SourceError(f"`sound`: a microphone gives {known}, not {form.format}")
        self._given = {
            "samplerate": form.rate, "channels": form.channels, "dtype": FORMATS[form.format],
            "device": int(name) if name.isdecimal() else name or None, "callback": self._heard,
        }  # fmt: skip
        self._name = name
        self._stream = self._opened()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flowedge-sound", daemon=True)
        self._thread.start()

    def _opened(self) -> Any:  # noqa: ANN401  # untyped
        """A stream that runs; raises SourceError."""
        sd = self._sounddevice
        stream = None
        try:
            stream = sd.RawInputStream(**self._given)
            stream.start()
        except (sd.PortAudioError, ValueError) as error:
            if stream is not None:
                stream.close(ignore_errors=True)
            names = [d["name"] for d in sd.query_devices() if d["max_input_channels"] > 0]
            there = "there are " + ", ".join(f"`{n}`" for n in names) if names else "this machine has no device that records"  # fmt: skip
            what = f"the microphone `{self._name}`" if self._name else "a microphone"
            raise SourceError(f"`sound` cannot open {what}: {error}; {there}") from None
        return stream

    def _heard(self, data: Any, samples: int, at: Any, status: Any) -> None:  # noqa: ANN401
        """A block, on the thread of PortAudio."""
        received = self._wall()
        latency = at.currentTime - at.inputBufferAdcTime
        if not (at.inputBufferAdcTime > 0 and 0 < latency < _MOST_LATENCY_S):  # it does not tell
            latency = samples / self._intake.form.rate
        self._intake.put_taken(
            bytes(data), received - round(latency * 1e9), received, has_lost=bool(status.input_overflow)
        )  # fmt: skip

    def _watch(self) -> None:
        """Open a device that stopped, until it is there again."""
        waits = Backoff(most_s=5.0)
        while not self._closing.wait(_LOOK_S):
            if self._stream.active:
                waits.reset()
                continue
            self._intake.counts["unplugged"] += 1
            self._stream.close(ignore_errors=True)
            self._intake.break_off()
            while not self._closing.wait(waits.next_s()):
                try:
                    self._stream = self._opened()
                except SourceError:
                    continue
                break

    def close(self) -> None:
        """Stop recording."""
        self._closing.set()
        self._thread.join()
        self._stream.close(ignore_errors=True)
