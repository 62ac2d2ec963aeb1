"""`simulate.imu`: a worn motion sensor."""

import math

import numpy as np
import pyarrow as pa

from flowedge.sources.contract import connector
from flowedge.sources.simulate import BLOCK, SECONDS, SEED, Simulator, array_of
from flowedge.types.connectors import Option, Signature


@connector("simulate.imu")
class SimulatedImu(Simulator):
    """Simulate a worn motion sensor: standing, walking and running take turns of ten seconds.

    Gravity, a step rhythm with its harmonics, and noise; acceleration and rate of turn in three axes.
    """

    options = Signature((
        SECONDS, SEED, Option("rate", "frequency", 50.0, "samples per second [Hz]"), Option("noise", "number", 0.2, "of acceleration [m/s^2]"),
    ))  # fmt: skip

    def schema(self) -> pa.Schema:
        """Acceleration and rate of turn."""
        three = pa.list_(pa.float32(), 3)
        return self._schema([("acc", three, "m/s^2"), ("gyro", three, "rad/s")])

    def block(self, k: int) -> pa.RecordBatch | None:
        """Block k of samples."""
        rate = float(self.given["rate"])
        total = int(float(self.given["seconds"]) * rate)
        count = min(BLOCK, total - k * BLOCK)
        if count <= 0:
            return None
        t = (np.arange(BLOCK) + k * BLOCK) / rate
        turn = (t // 10).astype(np.int64)
        lots = {int(n): int(self._draw(int(n), 2).integers(0, 3)) for n in np.unique(turn)}
        what = np.array([lots[int(n)] for n in turn])
        pace, size = np.array([0.0, 1.9, 2.8])[what], np.array([0.0, 2.5, 9.0])[what]
        draw = self._draw(k)
        phase = 2 * math.pi * pace * t
        noise = float(self.given["noise"])
        acc = np.stack(
            [
                0.4 * size * np.sin(phase / 2),
                0.3 * size * np.sin(phase + 0.7),
                9.81 + size * np.sin(phase) + 0.3 * size * np.sin(2 * phase),
            ],
            axis=1,
        )
        gyro = np.stack(
            [
                0.2 * size * np.cos(phase / 2),
                0.1 * size * np.sin(phase),
                0.05 * size * np.cos(phase),
            ],
            axis=1,
        )
        acc = (acc + noise * draw.standard_normal((BLOCK, 3)))[:count]
        gyro = (gyro + 0.1 * noise * draw.standard_normal((BLOCK, 3)))[:count]
        lists = [
            pa.FixedSizeListArray.from_arrays(
                array_of(v.astype(np.float32).ravel(), pa.float32()), 3
            )
            for v in (acc, gyro)
        ]
        return pa.RecordBatch.from_arrays(lists, schema=self.schema())
