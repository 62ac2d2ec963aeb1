"""What the benchmarks share: C by hand, rounds in turn, medians and ratios, the table of the README."""

import contextlib
import ctypes
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

C = Path(__file__).parent / "c"
PEERS = Path(__file__).parent / "peers"


def compiled(name: str) -> ctypes.CDLL:
    """A C file of this folder as a library: ``gcc -O3 -march=native``, without contraction."""
    out = Path(tempfile.mkdtemp(prefix="flowedge-bench-")) / f"{name}.so"
    build(name, out, "-O3", "-march=native")
    return ctypes.CDLL(str(out))


def build(name: str, out: Path, *options: str) -> None:
    """Make a library of a C file of this folder."""
    fixed = ["-ffp-contract=off", "-shared", "-fPIC"]
    command = ["gcc", *options, *fixed, "-o", str(out), str(C / f"{name}.c"), "-lm"]
    subprocess.run(command, check=True)


class Spent(NamedTuple):
    """What a job took [s]."""

    wall: float
    cpu: float


def timed(job: Callable[..., object], *args: object) -> Spent:
    """Do a job."""
    wall, cpu = time.perf_counter(), time.process_time()
    job(*args)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


class Apart:
    """A job in a process of its own, which lasts: the threads that it leaves behind are not counted to others.

    Parameters
    ----------
    job, args : what to do each time; functions of modules, as they are found there by name
    """

    def __init__(self, job: Callable[..., object], *args: object) -> None:
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, job, args), daemon=True)
        self._process.start()

    def __call__(self) -> Spent:
        """Do it once; what it took, measured there."""
        self._here.send(None)
        return self._here.recv()


def _serve(pipe: Connection, job: Callable[..., object], args: tuple[object, ...]) -> None:
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(timed(job, *args))


class PeerError(RuntimeError):
    """A peer that was asked gave no answer."""


