"""What `wav` and `flac` share: samples of sound, through the `soundfile` package."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Predicate
from flowedge.sources.files import FileSource, first_line, other_rate
from flowedge.types.connectors import Option, Signature
from flowedge.types.metadata import RATE

_OPEN_ENDED = (0, 0xFFFFFFFF, 0x7FFFFFFF)
"""Lengths that recorders write who do not know when they will stop."""


class Audio(FileSource):
    """Samples between -1 and 1, full scale of the converter; one column for each channel."""

    extra = "audio"
    options = Signature((Option("names", "texts", (), "names of the channels, in order"),))

    @property
    def rate_hz(self) -> float | None:
        """Samples per second, from the file."""
        with self._open(self.found[0].path) as sound:
            return float(sound.samplerate)

    def schema_of(self, path: str) -> pa.Schema:
        """``x`` of one channel, ``ch0`` and so on of several; float64 only beyond 24 bits."""
        with self._open(path) as sound:
            kind = pa.float64() if sound.subtype in ("PCM_32", "DOUBLE") else pa.float32()
            names = self._names(sound.channels)
            rate = f"{sound.samplerate}".encode()
        return pa.schema([pa.field(n, kind) for n in names], metadata={RATE: rate})

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Blocks of samples."""
        schema = self.schema_of(path)
        names = columns if columns is not None else schema.names
        picked = pa.schema([schema.field(n) for n in names], metadata=schema.metadata)
        dtype = "float64" if schema.field(0).type == pa.float64() else "float32"
        with self._open(path) as sound:
            if sound.samplerate != self.rate_hz:
                raise other_rate(path, sound.samplerate, self.found[0].path, self.rate_hz)
            if sound.frames == 0:
                raise SourceError(f"the recording `{path}` has no samples (length 0)")
            total, at = sound.frames, min(skip, sound.frames)
            try:
                sound.seek(at)
                while at < total:
                    block = sound.read(min(BATCH_ROWS, total - at), dtype, always_2d=True)
                    if not len(block):
                        raise SourceError(
                            f"`{path}` is cut short after {at} of {total} samples; copy it again"
                        )
                    at += len(block)
                    arrays = [
                        pa.array(np.ascontiguousarray(block[:, schema.names.index(n)]))
                        for n in names
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=picked)
            except RuntimeError as error:
                raise SourceError(
                    f"`{path}` is damaged after {at} of {total} samples ({first_line(error)})"
                ) from None

    def _names(self, channels: int) -> list[str]:
        """Names given; or those declared, if there are as many as channels; or the usual ones."""
        names = ["x"] if channels == 1 else [f"ch{i}" for i in range(channels)]
        if self.given["names"]:
            if len(self.given["names"]) != channels:
                raise SourceError(
                    f"`{self.address}` has {channels} channels, and `names` gives "
                    f"{len(self.given['names'])}"
                )
            return list(self.given["names"])
        declared = (
            [n for n in self.declared.names if n not in self.captures] if self.declared else []
        )
        if len(declared) == channels and not set(declared) & set(names):
            return declared
        return names

    def _open(self, path: str) -> Any:  # noqa: ANN401  # untyped
        try:
            soundfile = importlib.import_module("soundfile")
        except (ImportError, OSError):
            raise SourceError(
                "reading sound needs the extra `audio`: `pip install flowedge[audio]`"
            ) from None
        _check_length(path)
        try:
            return soundfile.SoundFile(path)
        except RuntimeError as error:
            why = first_line(error).rsplit(": ", 1)[-1]
            raise SourceError(f"`{path}` is no readable {self.name} file ({why.lower()})") from None


def _check_length(path: str) -> None:
    """Refuse a WAV whose samples end before its header says, which the library reads as shorter."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                have = size - file.tell()
                if length not in _OPEN_ENDED and have < length:
                    raise SourceError(
                        f"`{path}` is cut short: {have} of {length} bytes of sound; copy it again"
                    )
                return
            file.seek(length + length % 2, 1)
