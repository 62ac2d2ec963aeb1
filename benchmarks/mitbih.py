"""How well `pipelines/ecg.flow` finds heartbeats in the MIT-BIH Arrhythmia Database.

Whole records, channel 0, all annotated beats, a match within 150 ms by `wfdb`'s own comparison
(ANSI/AAMI EC57), one setting for all. Prints the table per record and the gross figures.

Run:  python benchmarks/mitbih.py [--data DIRECTORY] [RECORD …]
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import wfdb
from wfdb.processing import compare_annotations

import flowedge
from flowedge.runtime.run import Run

BEATS = set("NLRBAaJSVrFejnE/fQ?")
COLUMNS = ("beats", "TP", "FP", "FN", "Se %", "PPV %", "F1 %")
WIDTHS = (8, 8, 6, 6, 8, 8, 8)
PIPELINE = Path(__file__).parent.parent / "pipelines" / "ecg.flow"


def detected(record: Path, rate_hz: float) -> np.ndarray:
    """Sample numbers of the beats that the pipeline finds in a record."""
    with tempfile.TemporaryDirectory() as folder:
        text = PIPELINE.read_text().replace("out/beats.arrow", f"{folder}/beats.arrow")
        plan = flowedge.compile(text=text, params={"record": str(record)}, use_cache=False)
        Run(plan)()
        with pa.memory_map(f"{folder}/beats.arrow") as file:
            time = pa.ipc.open_file(file).read_all()["time"].cast(pa.int64()).to_numpy()
    return np.round(time * 1e-9 * rate_hz).astype(np.int64)


def annotated(record: Path) -> tuple[np.ndarray, float]:
    """Sample numbers of the annotated beats, and the sampling rate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls pandas in ways that pandas gives up
        found = wfdb.rdann(str(record), "atr")
    beats = [s for s, symbol in zip(found.sample, found.symbol, strict=True) if symbol in BEATS]
    return np.array(beats, dtype=np.int64), float(wfdb.rdheader(str(record)).fs)


def judged(record: Path) -> np.ndarray:
    """How many annotated beats were found, how many finds are none, and how many beats were missed."""
    truth, rate_hz = annotated(record)
    match = compare_annotations(truth, detected(record, rate_hz), int(0.15 * rate_hz))
    return np.array([match.tp, match.fp, match.fn])


def figures(tp: int, fp: int, fn: int) -> tuple[float, float, float]:
    """Sensitivity, positive predictivity and F1, in percent."""
    return (
        100 * tp / max(1, tp + fn),
        100 * tp / max(1, tp + fp),
        200 * tp / max(1, 2 * tp + fp + fn),
    )


def line(name: str, counts: np.ndarray) -> str:
    """One row of the table."""
    tp, fp, fn = (int(n) for n in counts)
    cells = [tp + fn, tp, fp, fn, *(f"{v:.2f}" for v in figures(tp, fp, fn))]
    return f"{name:8}" + "".join(f"{c:>{w}}" for c, w in zip(cells, WIDTHS, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).parent.parent.parent / "shared" / "data" / "mitbih",
    )
    parser.add_argument("records", nargs="*")
    given = parser.parse_args()
    names = given.records or sorted({p.stem for p in given.data.glob("*.hea")})
    if not names:
        parser.error(f"no records in {given.data}")
    head = "".join(f"{word:>{width}}" for word, width in zip(COLUMNS, WIDTHS, strict=True))
    print(f"{'record':8}{head}")
    total = np.zeros(3, dtype=int)
    for name in names:
        counts = judged(given.data / name)
        total += counts
        print(line(name, counts))
    print(line("gross", total))


if __name__ == "__main__":
    main()
