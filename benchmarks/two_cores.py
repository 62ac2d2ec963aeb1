"""What a second core gives: W1 with eight keys, W2 and W3 from Arrow file to Arrow file, with one thread and with three.

`--threads 3` reads ahead on one thread and writes behind on another; kernels and models stay on one. All give the same
rows. Ratios are of the time on the clock, round by round; a core that others use gives less.

Run:  python benchmarks/two_cores.py [--rows 10000000] [--rounds 5]
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import fleet
import models as har
import numpy as np
import pyarrow as pa
from common import machine, rounds
from ecg_chain import KEYS, of_keys, times
from ecg_chain import TEXT as CHAIN

import flowedge
from flowedge.runtime.run import Run


def samples(path: Path, rows: int) -> None:
    """Eight signals at 360 Hz, a sample of each in turn."""
    x = np.random.default_rng(7).normal(size=rows // KEYS * KEYS)
    table = pa.table({
        "time": pa.array(np.repeat(times(rows // KEYS), KEYS)).cast(pa.timestamp("ns", "UTC")),
        "lead": np.tile(np.arange(KEYS, dtype=np.int32), rows // KEYS), "v": x,
    })  # fmt: skip
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)


def plans(rows: int, folder: Path) -> dict[str, tuple[str, Path, int]]:
    """For each work its pipeline, what it writes, and how many rows it reads."""
    ecg, out = folder / "ecg.arrow", {n: folder / f"{n}.arrow" for n in ("w1", "w2", "w3")}
    samples(ecg, rows)
    fleet.generate(folder / "fleet.arrow", rows)
    har.generate(folder / "har.arrow", rows // 8)
    model = har.export(har.network(), (har.floats(har.CHANNELS, har.LENGTH),), folder / "net.pt2")
    chain = of_keys(CHAIN).replace("from given()", f'from arrow("{ecg}")').replace("to expected()", f'to arrow("{out["w1"]}")')  # fmt: skip
    return {
        f"W1, {KEYS} keys": (chain, out["w1"], rows),
        "W2": (fleet.TEXT.format(path=folder / "fleet.arrow", out=out["w2"]), out["w2"], rows),
        "W3": (har.text(model, folder / "har.arrow", out["w3"], har.BATCH, exact=False), out["w3"], rows // 8),
    }  # fmt: skip


def main() -> list[str]:
    """Print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    lines = [
        f"Two cores ({len(os.sched_getaffinity(0))} are there), Arrow file to Arrow file",
        "",
        "| work | M rows/s, one thread | M rows/s, three | times as fast (median) | spread | rows |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        for work, (text, out, rows) in plans(given.rows, Path(name)).items():
            plan = flowedge.compile(text=text)
            made = {}

            def run(threads: int, plan=plan, out=out, made=made) -> None:  # noqa: ANN001
                Run(plan, threads=threads)()
                made[threads] = out.read_bytes()

            found = rounds({"1": lambda run=run: run(1), "3": lambda run=run: run(3)}, given.rounds)  # type: ignore[misc]
            walls = {n: [wall for wall, _ in times] for n, times in found.items()}
            ratios = [a / b for a, b in zip(walls["1"], walls["3"], strict=True)]
            rates = [rows / statistics.median(walls[n]) / 1e6 for n in ("1", "3")]
            same = "equal" if made[1] == made[3] else "DIFFERENT"
            lines.append(
                f"| {work} | {rates[0]:.1f} | {rates[1]:.1f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} – {max(ratios):.2f} | {same} |"
            )
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
