"""Videos that tests draw, so that each frame says its number."""

import av
import numpy as np

SIZE = (64, 48)


def pictures(count, size=SIZE):
    """Frames (height, width, 3): the left half white, the right half as bright as its number says."""
    width, height = size
    for k in range(count):
        frame = np.full((height, width, 3), (k * 6) % 256, np.uint8)
        frame[:, : width // 2] = 255
        yield frame


def write(file, count=40, *, size=SIZE, rate=10, codec="mpeg4", form=None, pixels="yuv420p", metadata=None, options=None, frames=None):  # fmt: skip
    """A clip, to a path or whatever can be written to."""
    with av.open(file, "w", format=form, options=options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.thread_count = 1
        for frame in frames if frames is not None else pictures(count, size):
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def numbers(frames):
    """Which number each frame (frames, channels, height, width) says, of the first 42."""
    return [round(float(f[0, :, -4:].mean()) / 6) for f in np.asarray(frames)]
