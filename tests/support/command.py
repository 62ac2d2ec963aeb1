"""The command line in a process of its own, and recordings to give to it."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa


def cli(*args, cwd, **env):
    """Run the command; its exit code, what it printed, what it complained of. Never a traceback."""
    found = subprocess.run(
        [sys.executable, "-m", "flowedge", *map(str, args)],
        cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **env}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert "Traceback" not in found.stderr, found.stderr
    return found.returncode, found.stdout, found.stderr


def recording(path, *, time=None, v=(0.0, 1.0, 2.0, 3.0, 4.0), unit=10**9):
    """An Arrow file of `v` at `time`, in units of so many ns (by default a row a second); texts stay texts."""
    time = list(range(len(v)) if time is None else time)
    if not any(isinstance(t, str) for t in time):
        ns = [None if t is None else round(t * unit) for t in time]
        time = pa.array(ns, pa.int64()).cast(pa.timestamp("ns", "UTC"))
    values = pa.array(np.asarray(v, np.float64)) if len(v) == 0 else pa.array(v)
    table = pa.table({"time": time, "v": values})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def write(path, table):
    """A table as an Arrow file."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)


def read(path):
    """The table in an Arrow file."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
