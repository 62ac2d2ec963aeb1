"""Bytes of PCM as numbers between -1 and 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FORMATS = (
    "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "f64be", "s8", "u8",
)  # fmt: skip
"""Sample formats by the names that FFmpeg gives to raw PCM."""
Samples = npt.NDArray[np.float32 | np.float64]


def width_of(name: str) -> int:
    """Bytes of one value.

    >>> [width_of(name) for name in ("u8", "s16le", "s24be", "f64le")]
    [1, 2, 3, 8]
    """
    return int(name[1:].removesuffix("le").removesuffix("be")) // 8


def is_wide(name: str) -> bool:
    """Whether a value has more bits than a float32 holds exactly."""
    return name[:3] in ("s32", "f64")


def decoded(data: bytes, name: str, channels: int) -> Samples:
    """Samples of shape ``(frames, channels)``; full scale is 1.

    float64 where a value has more than 24 bits, else float32. `data` holds whole frames.

    >>> decoded(bytes([0, 0x80, 0, 0x40]), "s16le", 2).tolist()
    [[-1.0, 0.5]]
    >>> decoded(bytes([0xFF, 0xFF, 0xFF]), "s24le", 1).tolist() == [[-1 / 2**23]]
    True
    """
    width, order = width_of(name), ">" if name.endswith("be") else "<"
    kind: Any = np.float64 if is_wide(name) else np.float32
    found: npt.NDArray[Any]
    if name[0] == "f":
        found = np.frombuffer(data, f"{order}f{width}").astype(kind)
    elif width == 3:
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
        high, low = (2, 0) if order == "<" else (0, 2)
        whole = parts[:, high].astype(np.int8).astype(np.int32) << 16
        whole |= (parts[:, 1].astype(np.int32) << 8) | parts[:, low]
        found = whole.astype(kind) / kind(1 << 23)
    else:
        found = np.frombuffer(data, f"{order}{'u' if name[0] == 'u' else 'i'}{width}").astype(kind)
        found -= 128 if name[0] == "u" else 0
        found /= 1 << (8 * width - 1)
    return found.reshape(-1, channels)


@dataclass(frozen=True, slots=True)
class Form:
    """What samples are: their rate [Hz], channels, and the format of a value."""

    rate: int
    channels: int
    format: str

    @property
    def width(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * width_of(self.format)

    def __str__(self) -> str:
        """In the words of the options."""
        return f"rate={self.rate} Hz, channels={self.channels}, format={self.format}"
