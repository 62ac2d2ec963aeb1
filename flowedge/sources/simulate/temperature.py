"""`simulate.temperature`: thermometers with a daily course, some of them faulty."""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.sources.contract import connector
from flowedge.sources.simulate import SECONDS, SEED, START_NS, Simulator, array_of
from flowedge.types.connectors import Option, Signature


@connector("simulate.temperature")
class SimulatedTemperature(Simulator):
    """Simulate thermometers with a daily cycle, noise, and the faults that they have.

    Each device has its own mean, swing and phase. Every ten minutes each draws its lot anew: two in a
    thousand are stuck at 85 degC (as a DS18B20 that has lost its supply), two fall silent, one runs
    60 K too hot, and one shows spikes of 60 K. Rows of all devices are interleaved in order of time.
    """

    options = Signature((
        SECONDS, SEED, Option("devices", "integer", 10, "how many thermometers"),
        Option("every", "duration", 1.0, "time between two rows of a device [s]"),
        Option("mean", "number", 22.0, "mean temperature [degC]"), Option("swing", "number", 6.0, "daily swing [K]"),
        Option("noise", "number", 0.2, "standard deviation of noise [K]"),
        Option("faults", "flag", True, "whether devices fail now and then"),
    ))  # fmt: skip

    def schema(self) -> pa.Schema:
        """Time, device, temperature and relative humidity."""
        return self._schema([("time", pa.timestamp("ns", "UTC"), ""), ("device", pa.int32(), ""),
                             ("temperature", pa.float64(), "degC"), ("humidity", pa.float64(), "percent")])  # fmt: skip

    def block(self, k: int) -> pa.RecordBatch | None:
        """The rows of as many rounds as make a block."""
        n, every = int(self.given["devices"]), float(self.given["every"])
        rounds = max(1, 65_536 // max(1, n))
        total = math.ceil(float(self.given["seconds"]) / every)
        if k * rounds >= total:
            return None
        count = min(rounds, total - k * rounds)
        draw = self._draw(k)
        own = self._draw(0, 7)
        offset, phase, strength = (
            own.normal(0, 2.0, n),
            own.uniform(-0.5, 0.5, n),
            own.uniform(0.6, 1.4, n),
        )
        # Whole blocks are drawn, also for the last one, so that a longer run begins with the same rows.
        number = np.arange(k * rounds, (k + 1) * rounds)
        order = np.argsort(draw.random((rounds, n)), axis=1)
        step = int(every * 1e9)
        inside = (np.arange(n, dtype=np.int64) * step) // n
        time = START_NS + number[:, None].astype(np.int64) * step + inside[None, :]
        hours = number[:, None] * every / 3600.0
        day = np.sin(2 * math.pi * (hours / 24.0 - 0.375 + phase[order] / 24.0))
        temperature = (
            float(self.given["mean"])
            + offset[order]
            + float(self.given["swing"]) * strength[order] * day
        )
        temperature = temperature + float(self.given["noise"]) * draw.standard_normal((rounds, n))
        humidity = np.clip(
            55.0 - 2.0 * (temperature - 20.0) + draw.standard_normal((rounds, n)), 5.0, 100.0
        )
        keep = np.ones((rounds, n), dtype=bool)
        if self.given["faults"]:
            temperature, keep = self._faults(
                temperature, draw.random((rounds, n)) < 0.05, order, number, every, count
            )
        keep[count:] = False
        flat = keep.ravel()
        return pa.RecordBatch.from_arrays([
            array_of(time.ravel()[flat], pa.timestamp("ns", "UTC")), array_of(order.ravel()[flat].astype(np.int32), pa.int32()),
            array_of(np.round(temperature, 2).ravel()[flat], pa.float64()), array_of(np.round(humidity, 2).ravel()[flat], pa.float64()),
        ], schema=self.schema())  # fmt: skip

    def _faults(
        self,
        temperature: np.ndarray[Any, Any],
        spikes: np.ndarray[Any, Any],
        order: np.ndarray[Any, Any],
        number: np.ndarray[Any, Any],
        every: float,
        count: int,
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Stuck, silent, hot and spiking devices: each ten minutes every device draws its lot anew. Of the first `count` rounds."""
        n = temperature.shape[1]
        spell = (number * every // 600).astype(np.int64)
        keep = np.ones(temperature.shape, dtype=bool)
        out = temperature.copy()
        spells, begins = np.unique(spell, return_index=True)  # in order, so that each is a stretch
        ends = [*begins[1:].tolist(), len(spell)]
        for one, begin, end in zip(spells.tolist(), begins.tolist(), ends, strict=True):
            if begin >= count:
                break  # what is drawn there is not given
            lots = self._draw(one, 3).random(n)
            rows = slice(begin, end)
            who = lots[order[rows]]
            stuck, silent = who < 0.002, (who >= 0.002) & (who < 0.004)
            hot, spiky = (who >= 0.004) & (who < 0.005), (who >= 0.005) & (who < 0.006)
            part = out[rows]
            part[stuck] = 85.0
            part[hot | spiky & spikes[rows]] += 60.0
            out[rows] = part
            inner = keep[rows]
            inner[silent] = False
            keep[rows] = inner
        return out, keep
