"""Frames of a camera or a stream of the network, as they come, through PyAV."""

import os
import stat
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, urlsplit

import pyarrow as pa

from flowedge.lang.errors import SecretError, SourceError
from flowedge.links.address import parse
from flowedge.links.backoff import Backoff
from flowedge.sources.byte_feed import Feed, closed, of_pipe, of_socket
from flowedge.sources.contract import connector
from flowedge.sources.inbox import Newest
from flowedge.sources.live import Arrival, LiveSource, Shell
from flowedge.sources.pictures import FORMAT, FRAME, MOST_PIXELS, Picture, guarded, library, wanted
from flowedge.types.connectors import Option, Signature
from flowedge.types.secrets import resolve

RECEIVED, STAMP = "_received", "_pts"
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp", "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls", "http": "http,tcp", "https": "https,tls,tcp,http",
    "tcp": "tcp", "udp": "udp",
}  # fmt: skip
"""What each address may speak; never files."""
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "tcp": 0, "udp": 0}
_MOST_WAIT_S = 2.0
"""Between two looks for a camera that is away."""
_DEVICES = "v4l2"
"""What libav calls Video4Linux; it may stand among other names of the same format."""


class _Seen(NamedTuple):
    """A frame that waits: its pixels, when it came, and when it was taken since the camera was found [ns]."""

    pixels: Any
    received_ns: int
    stamp_ns: int | None


