"""Sounds that are made up: chimes, and what else is heard in a house.

Chimes are struck bars and bells: partials that decay, the higher the faster, two to four notes: a single one
is any struck note. The rest is noise,
what resembles speech (a buzz through resonances that wander, with syllables and hisses), what resembles music
(melodies and chords of many timbres, drums), clatter, knocks and beeps. All of it is synthetic: nobody has recorded
anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.signal import fftconvolve, lfilter

RATE = 16_000
Sound = np.ndarray
Draw = np.random.Generator
BARS = (
    (1, 2.0, 3.0, 4.2),
    (1, 2.76, 5.4),
    (1, 2.0, 2.4, 3.0, 4.0),
    (1, 3.0, 5.0),
    (1, 4.0, 10.0),
    (1, 1.005, 2.01),
)
"""Frequencies of partials, as multiples of the lowest: strings, free bars, bells, closed tubes, marimbas, two reeds."""
CHIMES = ("ding-dong", "four", "three")
"""Kinds of chimes; the network is trained without the last one."""


def note(draw: Draw, hz: float, seconds: float, decay: float, partials: tuple[float, ...], attack: float) -> Sound:  # fmt: skip
    """A struck tone; `decay`: of the lowest partial to 1/e [s]."""
    t = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros(len(t))
    for k, ratio in enumerate(partials):
        if hz * ratio < 0.45 * RATE:
            weight = draw.uniform(0.3, 1) / (1 + k) ** draw.uniform(0.5, 1.5)
            phase = draw.uniform(0, 2 * np.pi)
            out += (
                weight
                * np.exp(-t / decay * ratio**0.7)
                * np.sin(2 * np.pi * hz * ratio * t + phase)
            )
    return out * np.minimum(1, t / attack)


def chime(draw: Draw, kind: str) -> tuple[Sound, float]:
    """One ring of a doorbell, and when its second note begins [s]."""
    partials = BARS[draw.integers(len(BARS))]
    hz, decay = draw.uniform(400, 1100), draw.uniform(0.25, 0.9)
    third, apart = 2 ** (-draw.choice([3, 4, 5, 7]) / 12), draw.uniform(0.3, 0.75)
    notes = {
        "ding-dong": [(0.0, 1.0), (apart, third)],
        "four": [(k * apart, r) for k, r in enumerate(draw.permutation([1.0, 2 ** (-4 / 12), 2 ** (-9 / 12), 2 ** (-2 / 12)]))],
        "three": [(0.0, third), (apart, 1.0), (2 * apart, third**2)],
    }[kind]  # fmt: skip
    out = np.zeros(int((notes[-1][0] + 3 * decay + 0.3) * RATE))
    for at, ratio in notes:
        start = int(at * RATE)
        one = note(draw, hz * ratio, (len(out) - start) / RATE, decay, partials, 0.003)
        out[start : start + len(one)] += one
    return out, apart


def coloured(draw: Draw, count: int) -> Sound:
    """Noise whose power falls by 0 to 6 dB an octave, in waves."""
    spectrum = np.fft.rfft(draw.normal(size=count))
    f = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20)
    out = np.fft.irfft(spectrum * f ** -draw.uniform(0, 1), count)
    if draw.random() < 0.3:  # mains
        t = np.arange(count) / RATE
        hum = sum(draw.uniform(0, 1) * np.sin(2 * np.pi * 50 * k * t) for k in (1, 2, 3, 6))
        out += out.std() * draw.uniform(0.2, 2) * hum
    slow = np.interp(np.arange(count), np.linspace(0, count, 12), draw.uniform(0.5, 1.5, 12))
    return out * slow


def speech(draw: Draw, count: int) -> Sound:
    """Syllables: a buzz of 80 to 260 Hz through three resonances that wander, and hisses between."""
    out, at, base = np.zeros(count), 0, draw.uniform(80, 240)
    while at < count:
        size = min(int(draw.uniform(0.08, 0.4) * RATE), count - at)
        if size < 200:
            break
        if draw.random() < 0.25:
            low = draw.uniform(0.1, 0.8)
            part = 0.3 * lfilter([1, -low], [1], draw.normal(size=size))
        else:
            pitch = base * np.linspace(draw.uniform(0.8, 1.3), draw.uniform(0.8, 1.3), size)
            phase = np.cumsum(pitch) / RATE
            part = np.diff(np.floor(phase), prepend=0.0) + 0.02 * draw.normal(size=size)
            for low, high, wide in ((250, 900, 80), (800, 2500, 120), (2200, 3500, 200)):
                pole = np.exp(-np.pi * draw.uniform(0.5, 1.5) * wide / RATE)
                angle = 2 * np.pi * draw.uniform(low, high) / RATE
                part = lfilter([1 - pole], [1, -2 * pole * np.cos(angle), pole**2], part)
        out[at : at + size] = part / (part.std() + 1e-9) * np.hanning(size) * draw.uniform(0.3, 1)
        at += size + int(draw.choice([0, 0.02, 0.05, 0.4], p=[0.4, 0.3, 0.2, 0.1]) * RATE)
    return out


def music(draw: Draw, count: int) -> Sound:
    """Melody, chords and drums, with a timbre and a beat of its own."""
    out = np.zeros(count + RATE * 4)
    beat, root = draw.uniform(0.15, 0.5), draw.uniform(110, 440)
    steps = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    is_struck, partials = draw.random() < 0.5, tuple(range(1, int(draw.integers(4, 14))))
    t_at, place = 0.0, int(draw.integers(10))
    while t_at * RATE < count:
        length = beat * draw.choice([1, 1, 2, 4])
        place = int(np.clip(place + draw.integers(-2, 3), 0, 9))
        voices = (0, 2, 4) if draw.random() < 0.3 else (0,)
        for voice in voices:
            hz = root * 2 ** (steps[(place + voice) % 10] / 12)
            decay = draw.uniform(0.2, 0.8) if is_struck else 50.0
            one = note(draw, hz, length * (2 if is_struck else 1), decay, partials, 0.005 if is_struck else 0.04)  # fmt: skip
            if not is_struck:
                one *= np.minimum(1, np.arange(len(one))[::-1] / (0.03 * RATE))
            start = int(t_at * RATE)
            out[start : start + len(one)] += one
        if draw.random() < 0.6:
            size, start = int(0.1 * RATE), int(t_at * RATE)
            hit = draw.normal(size=size) * np.exp(-np.arange(size) / draw.uniform(100, 500))
            out[start : start + size] += draw.uniform(0.3, 1.5) * hit
        t_at += length
    return out[:count]


def clatter(draw: Draw, count: int) -> Sound:
    """Dishes, knocks and beeps: short, one by one or in a row."""
    out, at = np.zeros(count + RATE), int(draw.uniform(0, 0.5) * RATE)
    while at < count:
        kind = draw.integers(3)
        if kind == 0:  # many modes without an order, all of them short
            one = sum(note(draw, draw.uniform(900, 6000), 0.4, draw.uniform(0.01, 0.09), (1,), 0.001) for _ in range(6))  # fmt: skip
        elif kind == 1:
            size = int(0.15 * RATE)
            one = draw.normal(size=size) * np.exp(-np.arange(size) / draw.uniform(60, 400))
            one = lfilter([0.1], [1, -0.9], one) * 3
        else:  # a beep has no decay
            size = int(draw.uniform(0.05, 0.35) * RATE)
            one = np.sin(2 * np.pi * draw.uniform(700, 3500) / RATE * np.arange(size))
            one *= np.minimum(1, np.minimum(np.arange(size), np.arange(size)[::-1]) / 80)
        out[at : at + len(one)] += draw.uniform(0.3, 1) * one
        at += int(draw.choice([draw.uniform(0.1, 0.3), draw.uniform(0.5, 2)]) * RATE)
    return out[:count]


OTHERS: dict[str, Callable[[Draw, int], Sound]] = {
    "noise": coloured,
    "speech-like": speech,
    "music-like": music,
    "clatter": clatter,
}


def in_a_room(draw: Draw, sound: Sound) -> Sound:
    """The sound with its echoes: noise that decays by 60 dB in 0.15 to 0.6 s, up to as strong as the sound."""
    size = int(0.4 * RATE)
    decay = np.exp(-6.9 * np.arange(size) / (draw.uniform(0.15, 0.6) * RATE))
    echo = draw.normal(size=size) * decay
    echo *= draw.uniform(0.05, 1) / np.sqrt((echo**2).sum())
    echo[0] += 1
    return fftconvolve(sound, echo)[: len(sound)]


class Ring(NamedTuple):
    """When it begins, when its second note does, when 80 % of its energy are over [s], and its kind."""

    begin: float
    second: float
    over: float
    kind: str


@dataclass
class Track:
    """A length of sound, and when the bell rang in it.

    Attributes
    ----------
    x : samples, full scale is 1
    rings : of each
    """

    x: Sound
    rings: list[Ring] = field(default_factory=list)


def track(draw: Draw, seconds: float, snr_db: tuple[float, float], *, others: tuple[str, ...] = tuple(OTHERS),
          kinds: tuple[str, ...] = CHIMES, every: float = 8.0, scene: float = 6.0) -> Track:  # fmt: skip
    """Scenes of `scene` seconds, one behind the other, in which the bell rings once in a while.

    Parameters
    ----------
    snr_db : least and greatest power of the first half second of a ring against that of the scene [dB]
    others, kinds : what may be heard
    every : between two rings, in the mean; at least 5 s; 0: it never rings [s]
    """
    count = int(seconds * RATE)
    x, level = np.zeros(count), np.zeros(count)
    for start in range(0, count, int(scene * RATE)):
        size = min(int(scene * RATE), count - start)
        part = in_a_room(draw, OTHERS[str(draw.choice(others))](draw, size))
        loud = 10 ** (draw.uniform(-45, -15) / 20)
        part *= loud / (part.std() + 1e-9)
        x[start : start + size] = part
        level[start : start + size] = loud
    out, at = Track(x), draw.uniform(2, 5)
    x += 1e-4 * draw.normal(size=count)
    while every and at < seconds - 4:
        kind = str(draw.choice(kinds))
        clean, second = chime(draw, kind)
        one = in_a_room(draw, clean)
        start = int(at * RATE)
        one = one[: count - start]
        power = np.sqrt((one[: RATE // 2] ** 2).mean())
        one *= level[start] * 10 ** (draw.uniform(*snr_db) / 20) / power
        x[start : start + len(one)] += one
        over = float(np.searchsorted(np.cumsum(one**2), 0.8 * (one**2).sum()) / RATE)
        out.rings.append(Ring(at, at + second, at + over, kind))
        at += max(5.0 + len(one) / RATE, draw.exponential(every))
    peak = np.abs(x).max()
    out.x = x * min(1.0, 0.98 / peak)
    return out
