"""A camera: a pipe and a connection here, which go away and come back; the newest frames win."""

import contextlib
import io
import os
import socket
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from support.services import free_port, until

from flowedge.lang.errors import SourceError
from flowedge.sources.camera import Camera
from flowedge.sources.live import Bell, Shell

pytest.importorskip("av")
from support.clips import numbers, write

GRAY = pa.list_(pa.list_(pa.list_(pa.uint8(), 32), 24), 1)
DECLARED = pa.schema(
    [("frame", GRAY), ("_received", pa.timestamp("ns", "UTC")), ("_pts", pa.int64())]
)


def stream(count=30, form="mpegts", codec="mpeg2video", **more):
    """The bytes of a stream."""
    out = io.BytesIO()
    write(out, count, form=form, codec=codec, rate=25, **more)
    return out.getvalue()


class Watcher:
    """A source by itself, and what it gave."""

    def __init__(self, address, *, declared=DECLARED, **options):
        self.source = Camera(str(address), declared=declared, **{"waiting": 100, **options})
        self.source.begin(Shell(Bell(), time.time_ns), None)
        self.rows = []

    def take(self):
        for arrival in self.source.take():
            assert arrival.partition == ""
            self.rows += arrival.rows.to_pylist()

    def until(self, holds):
        def look():
            self.take()
            return holds(self)

        until(look)

    def told(self, what, least=1):
        self.until(lambda s: s.source.told().get(what, 0) >= least)
        self.take()  # what came between the last look and the news

    @property
    def numbers(self):
        return numbers([np.array(row["frame"]) for row in self.rows])

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


@contextlib.contextmanager
def writing(path, data):
    """Somebody writes into a pipe, and goes."""

    def run():
        with contextlib.suppress(BrokenPipeError), path.open("wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_pipe_is_watched_and_found_again_when_its_writer_went(tmp_path):
    pipe = tmp_path / "camera"
    with Watcher(pipe) as found:
        found.told("failed")
        os.mkfifo(pipe)
        with writing(pipe, stream()):
            found.until(lambda s: len(s.rows) == 30)
        found.told("unplugged")
        with writing(pipe, stream(10)):
            found.until(lambda s: len(s.rows) == 40)
        assert found.numbers == [*range(30), *range(10)]
        assert [row["_pts"] for row in found.rows[:3]] == [0, 40_000_000, 80_000_000]
        assert found.source.told()["connects"] == 2
        received = [row["_received"] for row in found.rows]
        assert received == sorted(received)


def served(data, port):
    """A listener that sends to the first who comes, and goes."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(data)


@pytest.mark.parametrize(("form", "codec", "pixels"), [("mpegts", "mpeg2video", "yuv420p"), ("mjpeg", "mjpeg", "yuvj420p"), ("matroska", "libx264", "yuv420p")])  # fmt: skip
def test_a_stream_of_the_network_is_watched(form, codec, pixels):
    port = free_port()
    data = stream(20, form, codec, pixels=pixels)
    server = threading.Thread(target=served, args=(data, port))
    server.start()
    with Watcher(f"tcp://127.0.0.1:{port}") as found:
        found.until(lambda s: len(s.rows) == 20)
    server.join()
    assert found.numbers == list(range(20))


def test_the_newest_frames_win_where_the_run_does_not_keep_up(tmp_path):
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    with writing(pipe, stream(40)), Watcher(pipe, waiting=3) as found:
        until(lambda: found.source.told().get("frames") == 40)
        assert found.source.nbytes == 3 * 24 * 32
        found.take()
        assert found.numbers == [37, 38, 39]
        assert found.source.told()["dropped"] == 37
        found.told("unplugged")


def test_every_nth_frame_is_taken(tmp_path):
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    with writing(pipe, stream(20)), Watcher(pipe, every=6) as found:
        found.told("unplugged")
        assert found.numbers == [0, 6, 12, 18]


def test_noise_is_counted_and_what_follows_is_seen(tmp_path):
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    noise = np.random.default_rng(1).integers(0, 256, 20_000, np.uint8).tobytes()
    with Watcher(pipe) as found:
        with writing(pipe, noise):
            found.told("failed")
        with writing(pipe, stream(20)):
            found.until(lambda s: len(s.rows) == 20)
    assert found.numbers == list(range(20))


def test_damage_inside_a_stream_costs_frames_and_not_the_stream(tmp_path):
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    data = bytearray(stream(40, "mjpeg", "mjpeg", pixels="yuvj420p"))
    third = len(data) // 3
    data[third : third + 300] = bytes(300)
    with writing(pipe, bytes(data)), Watcher(pipe) as found:
        found.told("unplugged")
    assert 35 <= len(found.rows) < 41
    assert found.numbers[-1] == 39


def test_closing_waits_for_nobody(tmp_path):
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    with Watcher(pipe, patience=1000.0):
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("rtsp://user:secret@cam/main", {}, "the address holds a password"),
        ("tcp://cam", {}, "lacks its port"),
        ("concat://a", {}, "does not begin with rtsp://"),
        ("file:///etc/passwd", {}, "does not begin with"),
        ("rtsp://cam/main", {"waiting": 0}, "`every` and `waiting` are 1 or more"),
    ],
)
def test_what_is_no_camera_is_refused(address, options, said):
    with pytest.raises(SourceError, match=said):
        Camera(address, **options)


def test_a_file_is_for_video(tmp_path):
    clip = tmp_path / "a.mp4"
    write(str(clip), 2)
    with pytest.raises(SourceError, match=r'is a recording; write `video\("'):
        Camera(str(clip))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (pa.schema([("frame", pa.list_(pa.uint8(), 9))]), r"declare `u8<1, height, width>`"),
        (pa.schema([("fram", GRAY)]), "`camera` has no `fram`"),
    ],
)
def test_what_is_no_frame_is_refused(declared, said):
    source = Camera("rtsp://cam/main", declared=declared)
    with pytest.raises(SourceError, match=said):
        source.begin(Shell(Bell(), time.time_ns), None)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_that_is_no_camera_is_looked_for_again(device):
    with Watcher(device) as found:
        found.until(lambda s: s.source.told().get("failed", 0) >= 2)
        assert not found.rows
