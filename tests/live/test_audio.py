"""Sound of pipes, connections, files and a microphone: samples by value, and what becomes of the rest."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.services import free_port, until

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import SourceError
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sources.live import Bell, Shell
from flowedge.sources.samples.clock import SampleClock, Stamp
from flowedge.sources.samples.intake import Intake
from flowedge.sources.samples.pcm import FORMATS, Form, decoded, width_of
from flowedge.sources.samples.timing import Timing
from flowedge.sources.samples.wav import samples_of
from flowedge.sources.sound import Sound

S, MS = 10**9, 10**6
START = 1_800_000_000 * S
RAMP = np.arange(-400, 400, dtype="<i2")


class Listener:
    """A source by itself, and what it gave."""

    def __init__(self, address, state=None, **options):
        self.source = Sound(str(address), **{"rate": 8000.0, **options})
        self.source.begin(Shell(Bell(), time.time_ns), state)
        self.batches = []

    def until(self, holds):
        def look():
            self.batches += [arrival.rows for arrival in self.source.take()]
            return holds(self)

        until(look)
        return self

    def samples(self, count):
        return self.until(lambda s: len(s) >= count)

    def told(self, what, least=1):
        return self.until(lambda s: s.source.told().get(what, 0) >= least)

    def __len__(self):
        return sum(b.num_rows for b in self.batches)

    def column(self, name="x"):
        return np.concatenate([b[name].to_numpy() for b in self.batches])

    @property
    def times(self):
        return np.concatenate([b["time"].cast(pa.int64()).to_numpy() for b in self.batches])

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


@pytest.fixture
def pipe(tmp_path):
    """A named pipe."""
    path = tmp_path / "mic"
    os.mkfifo(path)
    return path


@contextlib.contextmanager
def writing(path):
    """The other end of a pipe that somebody reads."""
    with path.open("wb", buffering=0) as file:
        yield file


# ---- what bytes mean


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_values_that_were_written(name):
    wanted = np.array([[-1.0, 0.5], [0.25, -0.125]])
    bits = 8 * width_of(name)
    if name[0] == "f":
        data = wanted.astype(f"{'>' if name.endswith('be') else '<'}f{bits // 8}").tobytes()
    else:
        whole = (wanted.ravel() * 2 ** (bits - 1)).astype(int) + (
            2 ** (bits - 1) if name[0] == "u" else 0
        )
        order = "big" if name.endswith("be") else "little"
        data = b"".join(int(v).to_bytes(bits // 8, order, signed=name[0] == "s") for v in whole)
    found = decoded(data, name, 2)
    assert found.tolist() == wanted.tolist()
    assert found.dtype == (np.float64 if name[:3] in ("s32", "f64") else np.float32)


def riff(*chunks):
    body = b"WAVE" + b"".join(
        name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def test_the_head_of_a_wav_is_read_in_any_pieces():
    extensible = struct.pack("<HHIIHHHHIH14x", 0xFFFE, 2, 8000, 48000, 6, 24, 22, 24, 3, 1)
    head = riff((b"LIST", b"abc"), (b"fmt ", extensible), (b"data", b""))
    wanted = Form(8000, 2, "s24le")
    for k in range(1, len(head)):
        assert samples_of(head[:k], wanted, "a") is None
    assert samples_of(head + b"\1", wanted, "a") == (len(head), -1)
    assert samples_of(b"RIFX", wanted, "a") == (0, -1)


@pytest.mark.parametrize(("chunks", "told"), [
    ([(b"data", b"")], "before it says what they are"),
    ([(b"fmt ", b"ab")], "has 2 bytes"),
    ([(b"fmt ", struct.pack("<HHIIHH", 6, 1, 8000, 8000, 1, 8))], "coding 6 with 8 bits"),
    ([(b"LIST", b"\0" * 70_000)], "no samples in its first"),
    ([(b"fmt ", struct.pack("<HHIIHH", 1, 2, 44100, 176400, 4, 16)), (b"data", b"")], "rate=44100 Hz, channels=2, format=s16le, and the pipeline asks for rate=8000 Hz"),
])  # fmt: skip
def test_a_wav_of_another_kind_or_a_damaged_one_is_refused(chunks, told):
    with pytest.raises(SourceError, match=told):
        samples_of(riff(*chunks), Form(8000, 1, "s16le"), "a")


# ---- when samples were taken


def test_times_are_counted_without_an_error_that_grows():
    clock = SampleClock(44_100)
    clock.place(START)
    for _ in range(1000):
        stamp = clock.stamp(44_100 * 1000 + 1)
    assert clock.end_ns == START + 1_000_000 * S + 1000 * S // 44_100
    assert stamp.times(2)[1] - stamp.times(2)[0] in (22_675, 22_676)
    assert Stamp(START, 44_100).times(44_101)[-1] == START + S


class Feed:
    """Blocks of 100 ms as somebody sends them, with times that the test says."""

    def __init__(self, start_ns=None):
        self.intake = Intake(Form(1000, 1, "u8"), SampleClock(1000, start_ns), lambda: None)
        self.timing = Timing(self.intake)
        self.heard = START

    def come(self, at_ns, samples=100, *, is_all=True):
        silent, self.heard = START + at_ns - self.heard, START + at_ns
        self.timing.feed(b"\x80" * samples, START + at_ns, START + at_ns, silent_ns=silent, is_all=is_all)  # fmt: skip

    def blocks(self):
        return [(b.stamp.first_ns - START, b.samples) for b in self.intake.inbox.take()]


def test_a_sender_that_stalls_and_catches_up_has_lost_nothing():
    feed = Feed()
    for at in range(100 * MS, 1100 * MS, 100 * MS):
        feed.come(at)
    feed.come(3000 * MS, 1500, is_all=False)
    feed.come(3001 * MS, 500)
    assert feed.intake.counts["gaps"] == 0
    assert feed.blocks()[-2:] == [(1000 * MS, 1500), (2500 * MS, 500)]


def test_what_a_pause_leaves_behind_is_a_gap_in_its_place():
    feed = Feed()
    for at in range(100 * MS, 1100 * MS, 100 * MS):
        feed.come(at)
    for at in range(3000 * MS, 4000 * MS, 100 * MS):
        feed.come(at)
    found = feed.blocks()
    assert found[9] == (900 * MS, 100)
    assert found[10] == (2900 * MS, 100)
    assert found[-1] == (3800 * MS, 100)
    assert feed.intake.counts == {"gaps": 1, "missing_ms": 1900}


def test_what_is_held_back_behind_a_stall_comes_when_nothing_else_does():
    feed = Feed()
    feed.come(100 * MS)
    feed.come(2000 * MS)
    assert feed.blocks() == [(0, 100)]
    feed.timing.settle(START + 2400 * MS)
    assert feed.blocks() == []
    feed.timing.settle(START + 2600 * MS)
    assert feed.blocks() == [(1900 * MS, 100)]


def test_times_never_go_back_when_another_sends():
    feed = Feed()
    feed.come(1000 * MS, 1000)
    feed.timing.begin()
    feed.come(1050 * MS, 1000)
    assert feed.blocks() == [(0, 1000), (1000 * MS, 1000)]
    assert feed.intake.counts["gaps"] == 0


def test_who_is_too_fast_is_made_to_wait_once_a_second_ahead():
    feed = Feed()
    feed.come(100 * MS)
    feed.come(110 * MS, 1000, is_all=False)
    assert feed.timing.ahead_ns(START + 120 * MS) == -20 * MS
    feed.come(130 * MS, 1000, is_all=False)
    assert feed.timing.ahead_ns(START + 140 * MS) == 960 * MS


@pytest.mark.parametrize("ppm", [-3000, -150, 150, 3000])
def test_a_clock_that_runs_off_is_told_and_followed(ppm):
    clock = SampleClock(1000)
    clock.place(START)
    now, last = START, START - 1
    for _ in range(3600):  # an hour
        times = clock.stamp(1000).times(1000)
        assert times[0] > last
        assert (np.abs(np.diff(times, prepend=times[0] - 1_000_000) - 1_000_000) < 2000).all()
        last = times[-1]
        now += round(S / (1 + ppm * 1e-6))
        clock.heard(now)
    assert abs(clock.drift_ppm - ppm) < 5
    if abs(ppm) < 1000:
        assert abs(now - clock.end_ns) < 300 * MS


# ---- pipes


def test_samples_of_a_pipe_are_a_signal_and_half_a_sample_is_counted(pipe):
    with Listener(f"pipe:{pipe}", start="1970-01-01T01:00:00Z") as found:
        with writing(pipe) as file:
            file.write(RAMP.tobytes()[:801])
            found.samples(400)
            file.write(RAMP.tobytes()[801:] + b"\7")
            found.samples(800)
        found.told("ends")
        assert found.source.told() == {"ends": 1, "cut_bytes": 1}
    assert (found.column() == RAMP / np.float32(32768)).all()
    assert (found.times == 3600 * S + np.arange(800) * 125_000).all()


def test_the_first_sample_was_taken_just_before_it_came(pipe):
    before = time.time_ns()
    with Listener(pipe) as found:
        with writing(pipe) as file:
            file.write(RAMP.tobytes())
        found.samples(800)
    assert before - S // 10 <= found.times[0] <= time.time_ns() - S // 10
    assert (np.diff(found.times) == 125_000).all()


def test_another_writer_goes_on_behind_a_gap_and_begins_with_a_whole_sample(pipe):
    with Listener(pipe) as found:
        with writing(pipe) as file:
            file.write(RAMP.tobytes() + b"\1")
        found.samples(800).told("ends")
        time.sleep(0.2)
        with writing(pipe) as file:
            file.write(RAMP.tobytes())
        found.samples(1600)
        told = found.source.told()
    assert (found.column()[800:] == RAMP / np.float32(32768)).all()
    assert told["gaps"] == 1
    steps = np.diff(found.times)
    assert steps.argmax() == 799
    assert abs(steps[799] - told["missing_ms"] * MS) <= MS


def test_a_pipe_that_is_not_there_yet_is_looked_for(tmp_path):
    with Listener(f"pipe:{tmp_path}/later") as found:
        os.mkfifo(tmp_path / "later")
        with writing(tmp_path / "later") as file:
            file.write(RAMP.tobytes())
        found.samples(800)


def test_silence_is_samples_too_and_channels_stand_side_by_side(pipe):
    with Listener(pipe, channels=2, format="f32le", names=("left", "right")) as found:
        with writing(pipe) as file:
            file.write(np.array([[0, 1], [0, -1], [0, np.nan]], "<f4").tobytes())
        found.samples(3)
    assert found.source.schema().names == ["time", "left", "right"]
    assert found.column("left").tolist() == [0, 0, 0]
    np.testing.assert_array_equal(found.column("right"), [1, -1, np.nan])


def test_a_wav_that_is_streamed_gives_its_samples_or_says_what_differs(pipe):
    form = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))
    stream = riff(form, (b"data", b""))[:-4] + b"\xff\xff\xff\xff" + RAMP.tobytes()
    with Listener(pipe) as found:
        with writing(pipe) as file:
            for k in range(0, 60, 7):
                file.write(stream[k : k + 7])
                time.sleep(0.001)
            file.write(stream[63:])
        found.samples(800)
    assert (found.column() == RAMP / np.float32(32768)).all()
    with Listener(pipe, rate=16000.0) as found:
        with writing(pipe) as file:
            file.write(stream)
        with pytest.raises(SourceError, match="is a WAV of rate=8000 Hz"):
            found.samples(1)


def test_a_writer_that_is_too_fast_waits_and_none_of_its_samples_is_lost(pipe):
    data = np.arange(40_000, dtype="<u2").astype("<i2")
    with Listener(pipe, rate=10_000.0) as found:

        def write():
            with writing(pipe) as file:
                file.write(b"".join([data[:1000].tobytes()]))
                time.sleep(0.05)
                file.write(data[1000:].tobytes())

        writer = threading.Thread(target=write)
        writer.start()
        found.samples(40_000)
        writer.join()
        assert found.source.told()["held_up_ms"] > 0
        assert found.times[-1] < time.time_ns() + 2 * S
    assert (found.column() == data / np.float32(32768)).all()


def test_who_has_a_start_is_read_as_fast_as_it_comes(pipe):
    with Listener(pipe, start="2026-01-01T00:00:00+01:00", rate=1000.0) as found:
        with writing(pipe) as file:
            file.write(b"\0\0" * 30_000)
        found.samples(30_000)
    assert found.times[0] == 1_767_222_000 * S
    assert found.times[-1] - found.times[0] == 29_999 * MS


# ---- connections, files, and what cannot be


@pytest.mark.parametrize("mode", ["listen", "connect"])
def test_samples_come_over_tcp_one_sender_after_the_other(mode):
    port = free_port()
    server = None if mode == "listen" else socket.create_server(("127.0.0.1", port))
    with Listener(f"tcp://127.0.0.1:{port}", mode=mode) as found:
        for k in (1, 2):
            with (
                server.accept()[0] if server else socket.create_connection(("127.0.0.1", port))
            ) as sock:
                sock.sendall(RAMP.tobytes())
                found.samples(800 * k)
            found.told("ends", k)
    if server:
        server.close()
    assert (found.column() == np.tile(RAMP, 2) / np.float32(32768)).all()


def recording(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(RAMP.tobytes())
    with path.open("ab") as file:  # as those do who tag it
        file.write(b"LIST" + (12).to_bytes(4, "little") + b"INFOISFTab\0\0")
    return path


def test_a_file_begins_in_1970_ends_and_goes_on_behind_a_checkpoint(tmp_path):
    path = recording(tmp_path / "a.wav")
    with Listener(path) as found:
        found.until(lambda s: s.source.is_over)
        assert found.source.state() == {"samples": 800}
        assert found.source.told() == {}
    assert found.times.tolist() == list(range(0, 100_000_000, 125_000))
    assert Sound.comes_again({}, str(path))
    assert not any(Sound.comes_again({}, a) for a in ("-", "microphone:", "tcp://127.0.0.1:1", f"pipe:{path}"))  # fmt: skip
    with Listener(path, {"samples": 790}) as found:
        found.until(lambda s: s.source.is_over)
    assert (found.column() == RAMP[790:] / np.float32(32768)).all()
    assert found.times[0] == 790 * 125_000


@pytest.mark.parametrize(("address", "options", "told"), [
    ("", {}, "lacks its address"),
    ("nowhere.raw", {}, "no such file or directory; a pipe that will be there is `pipe:nowhere.raw`"),
    ("pipe:p", {"rate": 0.5}, "a rate of 0.5 Hz"),
    ("pipe:p", {"rate": 44100.5}, "whole number"),
    ("pipe:p", {"channels": 0}, "0 channels"),
    ("pipe:p", {"names": ("a", "b")}, "`names` gives each of 1 channels"),
    ("pipe:p", {"channels": 2, "names": ("a", "time")}, "none is `time`"),
    ("pipe:p", {"format": "mp3"}, "format"),
    ("pipe:p", {"start": "noon"}, "an instant such as"),
    ("tcp://127.0.0.1", {}, "lacks its port"),
    ("microphone:", {"format": "f64le"}, "not f64le"),
])  # fmt: skip
def test_what_cannot_be_is_said(address, options, told):
    if address == "microphone:":
        pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))
    with pytest.raises(SourceError, match=told):
        Listener(address, **options)


PIPELINE = """
param sound = "-"
source mic (x: f32) at 8 kHz from sound("{sound}", rate=8 kHz)
sink mic | window 80 samples | aggregate min(x) * 32768 as low, count() as n to csv("out.csv")
"""


def test_a_run_hears_standard_input_to_its_end(tmp_path):
    (tmp_path / "a.flow").write_text(PIPELINE)
    found = subprocess.run(
        [sys.executable, "-m", "flowedge", "run", "a.flow"], cwd=tmp_path,
        input=RAMP.tobytes(), capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert lows(tmp_path / "out.csv") == list(range(-400, 400, 80))


def lows(path):
    return [int(row.split(",")[2]) for row in path.read_text().splitlines()[1:]]


def test_a_run_reads_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "a.wav")
    report = Run(compile_flow(text=PIPELINE, params={"sound": "a.wav"}))()
    assert report.rows_in == 800
    assert lows(tmp_path / "out.csv") == list(range(-400, 400, 80))


@pytest.mark.parametrize(("text", "told"), [
    (PIPELINE.replace("at 8 kHz", "at 16 kHz"), "declared at 16000 Hz"), (PIPELINE.replace("8 kHz", "16 kHz"), "is a WAV of rate=8000 Hz"),
])  # fmt: skip
def test_check_says_that_a_rate_is_another_one(text, told, tmp_path):
    recording(tmp_path / "a.wav")
    with pytest.raises(FlowError) as raised:
        compile_flow(text=text, params={"sound": str(tmp_path / "a.wav")})
    assert told in raised.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("name", "told"), [("a.raw", "is a file and no pipe"), ("", "[Ii]s a directory")]
)
def test_what_is_no_pipe_is_said(name, told, tmp_path):
    (tmp_path / "a.raw").write_bytes(RAMP.tobytes())
    with Listener(f"pipe:{tmp_path}/{name}") as found, pytest.raises(SourceError, match=told):
        found.samples(1)


def test_who_hangs_up_at_once_is_not_asked_at_once_again():
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)) as server,
        Listener(f"tcp://127.0.0.1:{port}", mode="connect") as found,
    ):
        for _ in range(4):
            server.accept()[0].close()
        found.told("ends", 4)
        with server.accept()[0] as sock:
            sock.sendall(RAMP.tobytes())
            found.samples(800)
    assert (found.column() == RAMP / np.float32(32768)).all()


# ---- a microphone


def test_an_overrun_is_a_gap_and_so_is_what_nobody_took():
    intake = Intake(Form(1000, 1, "u8"), SampleClock(1000), lambda: None)

    def come(at_ms, *, has_lost=False):
        intake.put_taken(b"\x80" * 100, START + at_ms * MS, START, has_lost=has_lost)

    for at in (0, 103, 198):  # as blocks are called back, not quite in time
        come(at)
    come(340, has_lost=True)
    assert [(b.stamp.first_ns - START) // MS for b in intake.inbox.take()] == [0, 100, 200, 340]
    intake.inbox.put_all([], 1 << 30)
    come(440)
    intake.inbox.take()
    come(540)
    assert [(b.stamp.first_ns - START) // MS for b in intake.inbox.take()] == [540]
    assert +intake.counts == {"overruns": 1, "gaps": 2, "missing_ms": 140, "lost_samples": 100}


CARD = """
pcm.!default {{ type file slave.pcm "null" file "/dev/null" infile "{path}" format raw }}
"""
LISTEN = """
import sys, time
from flowedge.lang.errors import SourceError
from flowedge.sources.live import Bell, Shell
from flowedge.sources.sound import Sound

