"""Make two minutes of a house in which the bell rings, for `doorbell.flow` as it stands.

Noise, what resembles speech and music, clatter, and rings 10 dB above them, all made up, from a seed that the training has not
seen. The instants of the rings are printed, and written beside the sound.

Run:  python pipelines/prepare_doorbell.py [DIRECTORY]        (default: data; writes doorbell.wav and doorbell_truth.csv)
"""

import sys
import wave
from pathlib import Path

import numpy as np
from doorbell_sounds import RATE, Track, track

SECONDS, SNR_DB, SEED = 120, 10, 2026


def prepare(directory: Path) -> Track:
    """Write the sound, and when the bell rings in it."""
    directory.mkdir(parents=True, exist_ok=True)
    made = track(np.random.default_rng(SEED), SECONDS, (SNR_DB, SNR_DB), every=20.0)
    with wave.open(str(directory / "doorbell.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((made.x * 32767).round().astype("<i2").tobytes())
    rows = "".join(f"{ring.begin:.2f},{ring.kind}\n" for ring in made.rings)
    (directory / "doorbell_truth.csv").write_text(f"second,kind\n{rows}", "utf-8")
    return made


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "data")
    rung = ", ".join(f"{ring.begin:.1f} s ({ring.kind})" for ring in prepare(place).rings)
    print(f"wrote {place / 'doorbell.wav'}; the bell rings at {rung}")
