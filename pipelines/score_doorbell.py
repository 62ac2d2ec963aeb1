"""How many rings `doorbell.flow` tells of, and how often it is wrong, on made-up sounds that the training has not seen.

For each kind of background and each ratio of signal to noise the pipeline hears so many minutes. A ring counts as found where a row
stands between its begin and 2.5 s later; a row that stands nowhere near a ring is a false alarm.

Run:  python pipelines/score_doorbell.py [--minutes 10] [--threshold 0.9]
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
from doorbell_sounds import CHIMES, OTHERS, RATE, Track, track

import flowedge
from flowedge.runtime.models import load_models

PIPELINE = Path(__file__).parent / "doorbell.flow"
SEED = 1000
SNRS_DB = (-5, 0, 5, 10, 20)
REACH_S = 2.5


def told(plan: flowedge.Plan, x: np.ndarray) -> np.ndarray:
    """The instants of the rows for samples [s]."""
    times = pa.array(np.arange(len(x)) * (10**9 // RATE)).cast(pa.timestamp("ns", "UTC"))
    rows = plan.run(
        {"house": pa.table({"time": times, "x": x.astype(np.float32)})},
        models=load_models(plan.program),
    )
    (found,) = {tuple(t["time"].cast(pa.int64()).to_pylist()) for t in rows.values()}
    return np.array(found) / 1e9


def judged(made: Track, rows: np.ndarray) -> tuple[list[float], list[str], int]:
    """Delays of the rings that were found [s], kinds of those that were not, and false alarms."""
    delays, missed, taken = [], [], np.zeros(len(rows), bool)
    for ring in made.rings:
        near = (rows > ring.begin) & (rows < ring.begin + REACH_S)
        if near.any():
            delays.append(float(rows[near][0] - ring.second))
        else:
            missed.append(ring.kind)
        taken |= (rows > ring.begin) & (rows < ring.over + REACH_S)
    return delays, missed, int((~taken).sum())


def main() -> None:
    """Print the tables of docs/examples/doorbell.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--threshold", type=float, default=0.9)
    given = parser.parse_args()
    plan = flowedge.compile(
        PIPELINE, params={"sound": "pipe:none", "threshold": str(given.threshold)}
    )
    delays: list[float] = []
    kinds = {kind: [0, 0] for kind in CHIMES}
    print(
        f"{'':12}"
        + "".join(f"{snr:>+9} dB" for snr in SNRS_DB)
        + "   false alarms an hour, no bell"
    )
    for k, name in enumerate(OTHERS):
        line, others = f"{name:12}", (name,)
        for snr in SNRS_DB:
            draw = np.random.default_rng([SEED, k, snr + 100])
            made = track(draw, given.minutes * 60, (snr, snr), others=others)
            found, missed, wrong = judged(made, told(plan, made.x))
            delays += found
            for ring in made.rings:
                kinds[ring.kind][1] += 1
            for kind in missed:
                kinds[kind][0] += 1
            line += f"{len(found):>5}/{len(made.rings):<3}+{wrong:<2}"
        quiet = track(
            np.random.default_rng([SEED, k]), given.minutes * 60, (0, 0), others=others, every=0.0
        )
        alarms = len(told(plan, quiet.x))
        print(f"{line}   {alarms * 60 / given.minutes:.0f}", flush=True)
    print("missed by kind: " + ", ".join(f"{kind} {a} of {b}" for kind, (a, b) in kinds.items()))
    low, middle, high = np.quantile(delays, [0.05, 0.5, 0.95])
    print(f"a ring is told {middle:.2f} s after its second note begins ({low:.2f} to {high:.2f} s)")


if __name__ == "__main__":
    main()
