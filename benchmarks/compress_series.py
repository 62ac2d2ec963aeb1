"""W4: lossy compression within 1 % of the range, and what a Parquet file stores without loss.

Each series goes through FlowEdge in memory, in pushes of 65,536, and through C by hand; each result is rebuilt, and none
of its values may err by more than the bound. What is stored are the distances between the rows kept, as uint32, and their
values; pcodec stores both (`python benchmarks/peers/install.py number_codecs`), and zstd, by planes of bytes.

Run:  python benchmarks/compress_series.py [--rows 10000000] [--rounds 5]
"""

import argparse
import ctypes
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import PEERS, Peer, compiled, machine, timed

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.runtime.run import Run
from flowedge.types.connectors import ConnectorInfo

PUSH, SHARE = 65_536, 0.01
PLAIN = PlainCatalog(
    {
        "given": ConnectorInfo(
            "given", "source", needs_address=False, describes_itself=False, writes_files=False
        )
    },
    {"expected": ConnectorInfo("expected", "sink", needs_address=False, writes_files=False)},
)
LINES = ("swing", "auto", "C: swing filter", "C: swinging door")
"""Ways whose rows are joined by lines; the others hold their values."""
SCRIPT, PYTHON = PEERS / "number_codecs.py", PEERS / ".envs" / "number_codecs" / "bin" / "python"
NAMES = ("auto", "swing", "constant", "quantize", "deadband")


class Kept(NamedTuple):
    """Points of a series, and the bytes of the values that they stand for."""

    at: np.ndarray
    value: np.ndarray


class Codecs(Peer):
    """pcodec and ZFP in an environment of their own, where that was made."""

    def size(self, folder: Path, kept: Kept) -> int:
        """Bytes that pcodec stores points in."""
        steps = np.diff(kept.at, prepend=0).astype(np.uint32)
        paths = [folder / "at.npy", folder / "value.npy"]
        for path, values in zip(paths, (steps, kept.value), strict=True):
            np.save(path, values)
        return sum(self.ask("size", files=[str(p) for p in paths]))


def series(rows: int) -> dict[str, tuple[np.ndarray, float]]:
    """Temperatures at 1 Hz with two decimals and with all, an ECG of 200 units per mV at 360 Hz; with their rates [Hz]."""
    draw = np.random.default_rng(7)
    t = np.arange(rows)
    day, hour = np.sin(2 * np.pi * t / 86_400), np.sin(2 * np.pi * t / 3600)
    drift = 0.002 * np.cumsum(draw.standard_normal(rows))
    full = 20 + 5 * day + 0.5 * hour + drift + 0.02 * draw.standard_normal(rows)
    beat = np.zeros(rows)
    phase = np.cumsum(1.2 + 0.05 * np.sin(2 * np.pi * t / 360 / 4)) / 360
    for at, width, height in ((0.2, 0.025, 0.12), (0.34, 0.009, -0.1), (0.36, 0.011, 1.1), (0.385, 0.01, -0.2), (0.6, 0.05, 0.28)):  # fmt: skip
        beat += height * np.exp(-(((phase % 1 - at) / width) ** 2))
    beat += 0.03 * draw.standard_normal(rows) + 0.1 * np.sin(2 * np.pi * 0.2 * t / 360)
    units = np.clip(np.round(beat * 200) + 1024, 0, 2047).astype(np.int16)
    return {
        "temperature, two decimals (float64)": (np.round(full, 2), 1.0),
        "temperature (float64)": (full, 1.0),
        "ECG (int16)": (units, 360.0),
        "ECG [mV] (float32)": (((units - 1024) / 200).astype(np.float32), 360.0),
    }


def by_us(name: str, x: np.ndarray, error: float) -> Callable[..., Kept | None]:
    """A run of a compression over the series, which lets go of what comes; asked for, the points that it keeps."""
    store = {"float64": "f64", "float32": "f32", "int16": "i16"}[str(x.dtype)]
    text = f"source s (v: {store}) at 1 Hz from given()\nsink s | compress {name}({error!r}) on v to expected()"
    plan = flowedge.compile(text=text, catalog=PLAIN)
    batches = pa.table({"v": x}).to_batches(max_chunksize=PUSH)

    def run(*, keeps: bool = False) -> Kept | None:
        session, parts = plan.open(), []
        for batch in batches:
            out = session.push("s", batch)
            if keeps:
                parts += out.values()
        parts += session.finish().values()
        if not keeps:
            return None
        tables = [
            p if isinstance(p, pa.Table) else pa.Table.from_batches([p])
            for p in parts
            if p.num_rows
        ]
        table = pa.concat_tables(tables)
        first = table["time"].cast(pa.int64()).to_numpy()
        return Kept(np.round((first - first[0]) / 1e9).astype(np.int64), table["v"].to_numpy())

    return run


def by_hand(name: str, x: np.ndarray, error: float) -> Callable[..., Kept]:
    """The same in C, over the whole series, into memory that was touched."""
    run = getattr(LIBRARY, name)
    run.restype = ctypes.c_long
    values = x.astype(np.float64)
    at, value = np.ones(len(x) + 2, np.int64), np.ones(len(x) + 2)
    p = ctypes.c_void_p

    def go(*, keeps: bool = False) -> Kept:
        count = run(p(values.ctypes.data), ctypes.c_long(len(x)), ctypes.c_double(error), p(at.ctypes.data), p(value.ctypes.data))  # fmt: skip
        points = Kept(at[:count], value[:count])
        return Kept(*(array.copy() for array in points)) if keeps else points

    return go