source = Sound(f"microphone:{sys.argv[1]}", rate=8000.0)
try:
    source.begin(Shell(Bell(), time.time_ns), None)
except SourceError as error:
    print(error)
    sys.exit(3)
found, until = [], time.monotonic() + 60
while len(found) < 500 and time.monotonic() < until:
    time.sleep(0.01)
    for arrival in source.take():
        found += (arrival.rows["x"].to_numpy() * 32768).astype(int).tolist()
source.close()
print(found[:500] == [k % 1000 for k in range(500)])
"""


def listened(tmp_path, name):
    """What a process hears whose sound card is a file, through PortAudio and ALSA."""
    pytest.importorskip("sounddevice", reason="sounddevice or PortAudio is not there", exc_type=(ImportError, OSError))  # fmt: skip
    system = Path("/usr/share/alsa/alsa.conf")
    if not system.exists():
        pytest.skip("ALSA has no configuration here (the package libasound2-data)")
    (tmp_path / "ramp.raw").write_bytes((np.arange(400_000) % 1000).astype("<i2").tobytes())
    (tmp_path / "asound.conf").write_text(CARD.format(path=tmp_path / "ramp.raw"))
    return subprocess.run(
        [sys.executable, "-c", LISTEN, name], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "ALSA_CONFIG_PATH": f"{system}:{tmp_path}/asound.conf"},
    )  # fmt: skip


def test_a_microphone_gives_what_its_card_records(tmp_path):
    found = listened(tmp_path, "")
    assert found.stdout == "True\n", found.stderr


def test_a_microphone_that_is_not_there_is_told_with_those_that_are(tmp_path):
    found = listened(tmp_path, "hw:9")
    assert found.returncode == 3, found.stderr
    assert "cannot open the microphone `hw:9`" in found.stdout
    assert "there are `default`" in found.stdout
