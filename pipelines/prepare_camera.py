"""Draw the clip that `camera.flow` reads: a floor that is empty, and things that come, stop, and go.

The pictures are drawn, not filmed: a floor with an uneven light and grain, a rectangle or a disc that crosses it. So each frame's
truth is known, and nobody is in the picture. Another seed gives other floors, things and moves.

Run:  python pipelines/prepare_camera.py [DIRECTORY]        (default: data; writes camera.mp4 and camera_truth.csv)
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE_HZ = 160, 120, 10
LABELS = ("empty", "moving", "still")
START = "2024-05-01T10:00:00.000000Z"


def scene(seed: int, count: int) -> Iterator[tuple[np.ndarray, str]]:
    """Frames (height, width) of brightness, and what is seen in each."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    slope = draw.uniform(-0.3, 0.3, 2)
    floor = draw.uniform(70, 170) + slope[0] * (x - WIDTH / 2) + slope[1] * (y - HEIGHT / 2)
    floor += np.repeat(np.repeat(draw.normal(0, 4, (HEIGHT // 8, WIDTH // 8)), 8, 0), 8, 1)
    for place, half, is_disc, shade, label in walk(draw, count):
        frame = floor + draw.normal(0, 1.5)  # the lamp flickers
        if place is not None:
            dx, dy = x - place[0], y - place[1]
            inside = dx**2 + dy**2 < half**2 if is_disc else np.maximum(abs(dx), abs(dy)) < half
            frame = np.where(inside, frame + shade, frame)
        yield np.clip(frame + draw.normal(0, 3, frame.shape), 0, 255).astype(np.uint8), label


def walk(draw: np.random.Generator, count: int) -> Iterator[tuple]:
    """Where the thing is in each frame, its half width, whether it is a disc, how much brighter it is, and the label."""
    done = 0
    while done < count:
        for _ in range(int(draw.integers(8, 40))):
            yield None, 0.0, False, 0.0, "empty"
            done += 1
        half, is_disc = draw.uniform(8, 20), bool(draw.integers(2))
        shade = draw.uniform(45, 80) * draw.choice([-1, 1])
        start, end = (-half, WIDTH + half) if draw.integers(2) else (WIDTH + half, -half)
        stop, level = draw.uniform(0.25, 0.75) * WIDTH, draw.uniform(0.3, 0.7) * HEIGHT
        steps = [stop - start, end - stop]
        at = start
        for leg, (way, waits) in enumerate(zip(steps, (draw.integers(8, 40), 0), strict=True)):
            speed = draw.uniform(25, 70) / RATE_HZ
            number = max(2, round(abs(way) / speed))
            for _ in range(number):
                at += way / number
                is_seen = -half / 2 < at < WIDTH + half / 2
                yield (at, level), half, is_disc, shade, "moving" if is_seen else "empty"
                done += 1
            for _ in range(int(waits) if leg == 0 else 0):
                yield (at, level), half, is_disc, shade, "still"
                done += 1


def write(path: Path, seed: int, count: int) -> list[str]:
    """Encode a clip (MPEG-4, 10 frames/s); returns what is seen in each frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = []
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = START
        stream = container.add_stream("mpeg4", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.thread_count = 600_000, 1
        for number, (frame, label) in enumerate(scene(seed, count)):
            if number == count:
                break
            truth.append(label)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, "gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return truth


def prepare(directory: Path, seed: int = 1, count: int = 1200) -> list[Path]:
    """Write ``camera.mp4``, two minutes, and ``camera_truth.csv``; returns their paths."""
    clip, told = directory / "camera.mp4", directory / "camera_truth.csv"
    truth = write(clip, seed, count)
    told.write_text("frame,seen\n" + "".join(f"{n},{label}\n" for n, label in enumerate(truth)))
    return [clip, told]


if __name__ == "__main__":
    for written in prepare(Path(sys.argv[1] if len(sys.argv) > 1 else "data")):
        print(f"wrote {written}")
