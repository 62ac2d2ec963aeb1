"""`simulate.vibration`: a pump whose bearing wears."""

import math

import numpy as np
import pyarrow as pa

from flowedge.sources.contract import connector
from flowedge.sources.simulate import BLOCK, SECONDS, SEED, Simulator, array_of
from flowedge.types.connectors import Option, Signature


@connector("simulate.vibration")
class SimulatedVibration(Simulator):
    """Simulate the vibration of a pump: the shaft and its harmonics, noise, and a bearing that wears.

    The bearing's bursts, a ringing at 3 kHz struck at `defect` times the shaft's speed, grow from
    nothing to `worn` over the run.
    """

    options = Signature((
        SECONDS, SEED, Option("rate", "frequency", 25600.0, "samples per second [Hz]"),
        Option("speed", "frequency", 29.5, "of the shaft [Hz]"), Option("defect", "number", 3.585, "strikes per turn"),
        Option("worn", "number", 20.0, "height of the bursts at the end [m/s^2]"),
        Option("noise", "number", 1.0, "standard deviation [m/s^2]"),
    ))  # fmt: skip

    def schema(self) -> pa.Schema:
        """Acceleration."""
        return self._schema([("a", pa.float64(), "m/s^2")])

    def block(self, k: int) -> pa.RecordBatch | None:
        """Block k of samples."""
        rate, seconds, speed = (float(self.given[n]) for n in ("rate", "seconds", "speed"))
        count = min(BLOCK, int(seconds * rate) - k * BLOCK)
        if count <= 0:
            return None
        t = (np.arange(count) + k * BLOCK) / rate
        turns = 2 * math.pi * speed * t
        value = 1.5 * np.sin(turns) + 0.8 * np.sin(2 * turns + 0.4) + 0.4 * np.sin(3 * turns + 1.1)
        strike = float(self.given["defect"]) * speed
        since = (t * strike % 1.0) / strike
        wear = float(self.given["worn"]) * (t / seconds) ** 3
        value += wear * np.exp(-since * 900.0) * np.sin(2 * math.pi * 3000.0 * since)
        value += float(self.given["noise"]) * self._draw(k).standard_normal(count)
        return pa.RecordBatch.from_arrays([array_of(value, pa.float64())], schema=self.schema())
