"""Run with the faults of `faults.c` under it: each life of the pipeline is a process of its own.

Arguments: a directory, the sinks, the kinds, points of each, a seed, and `unsynced` to leave out a sync.
"""

import ctypes
import json
import os
import random
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.recovery import SMALL, Place

from flowedge.lang.errors import FlowEdgeError
from flowedge.runtime.run import Run
from flowedge.sinks import disk

KINDS = {"before": 1, "half": 2, "after": 3, "eio": 4, "enospc": 5, "power": 6}
SHIM = ctypes.CDLL(None)


class Fault:
    """Which call goes wrong, and how."""

    def __init__(self, at=-1, kind="before"):
        self.at, self.kind = at, kind
        self.trace = [f"call {at}"]


class Processes(Place):
    """Lives that end for real: the faults come from below, by the system's own functions."""

    calls = 0

    def run(self, calls=None):
        fault = calls if isinstance(calls, Fault) else Fault()
        aside = self.root / "aside"
        aside.mkdir(exist_ok=True)
        (aside / "lasting").unlink(missing_ok=True)
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            self._live(fault, aside, into)
        os.close(into)
        with os.fdopen(out, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        self._cut(aside / "lasting")
        self.said = said.decode()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            self.calls = int(said)
            return True
        return False

    def _live(self, fault, aside, into):
        """The child; it does not come back."""
        SHIM.fe_arm(
            f"{self.root}/".encode(),
            str(aside).encode(),
            ctypes.c_long(fault.at),
            KINDS[fault.kind],
        )
        try:
            Run(self.plan, checkpoint=self.root / "state", every_s=0.0)()
        except FlowEdgeError as error:
            os.write(into, repr(error).encode())
            os._exit(3)
        except BaseException as error:  # noqa: BLE001  # told by the parent
            os.write(into, b"TRACEBACK " + repr(error).encode())
            os._exit(4)
        os.write(into, str(SHIM.fe_count()).encode())
        os._exit(0)

    def _cut(self, told):
        """With the power gone: cut files to the bytes that last."""
        if not told.exists():
            return
        lasting = dict(tuple(map(int, line.split())) for line in told.read_text().splitlines())
        for path in self.root.rglob("*"):
            if path.is_file() and path.stat().st_size > lasting.get(path.stat().st_ino, 1 << 60):
                os.truncate(path, lasting[path.stat().st_ino])

    def fault(self, at, kind, rng):
        self.fresh()
        wrong = []
        for fault in (Fault(at, kind), Fault(rng.randrange(60), rng.choice(list(KINDS)))):
            self.run(fault)
            wrong += self.look()
            if self.said.startswith("TRACEBACK"):
                wrong.append(self.said)
        if not self.run():
            wrong.append(f"the run in peace failed: {self.said}")
        elif self.outputs() != self.wanted:
            wrong.append("the outputs differ")
        return [f"{kind} at {at}: {w}" for w in wrong]


def main(root, sinks, kinds, share, seed, unsynced=""):
    os.chdir(root)
    for owner, name, value in SMALL:
        setattr(owner, name, value)
    if unsynced:
        sync = disk.Disk.sync

        def some(self, descriptor):
            if "/out/" not in os.readlink(f"/proc/self/fd/{descriptor}"):
                sync(self, descriptor)

        disk.Disk.sync = some
    place = Processes(Path(root), sinks)
    rng = random.Random(f"{seed} {sinks}")
    wrong, points = [], 0
    calls = place.calls
    for kind in kinds.split(","):
        for at in sorted(rng.sample(range(calls), min(int(share), calls))):
            points += 1
            wrong += place.fault(at, kind, rng)
    place.fresh()
    shutil.rmtree(place.root / "aside", ignore_errors=True)
    print(json.dumps({"points": points, "calls": calls, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
