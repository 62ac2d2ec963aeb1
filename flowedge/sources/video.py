"""Recorded video: a row for each frame, through PyAV."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Predicate, connector
from flowedge.sources.files import FileSource
from flowedge.sources.pictures import (
    FORMAT,
    FRAME,
    MOST_PIXELS,
    Picture,
    guarded,
    library,
    reason,
    wanted,
)
from flowedge.types.connectors import Option, Signature

_BATCH_BYTES = 4 << 20
"""Of the frames of a batch, or one frame."""
_STAMP = pa.timestamp("ns", "UTC")


@connector("video")
class Video(FileSource):
    """Read a video file, a row for each frame: ``video("clip.mp4")``.

    A row has ``time`` and ``frame``, u8 of shape (3, height, width), or (1, height, width) under ``format=gray``. Where the
    pipeline declares another size (``frame: u8<1, 48, 64>``), frames are scaled to it. The time is what the file says of the frame,
    counted from its creation time, or from 1970 where it has none. ``every=N`` takes each N-th frame, from the first on.

    A run that goes on decodes what lies before again, so that it sees the same pictures. Files in MP4, MOV, AVI and Matroska that are
    cut short are refused; other containers do not say how long they should be. Containers and decoders are those of cameras
    and recorders (``trusted=true`` lets any decoder at the file); other files and hosts are never opened.
    """

    extra = "video"
    converts = True
    options = Signature((FORMAT, Option("every", "integer", 1, "frames from one row to the next")))

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        if "://" in address:
            raise SourceError(
                f'`video` reads files; for a stream that goes on write `camera("{address.partition("://")[0]}://…")`'
            )
        if self.given["every"] < 1:
            raise SourceError(f"`video` cannot take every {self.given['every']}th frame; give 1 or more")  # fmt: skip

    def schema_of(self, path: str) -> pa.Schema:
        """``time`` and ``frame``, in the shape that is declared, else of the file."""
        with self._open(path) as (_, stream):
            picture = self._picture(path, stream)
        return pa.schema([pa.field("time", _STAMP), pa.field(FRAME, picture.kind)])

    def _picture(self, path: str, stream: Any) -> Picture:  # noqa: ANN401
        """How frames are laid out; raises SourceError."""
        found = stream.codec_context
        if not (found.width and found.height):
            raise SourceError(f"`{path}` does not say how large its frames are; it is damaged")
        if found.width * found.height > MOST_PIXELS:
            raise SourceError(
                f"`{path}` says that a frame has {found.width} by {found.height} pixels, and {MOST_PIXELS:,} is the limit"
            )
        return wanted(self.name, self.declared, self.given["format"]).picture(found.width, found.height)  # fmt: skip

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Batches of some frames each."""
        _check_length(path)
        with self._open(path) as (container, stream):
            picture = self._picture(path, stream)
            schema = pa.schema([pa.field("time", _STAMP), pa.field(FRAME, picture.kind)])
            names = schema.names if columns is None else columns
            most = min(BATCH_ROWS, max(1, _BATCH_BYTES // picture.nbytes))
            times: list[int] = []
            frames: list[Any] = []

            def batch() -> pa.RecordBatch:
                made = {
                    "time": pa.array(times, pa.int64()).cast(_STAMP),
                    FRAME: picture.column(frames) if FRAME in names else None,
                }
                out = pa.RecordBatch.from_arrays(
                    [made[n] for n in names], schema=pa.schema([schema.field(n) for n in names])
                )
                times.clear()
                frames.clear()
                return out

            stamps = _Stamps(path, container, stream)
            number = -1
            for number, frame in enumerate(self._frames(path, container, stream)):
                at = stamps.of(frame)
                if number % self.given["every"] or number // self.given["every"] < skip:
                    continue
                times.append(at)
                if FRAME in names:
                    frames.append(_pixels(path, number, picture, frame))
                if len(times) == most:
                    yield batch()
            if number < 0:
                raise SourceError(f"`{path}` holds no frames")
            if times:
                yield batch()

    def _frames(self, path: str, container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
        """Every frame in the order in which it is seen; raises SourceError at the first that is damaged."""
        av = library(self.name)
        number = 0
        try:
            for packet in container.demux(stream):
                frames = packet.decode()
                if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                    raise SourceError(
                        f"`{path}` is damaged behind frame {number}; restore it from a good copy"
                    )
                yield from frames
                number += len(frames)
        except av.FFmpegError as error:
            raise SourceError(
                f"`{path}` is damaged behind frame {number} ({reason(error)}); restore it from a good copy"
            ) from None

    @contextlib.contextmanager
    def _open(self, path: str) -> Iterator[tuple[Any, Any]]:
        """The container and its first video stream; raises SourceError."""
        av = library(self.name)
        options = guarded("file")
        if self.given["trusted"]:
            del options["codec_whitelist"]
        try:
            found = av.open(f"file:{path}", options=options, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise SourceError(f"`{path}` is no readable video ({reason(error)})") from None
        with found as container:
            if not container.streams.video:
                raise SourceError(f"`{path}` holds no video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise SourceError(f"`{path}` is in a format that is not read; write it anew, for example as H.264, or say `trusted=true`")  # fmt: skip
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS), "err_detect": "explode"}
            yield container, stream


def _pixels(path: str, number: int, picture: Picture, frame: Any) -> Any:  # noqa: ANN401
    """A frame as the column has it; raises SourceError."""
    try:
        return picture.pixels(frame)
    except (library(Video.name).FFmpegError, ValueError) as error:
        raise SourceError(f"`{path}` has a frame {number + 1} that cannot be scaled ({reason(error)})") from None  # fmt: skip


class _Stamps:
    """The time of each frame [ns since 1970, UTC].

    What the stream says, from its own start on; a frame without is one interval behind the one before.
    """

    def __init__(self, path: str, container: Any, stream: Any) -> None:  # noqa: ANN401
        self._path = path
        self._base = stream.time_base
        self._first = stream.start_time or 0
        self._start_ns = _created(container.metadata, stream.metadata)
        self._step_ns = round(10**9 / stream.average_rate) if stream.average_rate else 0
        self._last: int | None = None

    def of(self, frame: Any) -> int:  # noqa: ANN401
        """Of the next frame; raises SourceError."""
        base = frame.time_base or self._base
        if frame.pts is not None and base:
            found = self._start_ns + round((frame.pts - self._first) * base * 10**9)
        elif self._step_ns:
            found = self._start_ns if self._last is None else self._last + self._step_ns
        else:
            raise SourceError(f"`{self._path}` has frames without a time, and says no rate; write it anew, for example as MP4")  # fmt: skip
        if not -(2**62) < found < 2**63 - 1:
            raise SourceError(f"`{self._path}` has a frame outside the years 1823 to 2262")
        self._last = found
        return found


def _created(*told: Any) -> int:  # noqa: ANN401
    """The creation time that a file says [ns since 1970]; 0: none that one can read."""
    for metadata in told:
        with contextlib.suppress(ValueError, KeyError):
            found = datetime.fromisoformat(metadata["creation_time"])
            found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            delta = found - datetime(1970, 1, 1, tzinfo=UTC)
            return (delta.days * 86_400 + delta.seconds) * 10**9 + delta.microseconds * 1000
    return 0


def _check_length(path: str) -> None:
    """Refuse a file that ends inside one of its outermost parts, which FFmpeg reads as a shorter one."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _end_of_boxes(file, size)
        elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
            end = 8 + int.from_bytes(head[4:8], "little")
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            end = _end_of_segment(file)
        else:
            return
    if end > size:
        raise SourceError(f"`{path}` is cut short: {size:,} of {end:,} bytes; copy it again")


def _end_of_boxes(file: Any, size: int) -> int:  # noqa: ANN401
    """Where the last box of an MP4 ends (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length, least = int.from_bytes(head[:4]), 8
        if length == 1:
            length, least = int.from_bytes(head[8:16]), 16
        if length == 0:  # up to the end of the file
            return size
        if length < least:  # no box: what FFmpeg makes of it is its matter
            return size
        at += length
    return at


def _end_of_segment(file: Any) -> int:  # noqa: ANN401
    """Where the segment of a Matroska file ends, 0 where it does not say (RFC 8794, 4 and 6; RFC 9559, 5.1)."""

    def number(*, keeps_marker: bool) -> int | None:
        first = file.read(1)
        if not first or not first[0]:
            return None
        more = 8 - first[0].bit_length()
        value = first[0] if keeps_marker else first[0] & ((1 << (7 - more)) - 1)
        whole = int.from_bytes(bytes([value]) + file.read(more))
        is_unknown = not keeps_marker and whole == (1 << (7 * (more + 1))) - 1
        return None if is_unknown else whole

    file.seek(4)
    length = number(keeps_marker=False)
    if length is None:
        return 0
    file.seek(length, 1)
    if number(keeps_marker=True) != 0x18538067:
        return 0
    inside = number(keeps_marker=False)
    return 0 if inside is None else int(file.tell()) + inside
