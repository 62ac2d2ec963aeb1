"""Video files: the frames that were written, with their times, from any position on; what is no video is refused."""

import struct
import zlib
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import SourceError
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sources.contract import Position
from flowedge.sources.video import Video

pytest.importorskip("av")
from support.clips import numbers, pictures, write

CREATED = 1_714_557_600_000_000_000
"""2024-05-01T10:00:00Z [ns]."""


def kind(*shape):
    out = pa.uint8()
    for length in reversed(shape):
        out = pa.list_(out, length)
    return out


def declared(*shape):
    return pa.schema([("time", pa.timestamp("ns", "UTC")), ("frame", kind(*shape))])


def frames_of(batch):
    column, shape = batch["frame"] if isinstance(batch, pa.Table) else batch.column("frame"), []
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        column = column.flatten()
    return column.to_numpy().reshape(-1, *shape)


def times_of(table):
    return table["time"].cast(pa.int64()).to_pylist()


def read(source, columns=None, start=None):
    return pa.Table.from_batches([batch for batch, _ in source.batches(columns, None, start)])


def complaint(path, **options):
    def whole():
        source = Video(str(path), **options)
        source.schema()
        read(source)

    with pytest.raises(SourceError) as caught:
        whole()
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")
    return text


KINDS = {
    "mp4": {"codec": "mpeg4"},
    "mov": {"codec": "libx264"},
    "mkv": {"codec": "libx264"},
    "avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "ts": {"codec": "mpeg2video", "rate": 25},
    "webm": {"codec": "libvpx"},
}