@connector("camera")
class Camera(LiveSource):
    """Watch a camera or a stream: ``camera("rtsp://10.0.0.7/main")``, ``camera("/dev/video0")``.

    A row has ``frame``, u8 in the declared shape, ``<3, height, width>`` or ``<1, height, width>`` for brightness, to which frames
    are scaled. The time is ``_received``, where the source declares none; ``_pts`` is how long after the first frame since it was found the camera
    took this one [ns]. Addresses begin with ``rtsp://``, ``rtsps://``, ``http://``, ``https://``, ``tcp://`` or ``udp://``, or are
    the path of a device or a pipe.

    Where the run does not keep up, the newest `waiting` frames win, and the others are counted (``dropped``). A camera that
    goes away is looked for until it is back. One partition; what was shown while the run was stopped is gone.
    """

    extra = "video"
    converts: ClassVar[bool] = True
    received: ClassVar[str] = RECEIVED
    mistakes = "skip"
    options = Signature((
        FORMAT,
        Option("every", "integer", 1, "frames from one row to the next"),
        Option("waiting", "integer", 4, "frames that wait for the run, at most; the newest win"),
        Option("container", "text", "", "what the stream is, where it does not say so itself, such as `mpegts` or `mjpeg`"),
        Option("transport", "text", "tcp", "of rtsp", choices=("tcp", "udp")),
        Option("patience", "duration", 5.0, "without a byte, after which the camera counts as gone [s]"),
        Option("user", "text", "", "who logs in"),
        Option("password", "secret", "", "of the user"),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._thread: threading.Thread | None = None
        options = self.given
        if min(options["every"], options["waiting"]) < 1 or not options["patience"] > 0:
            raise SourceError("`camera`: `every` and `waiting` are 1 or more, and `patience` is above 0")  # fmt: skip
        try:
            self._peer = parse(address, _PORTS) if "://" in address else None
            if (
                self._peer is not None
                and self._peer.scheme in ("tcp", "udp")
                and not self._peer.port
            ):
                raise ValueError(f"`{address}` lacks its port")
        except ValueError as error:
            raise SourceError(f"`camera`: {error}") from None
        if self._peer is None and Path(address).is_file():
            raise SourceError(f'`camera`: `{address}` is a recording; write `video("{address}")`')

    def schema(self) -> pa.Schema | None:
        """The declared fields; None where nothing is declared."""
        return self.declared

    # ---- its life

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to look for the camera; raises SourceError."""
        del state
        declared = self.declared or pa.schema([])
        unknown = [name for name in declared.names if name not in (FRAME, RECEIVED, STAMP)]
        if unknown:
            raise SourceError(f"`camera` has no `{unknown[0]}`; of a frame it knows `{FRAME}`, `{RECEIVED}` and `{STAMP}`")  # fmt: skip
        wants = wanted(self.name, declared, self.given["format"])
        if FRAME in declared.names:
            self._picture: Picture | None = wants.picture(0, 0)
        else:
            self._picture = None
        self._av = library(self.name)
        self._wall = shell.wall
        self._counts: Counter[str] = Counter()
        self._closing = threading.Event()
        self._newest: Newest[_Seen] = Newest(shell.bell.ring, self.given["waiting"])
        self._url, self._options, self._format = self._how()
        self._thread = threading.Thread(target=self._run, name="flowedge-camera", daemon=True)
        self._thread.start()

    def _how(self) -> tuple[str, dict[str, str], str | None]:
        """What FFmpeg is told: address, options, format; raises SourceError."""
        given, peer = self.given, self._peer
        form: str | None = given["container"] or None
        if form is not None and form not in self._av.formats_available:
            raise SourceError(
                f"`camera`: there is no container `{form}`; `mpegts` and `mjpeg` are two"
            )
        # A stream is shown as soon as it is understood, not once five seconds of it are known.
        quick = {"analyzeduration": "500000", "rw_timeout": str(round(given["patience"] * 1e6))}
        if peer is None:
            if not stat_is(self.address, stat.S_ISCHR):
                return "", guarded("pipe", quick), form
            known = {one for names in self._av.formats_available for one in names.split(",")}
            if _DEVICES not in known:
                raise SourceError(
                    f"`camera`: this PyAV cannot read the device `{self.address}`, for its FFmpeg is built without Video4Linux; install "
                    "PyAV against the system's FFmpeg (`pip install --no-binary av av`), or let a program stream it into a pipe"
                )
            return (
                self.address,
                guarded("file"),
                _DEVICES,
            )
        try:
            password = (
                resolve(given["password"]).decode().rstrip("\r\n") if given["password"] else ""
            )
        except SecretError as error:
            raise SourceError(f"`camera` {peer}: {error}") from None
        user = given["user"] or peer.user
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        rest = urlsplit(self.address)
        where = rest.path + (f"?{rest.query}" if rest.query else "")
        if peer.scheme == "rtsp":
            quick["rtsp_transport"] = given["transport"]
        host = f"[{peer.host}]" if ":" in peer.host else peer.host
        url = f"{peer.scheme}://{login}{host}:{peer.port}{where}"
        return url, guarded(_PROTOCOLS[peer.scheme], quick), form

    # ---- in its thread

    def _run(self) -> None:
        waits = Backoff(most_s=_MOST_WAIT_S)
        while not self._closing.is_set():
            before = self._counts["frames"]
            try:
                feed = self._feed()
            except OSError:
                feed = None
                self._counts["failed"] += 1
            else:
                with suppress(OSError, ValueError, self._av.FFmpegError), closed(feed):
                    self._watch(feed)
                if self._counts["frames"] > before:
                    waits.reset()
                    self._counts["unplugged"] += not self._closing.is_set()
                else:
                    self._counts["failed"] += not self._closing.is_set()
            self._closing.wait(waits.next_s())

    def _feed(self) -> Feed | None:
        """Bytes that we read ourselves, so that closing does not wait; None: FFmpeg reads. Raises OSError."""
        patience = float(self.given["patience"])
        if self._peer is None and not self._url:
            return of_pipe(self.address, self._closing, patience)
        if self._peer is not None and self._peer.scheme == "tcp":
            return of_socket(self._peer, self._closing, patience)
        return None

    def _watch(self, feed: Feed | None) -> None:
        """Take frames until the camera goes; raises what PyAV does."""
        patience = float(self.given["patience"])
        with self._av.open(
            self._url if feed is None else feed, "r", format=self._format, options=self._options,
            metadata_errors="replace", timeout=patience,
        ) as container:  # fmt: skip
            if not container.streams.video:
                return
            stream = container.streams.video[0]
            codec = stream.codec_context
            if codec is None:  # none of the decoders that we let at it
                return
            codec.thread_type = "SLICE"  # threads for frames would hold some back
            codec.options = {"max_pixels": str(MOST_PIXELS), "flags": "low_delay"}
            self._counts["connects"] += 1
            number, first = -1, None
            for packet in container.demux(stream):
                if self._closing.is_set():
                    return
                try:
                    frames = packet.decode()
                except self._av.FFmpegError:
                    self._counts["damaged"] += 1
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        self._counts["damaged"] += 1
                        continue
                    number += 1
                    first = frame.pts if first is None else first
                    if number % self.given["every"] == 0:
                        self._put(frame, first)

    def _put(self, frame: Any, first: int | None) -> None:  # noqa: ANN401  # of PyAV
        now, stamp = self._wall(), None
        if frame.pts is not None and first is not None and frame.time_base:
            stamp = round((frame.pts - first) * frame.time_base * 10**9)
        pixels = None if self._picture is None else self._picture.pixels(frame)
        self._counts["frames"] += 1
        self._counts["dropped"] += self._newest.put(_Seen(pixels, now, stamp))

    # ---- in the thread of the run

    def take(self) -> list[Arrival]:
        """The frames that wait."""
        seen = self._newest.take()
        if not seen:
            return []
        declared = self.declared or pa.schema([])
        columns: list[pa.Array] = []
        fields: list[pa.Field] = []
        for name in declared.names:
            if name == FRAME:
                assert self._picture is not None
                columns.append(self._picture.column([one.pixels for one in seen]))
            elif name == RECEIVED:
                times = pa.array([one.received_ns for one in seen], pa.int64())
                columns.append(times.cast(pa.timestamp("ns", "UTC")))
            else:
                columns.append(pa.array([one.stamp_ns for one in seen], pa.int64()))
            fields.append(pa.field(name, columns[-1].type))
        rows = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
        return [Arrival("", rows, seen[-1].received_ns, first_ns=seen[0].received_ns)]

    @property
    def nbytes(self) -> int:
        """Bytes of the frames that wait."""
        return len(self._newest) * (0 if self._picture is None else self._picture.nbytes)

    def told(self) -> dict[str, int]:
        """Frames that came, those that were dropped or damaged, and how often the camera was found and lost."""
        return {name: count for name, count in self._counts.items() if count}

    def close(self) -> None:
        """Stop to watch; a stream that FFmpeg itself reads is waited for, `patience` at most."""
        if self._thread is not None:
            self._closing.set()
            self._thread.join()


def stat_is(path: str, kind: Any) -> bool:  # noqa: ANN401  # a function of `stat`
    """Whether what lies there, if anything does, is of a kind."""
    try:
        return bool(kind(os.stat(path).st_mode))  # noqa: PTH116
    except (OSError, ValueError):
        return False