def largest_error(name: str, x: np.ndarray, kept: Kept) -> float:
    """Of the series that is rebuilt."""
    rows = np.arange(len(x))
    if name in LINES:
        y = np.interp(rows, kept.at, kept.value.astype(np.float64))
    else:
        y = kept.value[np.searchsorted(kept.at, rows, side="right") - 1].astype(np.float64)
    return float(np.abs(y - x).max())


def zstd(kept: Kept) -> int:
    """Bytes of points, split into planes, by zstd."""
    steps = np.diff(kept.at, prepend=0).astype(np.uint32)
    codec = pa.Codec("zstd", 3)
    planes = [
        v.view(np.uint8).reshape(len(v), -1).T.copy()
        for v in (steps, np.ascontiguousarray(kept.value))
    ]
    return sum(codec.compress(plane.tobytes(), asbytes=True).__len__() for plane in planes)


def lossy(title: str, x: np.ndarray, peer: Codecs, rounds: int, folder: Path) -> list[str]:
    """The table of one series."""
    error = SHARE * (float(x.max()) - float(x.min()))
    jobs = {name: by_us(name, x, error) for name in NAMES}
    hands = {"C: swing filter": "swing", "C: swinging door": "door", "C: constant pieces": "constant", "C: rounding": "quantize"}  # fmt: skip
    jobs |= {shown: by_hand(name, x, error) for shown, name in hands.items()}
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    kept = {name: job(keeps=True) for name, job in jobs.items()}
    for number in range(rounds):
        for name, job in list(jobs.items())[:: -1 if number % 2 else 1]:
            spent[name].append(timed(job).cpu)
    head = "| kept | M samples per CPU second | rows for one kept | pcodec | zstd | largest error / bound |"
    lines = [f"### {title}", "", head, "|---|---|---|---|---|---|"]
    for name, points in kept.items():
        assert points is not None
        found = largest_error(name, x, points) / error
        assert found <= 1 + 1e-9, (name, found)
        stored = f"{x.nbytes / peer.size(folder, points):,.1f}" if peer.is_there else "absent"
        speed = len(x) / statistics.median(spent[name]) / 1e6
        lines.append(
            f"| {name} | {speed:,.0f} | {len(x) / len(points.at):,.2f} | {stored} | {x.nbytes / zstd(points):,.1f} | {found:.4f} |"
        )
    for shown, job in (("rounding, pcodec", "quantize"), ("ZFP", "zfp")):
        if not peer.is_there:
            lines.append(f"| {shown} | absent | | | | |")
            continue
        floats = x if x.dtype.kind == "f" else x.astype(np.float32)
        np.save(folder / "x.npy", floats)
        answer = peer.ask(job, file=str(folder / "x.npy"), error=error)
        speed = len(x) / answer["cpu_s"] / 1e6
        lines.append(
            f"| {shown} | {speed:,.0f} | 1 | {x.nbytes / answer['bytes']:,.1f} | | {answer['error'] / error:.4f} |"
        )
    return [*lines, ""]


def lossless(given: dict[str, tuple[np.ndarray, float]], peer: Codecs, folder: Path) -> list[str]:
    """What `to parquet(…)` stores, column by column, beside pcodec for the values."""
    lines = ["### Without loss, by `to parquet(…)`", "", "| series | time, bytes a row | values, ratio | pcodec, ratio |", "|---|---|---|---|"]  # fmt: skip
    for title, (x, rate) in given.items():
        ns = np.round(np.arange(len(x)) * 1e9 / rate).astype(np.int64)
        table = pa.table({"time": pa.array(ns).cast(pa.timestamp("ns", "UTC")), "v": x})
        source, out = folder / "in.arrow", folder / "out.parquet"
        with pa.OSFile(str(source), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=PUSH)
        store = {"float64": "f64", "float32": "f32", "int16": "i16"}[str(x.dtype)]
        text = f'source s (time, v: {store}) at {rate:g} Hz from arrow("{source}")\nsink s to parquet("{out}")'
        Run(flowedge.compile(text=text))()
        file = pq.ParquetFile(out)
        assert file.read()["v"].to_numpy().tobytes() == x.tobytes()
        groups = [file.metadata.row_group(g) for g in range(file.metadata.num_row_groups)]
        time, values = (sum(g.column(k).total_compressed_size for g in groups) for k in (0, 1))
        stored = "absent"
        if peer.is_there:
            np.save(folder / "x.npy", x)
            stored = f"{x.nbytes / peer.ask('size', files=[str(folder / 'x.npy')])[0]:.2f}"
        lines.append(f"| {title} | {time / len(x):.3f} | {x.nbytes / values:.2f} | {stored} |")
    return lines


def main() -> list[str]:
    """Print the tables; returns their lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options, _ = parser.parse_known_args()
    peer, given = Codecs(SCRIPT, PYTHON), series(options.rows)
    names = peer.ask("versions") if peer.is_there else {}
    lines = [
        f"W4, compression, {options.rows:,} samples, within {SHARE:.0%} of the range; {', '.join(f'{n} {v}' for n, v in names.items()) or 'pcodec and ZFP absent'}",
        "",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, (x, _) in given.items():
            lines += lossy(title, x, peer, options.rounds, folder)
        lines += lossless(given, peer, folder)
    print(machine(), *lines, sep="\n")
    return lines


LIBRARY = compiled("compress_series")

if __name__ == "__main__":
    main()