@pytest.mark.parametrize("ending", KINDS)
def test_frames_come_out_with_their_times(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    write(str(path), 20, **KINDS[ending])
    source = Video(str(path))
    table = read(source)
    step = 10**9 // KINDS[ending].get("rate", 10)
    assert table.schema.equals(source.schema())
    assert times_of(table) == [k * step for k in range(20)]
    found = frames_of(table)
    assert found.shape == (20, 3, 48, 64)
    assert numbers(found) == list(range(20))
    assert found[:, :, :, :16].min() > 240


def test_what_no_encoder_touched_comes_bit_by_bit_in_the_order_red_green_blue(tmp_path):
    path = tmp_path / "a.mkv"
    drawn = list(np.random.default_rng(1).integers(0, 256, (5, 48, 64, 3), np.uint8))
    write(str(path), codec="ffv1", pixels="bgr0", frames=drawn)
    np.testing.assert_array_equal(frames_of(read(Video(str(path)))), np.stack(drawn).transpose(0, 3, 1, 2))  # fmt: skip


def test_the_declared_shape_scales_and_says_the_format(tmp_path):
    path = tmp_path / "a.mkv"
    write(str(path), 3, codec="ffv1", pixels="bgr0")
    whole = frames_of(read(Video(str(path), format="gray")))
    assert whole.shape == (3, 1, 48, 64)
    small = frames_of(read(Video(str(path), declared=declared(1, 12, 16))))
    assert small.shape == (3, 1, 12, 16)
    means = whole.reshape(3, 12, 4, 16, 4).mean((2, 4))
    assert np.abs(small[:, 0, :, 2:6] - means[:, :, 2:6]).max() <= 1
    assert np.abs(small[:, 0, :, 10:14] - means[:, :, 10:14]).max() <= 1
    flat = frames_of(read(Video(str(path), declared=declared(12, 16))))
    np.testing.assert_array_equal(flat, small[:, 0])
    assert frames_of(read(Video(str(path), declared=declared(3, 96, 100)))).shape == (3, 3, 96, 100)


def test_the_time_counts_from_when_the_file_was_made(tmp_path):
    path = tmp_path / "a.mp4"
    write(str(path), 3, metadata={"creation_time": "2024-05-01T10:00:00.000000Z"})
    assert times_of(read(Video(str(path)), ["time"])) == [CREATED, CREATED + 10**8, CREATED + 2 * 10**8]  # fmt: skip
    write(str(path), 3, metadata={"creation_time": "some day"})
    assert times_of(read(Video(str(path)), ["time"])) == [0, 10**8, 2 * 10**8]


def test_every_nth_frame_is_a_row(tmp_path):
    path = tmp_path / "a.mp4"
    write(str(path), 20)
    source = Video(str(path), every=6)
    assert numbers(frames_of(read(source))) == [0, 6, 12, 18]
    assert numbers(frames_of(read(source, start=Position(0, 2)))) == [12, 18]


@pytest.mark.parametrize("ending", KINDS)
def test_reading_goes_on_from_any_frame(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    write(str(path), 30, **KINDS[ending])
    source = Video(str(path))
    whole = read(source)
    for row in (1, 11, 29):
        assert read(source, start=Position(0, row)).equals(whole.slice(row))
    assert list(source.batches(start=Position(0, 30))) == []


def test_batches_are_small_where_frames_are_large(tmp_path):
    path = tmp_path / "a.mp4"
    write(str(path), 5, size=(1280, 720))
    found = [(batch.num_rows, position.row) for batch, position in Video(str(path)).batches()]
    assert found == [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]


def test_files_follow_one_another_in_one_shape(tmp_path):
    write(str(tmp_path / "x_a.mp4"), 3, size=(64, 48))
    write(str(tmp_path / "x_b.mp4"), 2, size=(96, 80))
    source = Video(str(tmp_path / "x_{cam}.mp4"), declared=declared(1, 12, 16))
    table = read(source)
    assert table["cam"].cast(pa.string()).to_pylist() == ["a", "a", "a", "b", "b"]
    assert numbers(frames_of(table)) == [0, 1, 2, 0, 1]
    assert "column `frame` is" in complaint(tmp_path / "x_{cam}.mp4")


def test_one_frame_and_odd_sizes(tmp_path):
    path = tmp_path / "a.mkv"
    drawn = list(np.random.default_rng(2).integers(0, 256, (1, 33, 17, 3), np.uint8))
    write(str(path), codec="ffv1", pixels="bgr0", size=(17, 33), frames=drawn)
    table = read(Video(str(path)))
    np.testing.assert_array_equal(frames_of(table)[0], drawn[0].transpose(2, 0, 1))
    assert frames_of(read(Video(str(path), declared=declared(3, 1, 1)))).shape == (1, 3, 1, 1)


# ---- what is refused


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    for ending in ("mp4", "mov", "avi", "mkv", "webm"):
        path = tmp_path / f"a.{ending}"
        front = {"options": {"movflags": "faststart"}} if ending in ("mp4", "mov") else {}
        write(str(path), 40, **KINDS[ending], **front)
        data = path.read_bytes()
        for share in (0.5, 0.9, 0.999):
            path.write_bytes(data[: int(len(data) * share)])
            assert "cut short" in complaint(path)


@pytest.mark.parametrize("ending", ["mp4", "avi", "ts"])
def test_damage_inside_is_told_with_the_frame(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    drawn = list(np.random.default_rng(3).integers(0, 256, (40, 48, 64, 3), np.uint8))
    write(str(path), frames=drawn, **KINDS[ending])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)
    path.write_bytes(bytes(data))
    assert "is damaged behind frame" in complaint(path)


@pytest.mark.parametrize("data", [b"x", b"\0" * 5000, b"time,v\n1,2\n" * 500, np.random.default_rng(4).bytes(20_000), b"RIFF\xff\xff\xff\xffAVI ", b"\0\0\0\x18ftypmp42"])  # fmt: skip
def test_what_is_no_video_is_refused(data, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert complaint(path).startswith(f"`{path}` ")


def test_sound_alone_is_no_video(tmp_path):
    import av  # noqa: PLC0415

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    assert complaint(path) == f"`{path}` holds no video"


@pytest.mark.parametrize("text", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {secret}\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 33\n",
])  # fmt: skip
def test_a_playlist_opens_no_other_file_or_host(text, tmp_path):
    write(str(tmp_path / "secret.mp4"), 3)
    path = tmp_path / "a.mp4"
    path.write_text(text.format(secret="secret.mp4"))
    assert "is no readable video" in complaint(path)
    assert "is no readable video" in complaint(path, trusted=True)


def png(width, height):
    """A picture that claims a size, and has next to nothing in it."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")  # fmt: skip


def test_a_frame_larger_than_memory_is_refused_before_it_is_made(tmp_path):
    import av  # noqa: PLC0415

    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        packet = av.Packet(png(60_000, 60_000))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 10)
        container.start_encoding()
        container.mux(packet)
    assert "is damaged behind frame 0" in complaint(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every 0th frame"),
        ({"format": "bgr"}, 'option `format` cannot be "bgr"'),
        ({"declared": declared(4, 12, 16)}, "declared as uint8<4, 12, 16>; declare `u8<1, height, width>`"),
        ({"declared": pa.schema([("frame", pa.string())])}, "declared as string; declare"),
        ({"declared": declared(1, 12, 16), "format": "rgb24"}, "do not go together"),
        ({"declared": declared(1, 100_000, 100_000)}, "has more than 67,108,864 pixels"),
    ],
)  # fmt: skip
def test_what_cannot_be_wanted_is_refused(options, said, tmp_path):
    path = tmp_path / "a.mp4"
    write(str(path), 2)
    assert said in complaint(path, **options)


def test_a_stream_is_for_camera():
    assert 'write `camera("rtsp://…")`' in complaint("rtsp://10.0.0.7/main")


# ---- in a pipeline


def test_a_pipeline_keeps_frames_and_their_times(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.mkv", codec="ffv1", pixels="bgr0", frames=list(pictures(30)))
    text = """
source cam (time, frame: u8<1, 6, 8>) at 10 Hz from video("a.mkv", every=1)
sink cam to arrow("out.arrow")
"""
    report = Run(compile_flow(text=text))()
    assert report.rows_in == 30
    with pa.ipc.open_file("out.arrow") as file:
        table = file.read_all()
    assert times_of(table) == [k * 10**8 for k in range(30)]
    assert numbers(frames_of(table)) == list(range(30))


def test_shapes_that_differ_are_told_by_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.mp4", 2)
    plan = compile_flow(text='source cam (time, frame: u8<5, 6, 8>) from video("a.mp4")\nsink cam to arrow("o.arrow")\n')  # fmt: skip
    with pytest.raises(SourceError, match="declare `u8<1, height, width>`"):
        Run(plan)()


@pytest.mark.parametrize(("field", "stage"), [
    ("frame: u8<3, 48, 64>", "derive x = frame / 255"), ("frame: u8<3, 48, 64>", "where frame[0] > 3"),
    ("frame: u8<3, 48, 64>", "window 1 s | aggregate mean(frame) as m"), ("x: f32<3, 48, 64> = frame / 255", "select x"),
])  # fmt: skip
def test_pictures_are_for_models_and_not_for_expressions(field, stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.mp4", 2)
    with pytest.raises(FlowError) as caught:
        compile_flow(text=f'source cam (time, {field}) from video("a.mp4")\nsink cam | {stage} to arrow("o.arrow")\n')  # fmt: skip
    assert [d.code for d in caught.value.diagnostics if d.severity == "error"] == ["FE290"]
