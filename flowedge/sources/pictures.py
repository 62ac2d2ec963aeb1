"""What `video` and `camera` share: opening a stream with care, and frames as tensors of the declared shape."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.types.connectors import Option

FRAME = "frame"
"""Raw field: the picture, u8."""
FORMATS = ("auto", "gray", "rgb24")
FORMAT = Option(
    "format", "text", "auto",
    "of a frame: brightness, or red, green and blue; `auto` tells it from the declared channels, else `rgb24`", choices=FORMATS,
)  # fmt: skip
MOST_PIXELS = 1 << 26
"""Of one frame: twice what 8K has. A header may claim more than memory holds."""
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif", "mjpeg", "mpjpeg", "h264",
    "hevc", "rtsp", "sdp", "rtp", "v4l2", "video4linux2,v4l2",
)  # fmt: skip
"""Formats of files and streams that are opened. Playlists are none of them, for they name other files and hosts."""
CODECS = (
    "h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "msmpeg4v3", "h263", "mpeg1video", "mpeg2video",
    "mjpeg", "png", "gif", "theora", "wmv1", "wmv2", "wmv3", "vc1", "ffv1", "huffyuv", "ffvhuff", "prores", "dnxhd", "rawvideo", "flv",
)  # fmt: skip
"""Decoders that are let at the bytes of a file: those of cameras and recorders, among FFmpeg's several hundred."""


def library(name: str) -> Any:  # noqa: ANN401  # its types come and go with its versions
    """PyAV, quiet; raises SourceError where it is not there."""
    try:
        av = importlib.import_module("av")
    except (ImportError, OSError):
        raise SourceError(
            f"`{name}` needs the extra `video`: `pip install 'flowedge[video]'`"
        ) from None
    av.logging.set_level(None)  # what matters is raised; the rest would go to standard error
    return av


def guarded(protocols: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Options that keep a stream to itself: these protocols, our formats and decoders, frames that memory holds."""
    return {
        "protocol_whitelist": protocols, "format_whitelist": ",".join(CONTAINERS), "codec_whitelist": ",".join(CODECS),
        "max_pixels": str(MOST_PIXELS), **(more or {}),
    }  # fmt: skip


def reason(error: BaseException) -> str:
    """Why FFmpeg could not go on: without the address, which may hold a password."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].strip().rstrip(".").lower()[:200]


class Picture(NamedTuple):
    """How a frame is laid out.

    Attributes
    ----------
    format : ``gray`` or ``rgb24``
    shape : of the column: ``(channels, height, width)``, or ``(height, width)`` of brightness
    """

    format: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Of one frame."""
        return int(np.prod(self.shape))

    @property
    def kind(self) -> pa.DataType:
        """Lists in lists, as any tensor comes."""
        out: pa.DataType = pa.uint8()
        for length in reversed(self.shape):
            out = pa.list_(out, length)
        return out

    def pixels(self, frame: Any) -> "np.ndarray[Any, np.dtype[np.uint8]]":  # noqa: ANN401  # of PyAV
        """A decoded frame, scaled to the shape, one byte after the other."""
        height, width = self.shape[-2:]
        same = (frame.width, frame.height) == (width, height)
        scaled = frame.reformat(
            width, height, self.format, interpolation="POINT" if same else "AREA"
        )
        found = scaled.to_ndarray()
        return np.ascontiguousarray(found.transpose(2, 0, 1) if found.ndim == 3 else found).ravel()

    def column(self, frames: Sequence["np.ndarray[Any, Any]"]) -> pa.Array:
        """Frames as they come of `pixels`, as one column."""
        out = pa.array(np.concatenate(frames) if frames else np.empty(0, np.uint8))
        for length in reversed(self.shape):
            out = pa.FixedSizeListArray.from_arrays(out, length)
        return out


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pipeline wants of frames: the shape that it declares, if any, and the format."""

    shape: tuple[int, ...] = ()
    format: str = "auto"

    def picture(self, width: int, height: int) -> Picture:
        """Of frames of this size: as wanted, else as they are."""
        if self.shape:
            return Picture("rgb24" if len(self.shape) == 3 and self.shape[0] == 3 else "gray", self.shape)  # fmt: skip
        if self.format == "gray":
            return Picture("gray", (1, height, width))
        return Picture("rgb24", (3, height, width))


def wanted(name: str, declared: pa.Schema | None, form: str) -> Wanted:
    """The shape that is declared; raises SourceError where it is none of a picture."""
    if declared is None or FRAME not in declared.names:
        return Wanted((), form)
    kind, shape = declared.field(FRAME).type, list[int]()
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    channels = 1 if len(shape) == 2 else shape[0] if len(shape) == 3 else 0
    told = f"<{', '.join(map(str, shape))}>"
    if channels not in (1, 3) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise SourceError(
            f"`{name}`: `{FRAME}` is declared as {kind}{told if shape else ''}; "
            "declare `u8<1, height, width>` for brightness, or `u8<3, height, width>` for red, green and blue"
        )
    if form != "auto" and (form == "gray") != (channels == 1):
        raise SourceError(
            f"`{name}`: `format={form}` and `{FRAME}` of {channels} channels do not go together"
        )
    if shape[-1] * shape[-2] > MOST_PIXELS:
        raise SourceError(f"`{name}`: {told} has more than {MOST_PIXELS:,} pixels")
    return Wanted(tuple(shape), form)


__all__ = [
    "CODECS", "CONTAINERS", "FORMAT", "FRAME", "MOST_PIXELS", "Picture", "Wanted", "guarded", "library", "reason", "wanted",
]  # fmt: skip
