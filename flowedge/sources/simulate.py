"""Seeded simulators for trying pipelines: honest names, never presented as recordings.

Rows come in blocks that depend on the seed and the place alone, so that the same call gives the same
rows however they are read, and reading may begin anywhere. A longer run begins with the rows of a
shorter one.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import (
    BATCH_ROWS,
    Piece,
    Position,
    Predicate,
    Source,
    connector,
)
from flowedge.types.connectors import Option, Signature
from flowedge.types.metadata import RATE, START, UNIT

BLOCK = 8192
"""Samples made at once."""
START_NS = 1_577_836_800_000_000_000
"""2020-01-01T00:00:00Z, where simulated days begin."""

_SECONDS = Option("seconds", "duration", 60.0, "how long it lasts [s]")
_SEED = Option("seed", "integer", 0, "another one, another course")


class _Simulator(Source):
    """Blocks of rows out of numbers; `seconds`, `seed` and the like stand in `given`."""

    needs_address: ClassVar[bool] = False
    POSITIVE: ClassVar[tuple[str, ...]] = (
        "seconds",
        "rate",
        "every",
        "devices",
        "heart_rate",
        "speed",
        "defect",
    )
    """Options that mean nothing at zero or below."""

    def __init__(self, address: str = "", **options: Any) -> None:  # noqa: ANN401  # each connector says what it takes
        super().__init__(address, **options)
        for name in self.POSITIVE:
            if name in self.given and not 0 < float(self.given[name]) < math.inf:
                raise SourceError(
                    f"`{self.name}` cannot run with {name}={self.given[name]:g}; take a number above zero"
                )

    def paths(self) -> list[str]:
        """No files."""
        return []

    @abstractmethod
    def block(self, k: int) -> pa.RecordBatch | None:
        """Block number k, None after the last."""

    def batches(
        self,
        columns: Sequence[str] | None = None,
        predicate: Predicate | None = None,
        start: Position | None = None,
    ) -> Iterator[Piece]:
        """All blocks, from the one that `start` lies in."""
        del predicate
        first = 0 if start is None else start.file
        skip = 0 if start is None else start.row
        k = first
        while (batch := self.block(k)) is not None:
            if columns is not None:
                batch = batch.select(list(columns))
            while skip + BATCH_ROWS < batch.num_rows:
                yield batch.slice(skip, BATCH_ROWS), Position(k, skip + BATCH_ROWS)
                skip += BATCH_ROWS
            yield batch.slice(skip), Position(k + 1, 0)
            skip, k = 0, k + 1

    def _draw(self, k: int, stream: int = 0) -> np.random.Generator:
        """Random numbers that belong to one block."""
        return np.random.Generator(
            np.random.Philox(key=[int(self.given["seed"]) & (2**64 - 1), 2**32 * stream + k])
        )


def _schema(fields: Sequence[tuple[str, pa.DataType, str]], rate: float | None = None) -> pa.Schema:
    metadata = {START: str(START_NS).encode()}
    if rate is not None:
        metadata[RATE] = repr(float(rate)).removesuffix(".0").encode()
    return pa.schema(
        [pa.field(n, t, metadata={UNIT: u.encode()} if u else None) for n, t, u in fields],
        metadata=metadata,
    )


def _array(values: np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array over the values, without detours."""
    if pa.types.is_timestamp(kind):
        values = values.astype(np.int64)
    return pa.Array.from_buffers(
        kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


@connector("simulate.ecg")
class SimulatedEcg(_Simulator):
    """Simulate one lead of an ECG by the dynamical model of McSherry and others.

    Five Gaussian waves (P, Q, R, S, T) stand at fixed angles of a circle that a point goes round once
    a beat; the beat lengths vary with a slow (0.1 Hz) and a respiratory (0.25 Hz) rhythm [1]_. On its
    limit cycle, where the model stays, the point's angle is the integral of the heart rate, and the
    lead follows the waves by a linear equation, solved here from sample to sample. What the paper
    does not have: an ectopic beat comes at 0.7 of its interval, wide and without a P wave, and the
    pause after it makes up for that.

    .. [1] P. E. McSherry, G. D. Clifford, L. Tarassenko, L. A. Smith, IEEE Trans. Biomed. Eng. 50(3),
       2003, 289-294. https://doi.org/10.1109/TBME.2003.808805
    """

    options = Signature((
        _SECONDS, _SEED, Option("rate", "frequency", 360.0, "samples per second [Hz]"),
        Option("heart_rate", "number", 65.0, "mean [beats per minute]"),
        Option("variation", "number", 4.0, "standard deviation of the heart rate [beats per minute]"),
        Option("noise", "number", 0.01, "standard deviation of white noise [mV]"),
        Option("wander", "number", 0.05, "height of the baseline's wander with breathing [mV]"),
        Option("ectopic", "number", 0.0, "share of beats that come early and wide, 0 to 0.5"),
    ))  # fmt: skip

    ANGLES = np.deg2rad([-70.0, -15.0, 0.0, 15.0, 100.0])
    HEIGHTS = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
    WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
    SCALE = 4.0
    """From the model's units to about a millivolt at the R wave."""

    def __init__(self, address: str = "", **options: Any) -> None:  # noqa: ANN401  # each connector says what it takes
        super().__init__(address, **options)
        if not 0 <= float(self.given["ectopic"]) <= 0.5:
            raise SourceError(
                f"`{self.name}` cannot run with ectopic={self.given['ectopic']:g}; take a number from 0 to 0.5"
            )
        self._state = (0, -math.pi, 0.0)
        draw = self._draw(0, 9)
        low, high = draw.normal(0.1, 0.01, 16), draw.normal(0.25, 0.01, 16)
        self._frequencies = np.abs(np.concatenate([low, high]))
        self._phases = draw.uniform(0, 2 * math.pi, 32)
        power = np.concatenate([np.full(16, 0.5 / 16), np.full(16, 0.5 / 16)])
        self._weights = np.sqrt(2 * power)

    @property
    def rate(self) -> float | None:
        """Samples per second."""
        return float(self.given["rate"])

    @property
    def start_ns(self) -> int | None:
        """Simulated time begins in 1970, as that of a record without a date."""
        return 0

    def schema(self) -> pa.Schema:
        """One lead in mV, and the names of the record and the patient, as a record has."""
        text = pa.dictionary(pa.int32(), pa.string())
        return _schema(
            [("mlii", pa.float64(), "mV"), ("record", text, ""), ("patient", text, "")], self.rate
        )

    def block(self, k: int) -> pa.RecordBatch | None:
        """Samples k·8192 … of the lead; blocks are made in order, and again from the first where need be."""
        rate = float(self.given["rate"])
        total = int(float(self.given["seconds"]) * rate)
        if k * BLOCK >= total:
            return None
        at, angle, lead = self._state
        if at > k:
            at, angle, lead = 0, -math.pi, 0.0
        values = np.empty(0)
        while at <= k:
            values, angle, lead = self._make(at, angle, lead, rate)
            at += 1
        self._state = (at, angle, lead)
        count = min(BLOCK, total - k * BLOCK)
        values = values[:count]
        names = pa.DictionaryArray.from_arrays(pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(np.zeros(count, np.int32))]),
                                               pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 8], np.int32)), pa.py_buffer(b"simulate")))  # fmt: skip
        return pa.RecordBatch.from_arrays(
            [_array(values, pa.float64()), names, names], schema=self.schema()
        )

    def _make(
        self, k: int, angle: float, lead: float, rate: float
    ) -> tuple[np.ndarray[Any, Any], float, float]:
        t = (np.arange(BLOCK) + k * BLOCK) / rate
        swing = (
            self._weights * np.cos(2 * math.pi * np.outer(t, self._frequencies) + self._phases)
        ).sum(axis=1)
        beats = np.maximum(
            20.0, float(self.given["heart_rate"]) + float(self.given["variation"]) * swing
        )
        course = self._course(angle, 2 * math.pi * beats / 60.0 / rate)
        turns = np.floor((course + math.pi) / (2 * math.pi))
        theta = course - 2 * math.pi * turns
        early = self._is_ectopic(turns)
        heights = np.where(
            early[:, None], self.HEIGHTS * np.array([0.0, 0.0, 0.22, 0.15, -0.8]), self.HEIGHTS
        )
        widths = np.where(
            early[:, None], self.WIDTHS * np.array([1.0, 1.0, 2.6, 2.6, 1.2]), self.WIDTHS
        )
        d = (theta[:, None] - self.ANGLES + math.pi) % (2 * math.pi) - math.pi
        force = -(heights * d * np.exp(-(d**2) / (2 * widths**2))).sum(axis=1)
        # z' = omega * force - z: stepped exactly for a force that is held over a sample. The factor omega
        # (not in the paper) keeps the heights of the waves when the heart rate changes.
        omega = 2 * math.pi * beats / 60.0
        drive = force * omega
        decay = math.exp(-1 / rate)
        z = np.empty(BLOCK)
        gain = 1 - decay
        value = lead
        for i in range(BLOCK):
            value = decay * value + gain * drive[i]
            z[i] = value
        wander = float(self.given["wander"]) * np.sin(2 * math.pi * 0.25 * t)
        noise = float(self.given["noise"]) * self._draw(k, 1).standard_normal(BLOCK)
        return self.SCALE * z + wander + noise, float(course[-1]), float(value)

    def _course(self, angle: float, pace: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The angle after each sample; the R wave stands where it is a multiple of a turn."""
        if float(self.given["ectopic"]) <= 0:
            return angle + np.cumsum(pace)
        out = np.empty(len(pace))
        turn, early = None, False
        for i, step in enumerate(pace):
            place = (angle + math.pi) / (2 * math.pi)
            if math.floor(place) != turn:
                turn = math.floor(place)
                early = bool(self._is_ectopic(np.array([turn]))[0])
            if early:
                # The third of the turn before the QRS complex takes 1/3 - 0.3 of the interval, the last 1/3 + 0.3.
                part = place % 1
                step = step * (10.0 if part < 1 / 3 else 1.0 if part < 2 / 3 else 10 / 19)  # noqa: PLW2901
            angle += step
            out[i] = angle
        return out

    def _is_ectopic(self, turns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        share = float(self.given["ectopic"])
        if share <= 0:
            return np.zeros(len(turns), dtype=bool)
        unique, where = np.unique(turns.astype(np.int64), return_inverse=True)
        # A beat after an ectopic one is never one itself: its lot is drawn in pairs of turns.
        drawn = np.array(
            [n % 2 == 0 and self._draw(int(n) & 0xFFFFFFFF, 5).random() < 2 * share for n in unique]
        )
        return drawn[where]


@connector("simulate.temperature")
class SimulatedTemperature(_Simulator):
    """Simulate thermometers with a daily cycle, noise, and the faults that they have.

    Each device has its own mean, swing and phase. Every ten minutes each draws its lot anew: two in a
    thousand are stuck at 85 degC (as a DS18B20 that has lost its supply), two fall silent, one runs
    60 K too hot, and one shows spikes of 60 K. Rows of all devices are interleaved in order of time.
    """

    options = Signature((
        _SECONDS, _SEED, Option("devices", "integer", 10, "how many thermometers"),
        Option("every", "duration", 1.0, "time between two rows of a device [s]"),
        Option("mean", "number", 22.0, "mean temperature [degC]"), Option("swing", "number", 6.0, "daily swing [K]"),
        Option("noise", "number", 0.2, "standard deviation of noise [K]"),
        Option("faults", "flag", True, "whether devices fail now and then"),
    ))  # fmt: skip

    def schema(self) -> pa.Schema:
        """Time, device, temperature and relative humidity."""
        return _schema([("time", pa.timestamp("ns", "UTC"), ""), ("device", pa.int32(), ""),
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
                temperature, draw.random((rounds, n)) < 0.05, order, number, every
            )
        keep[count:] = False
        flat = keep.ravel()
        return pa.RecordBatch.from_arrays([
            _array(time.ravel()[flat], pa.timestamp("ns", "UTC")), _array(order.ravel()[flat].astype(np.int32), pa.int32()),
            _array(np.round(temperature, 2).ravel()[flat], pa.float64()), _array(np.round(humidity, 2).ravel()[flat], pa.float64()),
        ], schema=self.schema())  # fmt: skip

    def _faults(
        self,
        temperature: np.ndarray[Any, Any],
        spikes: np.ndarray[Any, Any],
        order: np.ndarray[Any, Any],
        number: np.ndarray[Any, Any],
        every: float,
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Stuck, silent, hot and spiking devices: each ten minutes every device draws its lot anew."""
        n = temperature.shape[1]
        spell = (number * every // 600).astype(np.int64)
        keep = np.ones(temperature.shape, dtype=bool)
        out = temperature.copy()
        for one in np.unique(spell):
            lots = self._draw(int(one), 3).random(n)
            rows = spell == one
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


@connector("simulate.imu")
class SimulatedImu(_Simulator):
    """Simulate a worn motion sensor: standing, walking and running take turns of ten seconds.

    Gravity, a step rhythm with its harmonics, and noise; acceleration and rate of turn in three axes.
    """

    options = Signature((
        _SECONDS, _SEED, Option("rate", "frequency", 50.0, "samples per second [Hz]"), Option("noise", "number", 0.2, "of acceleration [m/s^2]"),
    ))  # fmt: skip

    @property
    def rate(self) -> float | None:
        """Samples per second."""
        return float(self.given["rate"])

    @property
    def start_ns(self) -> int | None:
        """Where simulated days begin."""
        return START_NS

    def schema(self) -> pa.Schema:
        """Acceleration and rate of turn."""
        three = pa.list_(pa.float32(), 3)
        return _schema([("acc", three, "m/s^2"), ("gyro", three, "rad/s")], self.rate)

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
            pa.FixedSizeListArray.from_arrays(_array(v.astype(np.float32).ravel(), pa.float32()), 3)
            for v in (acc, gyro)
        ]
        return pa.RecordBatch.from_arrays(lists, schema=self.schema())


@connector("simulate.vibration")
class SimulatedVibration(_Simulator):
    """Simulate the vibration of a pump: the shaft and its harmonics, noise, and a bearing that wears.

    The bearing's bursts, a ringing at 3 kHz struck at `defect` times the shaft's speed, grow from
    nothing to `worn` over the run.
    """

    options = Signature((
        _SECONDS, _SEED, Option("rate", "frequency", 25600.0, "samples per second [Hz]"),
        Option("speed", "frequency", 29.5, "of the shaft [Hz]"), Option("defect", "number", 3.585, "strikes per turn"),
        Option("worn", "number", 20.0, "height of the bursts at the end [m/s^2]"),
        Option("noise", "number", 1.0, "standard deviation [m/s^2]"),
    ))  # fmt: skip

    @property
    def rate(self) -> float | None:
        """Samples per second."""
        return float(self.given["rate"])

    @property
    def start_ns(self) -> int | None:
        """Where simulated days begin."""
        return START_NS

    def schema(self) -> pa.Schema:
        """Acceleration."""
        return _schema([("a", pa.float64(), "m/s^2")], self.rate)

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
        return pa.RecordBatch.from_arrays([_array(value, pa.float64())], schema=self.schema())
