"""The kernels of a plan compiled side by side: some here, some in a process beside this one.

Most of a cold start is Numba at work, in Python and so on one core. The process beside this one imports
it while this one still reads and checks the pipeline, and takes the largest kernels over; each is
compiled by `flowedge.compile.native.compiled` wherever that happens, so the code is the same. Whatever
goes wrong with the helper (it cannot start, dies, does not know a function), its kernels are
compiled here.
"""

import contextlib
import inspect
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from flowedge.cache import Cache, default_cache
from flowedge.compile import native
from flowedge.compile.kernels import library

_HEAD = struct.Struct("<q")
_LITTLE = 150
"""Work up to this weight is done by the helper: to get Numba going here takes as long, and 60 MiB."""


@dataclass(frozen=True, slots=True)
class Job:
    """A kernel to compile."""

    key: str
    source: str
    names: dict[str, object]

    @property
    def weight(self) -> int:
        """About how long it takes: lines of text, those of the functions called included."""
        seen: set[object] = set()
        return self.source.count("\n") + sum(_weight(v, seen) for v in self.names.values())


def _weight(value: object, seen: set[object]) -> int:
    """About how many lines a function and all that it calls have; 0 for anything else."""
    if not inspect.isfunction(value) or value in seen:
        return 0
    seen.add(value)
    called = (value.__globals__.get(name) for name in value.__code__.co_names)
    return len(value.__code__.co_code) // 20 + sum(_weight(v, seen) for v in called)


@dataclass
class Builds:
    """Collects the kernels of a plan and compiles them; a context manager, which ends the helper.

    Parameters
    ----------
    store : the cache of object code; the user's own one by default
    """

    store: Cache = field(default_factory=default_cache)
    _found: dict[str, bytes] = field(default_factory=dict)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _library: dict[str, library.Run] = field(default_factory=dict)
    _helper: "Helper | None" = None

    def __enter__(self) -> "Builds":
        """Start the helper now if this is the first start ever: it will be needed."""
        if not self.store.holds("objects") and Helper.is_worth_it():
            self._helper = Helper()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the helper."""
        if self._helper is not None:
            self._helper.close()

    def ask(self, source: str, names: Mapping[str, object]) -> str:
        """Note a kernel; its key among the objects. See `native.build` for what is given."""
        key = native.fingerprint(source, names)
        if key in self._found or key in self._jobs:
            return key
        kept = native.kept(key, self.store)
        if kept is None:
            self._jobs[key] = Job(key, source, dict(names))
        else:
            self._found[key] = kept
        return key

    def prepare(self, runs: Iterable[library.Run]) -> None:
        """Note library kernels that will be called; they are compiled along if they must be."""
        for run in runs:
            if library.is_ready(run):
                continue
            key = native.fingerprint(library.TEXT, {"run": run})
            if native.kept(key, self.store) is None:
                self._library[key] = run
                self._jobs[key] = Job(key, library.TEXT, {"run": run})

    def objects(self) -> dict[str, bytes]:
        """Object code by key, compiled as far as it was not at hand; without the library kernels.

        Raises
        ------
        InternalError
            a kernel does not compile
        """
        jobs = sorted(self._jobs.values(), key=lambda job: (job.weight, job.key))
        self._jobs.clear()
        helper = self._helper
        if helper is None and len(jobs) > 1 and Helper.is_worth_it():
            helper = self._helper = Helper()
        if helper is not None and sum(job.weight for job in jobs[:-1]) < _LITTLE:
            while jobs and (job := helper.take(jobs)) is not None:
                self._receive(helper, job)
        given: Job | None = None
        while jobs or given is not None:
            if helper is not None and given is None and jobs:
                given = helper.take(jobs)
            if not jobs and given is not None and helper is not None:
                self._receive(helper, given)
                given = None
                continue
            if jobs:
                job = jobs.pop(0)
                self._keep(job, native.compiled(job.source, job.names, store=self.store))
            if given is not None and helper is not None and helper.has_answered():
                self._receive(helper, given)
                given = None
        return self._found

    def _receive(self, helper: "Helper", job: Job) -> None:
        code = helper.answer()
        if code is None:
            code = native.compiled(job.source, job.names, store=self.store)
        else:
            self.store.put("objects", job.key, code)
        self._keep(job, code)

    def _keep(self, job: Job, code: bytes) -> None:
        run = self._library.get(job.key)
        if run is None:
            self._found[job.key] = code
        else:
            library.keep(run, code)


class Helper:
    """A process that compiles kernels, one at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "flowedge.compile.worker"]
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(  # noqa: S603  # ourselves
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:
            self._process = None

    @staticmethod
    def is_worth_it() -> bool:
        """Whether there is a core for it, and Numba has not been imported here anyway."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return (cores or 1) > 1 and bool(sys.executable) and "numba" not in sys.modules

    def take(self, jobs: list[Job]) -> Job | None:
        """Give it the largest of some jobs, taken out of the list; None where it takes none."""
        if self._process is None or self._process.stdin is None:
            return None
        for place in range(len(jobs) - 1, -1, -1):
            job = jobs[place]
            try:
                data = pickle.dumps((job.source, job.names))
            except (pickle.PicklingError, AttributeError, TypeError):
                continue  # a function that has no name to find it by
            try:
                self._process.stdin.write(_HEAD.pack(len(data)) + data)
                self._process.stdin.flush()
            except OSError:
                self.close()
                return None
            return jobs.pop(place)
        return None

    def has_answered(self) -> bool:
        """Whether an answer, or its end, can be read without waiting."""
        import select  # noqa: PLC0415

        if self._process is None or self._process.stdout is None:
            return True
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def answer(self) -> bytes | None:
        """The object code; None where it failed."""
        process = self._process
        if process is None or process.stdout is None:
            return None
        head = process.stdout.read(_HEAD.size)
        size = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0
        code = process.stdout.read(size) if size > 0 else b""
        if len(head) < _HEAD.size:
            self.close()
        return code if code and native.is_sealed(code) else None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def serve(given: Any, out: Any) -> None:  # noqa: ANN401
    """Compile what comes until nothing comes any more.

    Parameters
    ----------
    given, out : binary streams; each message is its length [int64, little-endian] and its bytes
    """
    native.build(
        "def kernel(ctx):\n    return i64(ctx, 0)\n", {}
    )  # what Numba does once, done early
    while len(head := given.read(_HEAD.size)) == _HEAD.size:
        source, names = pickle.loads(given.read(_HEAD.unpack(head)[0]))  # noqa: S301  # from our parent
        try:
            code = native.build(source, names)
        except Exception:  # noqa: BLE001  # the parent compiles it again, and says what is wrong
            code = b""
        out.write(_HEAD.pack(len(code)) + code)
        out.flush()