class Peer:
    """A script of `peers/` in a process that lasts, in an environment that FlowEdge is not in; asked by lines of JSON.

    Parameters
    ----------
    script : what answers there
    python : the interpreter of its environment; where there is none, the peer is absent
    needs : a module that it must be able to import, for interpreters that were not made for the peer
    """

    def __init__(self, script: Path, python: Path, needs: str = "") -> None:
        self._name, self._process = script.stem, None
        if python.exists() and (not needs or _imports(python, needs)):
            self._process = subprocess.Popen([python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    @property
    def is_there(self) -> bool:
        """Whether it is installed."""
        return self._process is not None

    def ask(self, job: str, **about: Any) -> Any:  # noqa: ANN401
        """A question, and its answer; raises `PeerError` where the process has ended or says what is no JSON."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # no line will come
            self._process.stdin.write(json.dumps({"job": job, **about}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            msg = f"{self._name} ended with status {self._process.wait()}"
            raise PeerError(msg)
        try:
            return json.loads(line)
        except json.JSONDecodeError as e:
            msg = f"{self._name} answered {line[:40]!r}"
            raise PeerError(msg) from e

    def close(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process = None


def peer(script: str, environment: str) -> Peer:
    """The peer of ``peers/SCRIPT.py`` in the environment that ``peers/install.py`` made of ``ENVIRONMENT.txt``."""
    return Peer(PEERS / f"{script}.py", PEERS / ".envs" / environment / "bin" / "python")


def _imports(python: Path, module: str) -> bool:
    """Whether an interpreter finds a module."""
    command = [python, "-c", f"import {module}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


class Asked:
    """A job that a peer does when called, of which it says what it took and a checksum of what came of it.

    Parameters
    ----------
    peer : who is asked
    truth : the checksum that is right
    tolerance : how far from it, relative to each of its numbers, still is
    about : what the question says

    `result` is ``equal``, ``DIFFERENT`` where it once was, or why there was no answer; the peer then is not asked again, and what it takes unknown.
    """

    def __init__(self, peer: Peer, truth: list[float], tolerance: float, **about: Any) -> None:  # noqa: ANN401
        self._peer, self._truth, self._tolerance, self._about = peer, truth, tolerance, about
        self.result, self._failed = "equal", False

    def __call__(self) -> Spent:
        """Ask once."""
        if self._failed:
            return Spent(math.nan, math.nan)
        try:
            answer = self._peer.ask("run", **self._about)
            found, spent = answer["checksum"], Spent(answer["wall_s"], answer["cpu_s"])
        except PeerError as e:
            self.result, self._failed = str(e), True
            return Spent(math.nan, math.nan)
        if not alike(found, self._truth, self._tolerance):
            self.result = "DIFFERENT"
        return spent


def alike(found: list[float], truth: list[float], tolerance: float) -> bool:
    """Whether two checksums are of the same result."""
    return len(found) == len(truth) and all(
        math.isclose(a, b, rel_tol=tolerance) for a, b in zip(found, truth, strict=True)
    )


def rounds(
    runs: dict[str, Callable[[], object]], count: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each run, all in turn, there and back, after one untimed round; the disk at rest before each.

    There and back (A B C, C B A), for a run pays for what the one before it leaves: pages that went back to the
    host of a virtual machine, and must be fetched again, cost more to write than all else there is to a file.

    What is done once for a process (imports, object code, first touches of the file) is start-up, which
    `start.py` measures.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for number in range(count):
        for name, run in list(runs.items())[:: -1 if number % 2 else 1]:
            os.sync()  # a file system writes the pages of others along with those of who asks for his own
            found[name].append(run() if isinstance(run, Apart | Asked) else timed(run))
    return found


def table(found: dict[str, list[tuple[float, float]]], rows: int, against: str) -> list[str]:
    """Lines of Markdown: medians, and ratios to one of them, round by round."""
    lines = [
        "| | M rows/s | M rows per CPU second | ratio (median of rounds) | spread |",
        "|---|---|---|---|---|",
    ]
    for name, times in found.items():
        wall, cpu = statistics.median(w for w, _ in times), statistics.median(c for _, c in times)
        ratios = [b[1] / a[1] for a, b in zip(times, found[against], strict=True)]
        lines.append(
            f"| {name} | {rows / wall / 1e6:.1f} | {rows / cpu / 1e6:.1f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} – {max(ratios):.2f} |"
        )
    return lines


def here(**jobs: Callable[..., object]) -> dict[str, Callable[..., object]]:
    """Those of the jobs whose package, after which they are called, is installed; by name and version."""
    from importlib.metadata import version

    names = {"duckdb": "DuckDB", "polars": "Polars"}
    return {
        f"{names[n]} {version(n)}": job for n, job in jobs.items() if importlib.util.find_spec(n)
    }


def machine() -> str:
    """One line: processor, Python, versions."""
    import llvmlite
    import numba
    import numpy as np
    import pyarrow as pa

    model = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if x.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}; Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, llvmlite {llvmlite.__version__}, pyarrow {pa.__version__}"


def summary(results: str) -> list[str]:
    """The table of the README out of the text of `RESULTS.md`: FlowEdge beside each of the others."""
    lines = ["| work | FlowEdge, by CPU time |", "|---|---|"]
    for section in results.partition("\n# Models\n")[0].split("\n## ")[1:]:
        _, *body = section.splitlines()
        rows = [[c.strip() for c in x.strip("| ").split("|")] for x in body if x.startswith("| ")]
        ratios = {row[0]: float(row[3]) for row in rows if len(row) == 5 and row[3][:1].isdigit()}
        if "FlowEdge" in ratios:
            ours = ratios.pop("FlowEdge")
            work = next(x for x in body if x).split(";")[0].partition(", ")[2]
            beside = ", ".join(f"{ours / other:.2f} × {name}" for name, other in ratios.items())
            lines.append(f"| {work} | {beside} |")
        else:
            lines += [
                f"| {row[0]} | {row[1]} |"
                for row in rows
                if len(row) == 2 and row[1] not in {"figure", "absent"}
            ]
    return lines
