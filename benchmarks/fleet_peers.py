"""The fleet in systems that a user might take instead, where they are installed; on one thread.

Each reads the Arrow file and writes an Arrow file, as its manual advises. Their rows come in any
order, so that results are sorted before they are compared.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from common import here

Job = Callable[[Path, Path], None]
WINDOW_NS = 10_000_000_000
COLUMNS = {
    f"{c[0]}_{f}": (f, c)
    for c in ("temperature", "humidity")
    for f in ("mean", "min", "max")
}  # fmt: skip


def _duckdb(path: Path, out: Path) -> None:
    import duckdb

    folds = ", ".join(f"{'avg' if f == 'mean' else f}({c}) AS {n}" for n, (f, c) in COLUMNS.items())
    with duckdb.connect(config={"threads": 1}) as db, pa.memory_map(str(path)) as file:
        db.register("rows", pa.ipc.open_file(file).read_all())
        reader = db.sql(
            f"""
            SELECT make_timestamp_ns((epoch_ns(time) // {WINDOW_NS} + 1) * {WINDOW_NS}) AS time, device, count(*) AS n, {folds}
            FROM rows WHERE temperature > 20 GROUP BY 1, 2
            """
        ).to_arrow_reader(100_000)
        with pa.OSFile(str(out), "wb") as target, pa.ipc.new_file(target, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def _polars(path: Path, out: Path) -> None:
    os.environ["POLARS_MAX_THREADS"] = "1"  # read when the package is first imported
    import polars as pl

    end = (pl.col("time").to_physical() // WINDOW_NS + 1) * WINDOW_NS
    folds = [getattr(pl.col(c), f)().alias(n) for n, (f, c) in COLUMNS.items()]
    (
        pl.scan_ipc(path)
        .filter(pl.col("temperature") > 20)
        .group_by(end.alias("time"), "device")
        .agg(pl.len().cast(pl.Int64).alias("n"), *folds)
        .sink_ipc(out, engine="streaming")
    )


def installed() -> dict[str, Job]:
    """The systems that are here, by name and version."""
    return here(duckdb=_duckdb, polars=_polars)


def sorted_rows(table: pa.Table) -> pa.Table:
    """Rows in the order of time and device, times as numbers."""
    table = table.set_column(
        table.column_names.index("time"),
        "time",
        table["time"].cast(pa.int64())
        if not pa.types.is_int64(table["time"].type)
        else table["time"],
    )
    return table.sort_by([("time", "ascending"), ("device", "ascending")])
