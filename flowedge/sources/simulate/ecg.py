"""`simulate.ecg`: one lead of an electrocardiogram."""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import connector
from flowedge.sources.simulate import BLOCK, SECONDS, SEED, Simulator, array_of
from flowedge.types.connectors import Option, Signature


@connector("simulate.ecg")
class SimulatedEcg(Simulator):
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
        SECONDS, SEED, Option("rate", "frequency", 360.0, "samples per second [Hz]"),
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
    def start_ns(self) -> int | None:
        """Simulated time begins in 1970, as that of a record without a date."""
        return 0

    def schema(self) -> pa.Schema:
        """One lead in mV, and the names of the record and the patient, as a record has."""
        text = pa.dictionary(pa.int32(), pa.string())
        return self._schema(
            [("mlii", pa.float64(), "mV"), ("record", text, ""), ("patient", text, "")]
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
            [*(array_of(x, pa.float64()) for x in self._leads(values)), names, names],
            schema=self.schema(),
        )

    def _leads(self, values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        """What the leads see of the heart."""
        return (values,)

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
