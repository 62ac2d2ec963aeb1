"""Memory does not grow with the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 8_000_000  # 192 MB in three columns

PROGRAM = """
import sys
import numpy as np, pyarrow as pa, pyarrow.compute as pc
from pathlib import Path
from flowedge.sources import catalog
name, path, small = sys.argv[1:]
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) // 1024
def drain(p):
    total, rows = 0.0, 0
    for batch, _ in catalog.get(name)(p).batches():
        rows += batch.num_rows
        total += sum(pc.sum(c).as_py() or 0 for c in batch.columns)
    return rows
drain(small)
before = peak()
rows = drain(path)
print(rows, peak() - before)
"""


def growth(name, path, small):
    """Rows read, and by how many MiB the peak of resident memory rose above that of a small file."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(path), str(small)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    rows, grown = done.stdout.split()
    return int(rows), int(grown)


def table(rows):
    rng = np.random.default_rng(1)
    return pa.table({"t": np.arange(rows), "v": rng.normal(size=rows), "w": rng.normal(size=rows)})


def write_arrow(path, rows):
    t = table(rows)
    with pa.ipc.new_file(path, t.schema) as writer:
        writer.write_table(t, rows)  # one batch, the hardest case


def write_parquet(path, rows):
    pq.write_table(table(rows), path, row_group_size=rows, compression="none", use_dictionary=False)


def write_csv(path, rows):
    import pyarrow.csv as pacsv  # noqa: PLC0415

    pacsv.write_csv(table(rows // 2), path)


@pytest.mark.parametrize(
    ("name", "write"), [("arrow", write_arrow), ("parquet", write_parquet), ("csv", write_csv)]
)
def test_a_file_of_200_megabytes_takes_less_than_half_of_it(name, write, tmp_path):
    write(tmp_path / "big", ROWS)
    write(tmp_path / "small", 200_000)
    rows, grown = growth(name, tmp_path / "big", tmp_path / "small")
    assert rows == (ROWS if name != "csv" else ROWS // 2)
    assert grown < (tmp_path / "big").stat().st_size / 2**20 / 2
