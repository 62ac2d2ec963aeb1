"""Live through one seed, or so many from there on.

PYTHONPATH=$PWD:$PWD/tests .venv/bin/python -m support.simulation SEED [COUNT]
"""

import faulthandler
import sys
import tempfile
import time
import traceback
from pathlib import Path

from support.simulation.broker import connected
from support.simulation.world import live


def main(first, count=1):
    """The seeds that found something."""
    bad, lives, began = [], 0, time.perf_counter()
    faulthandler.enable()
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as parent,
        connected(),
    ):
        for seed in range(first, first + count):
            try:
                world = live(seed, parent)
            except Exception:  # noqa: BLE001  # it is told, and the next seed has its turn
                bad.append(seed)
                sys.stdout.write(f"seed {seed}\n{traceback.format_exc()}\n")
                continue
            lives += world.lives
            if world.wrong or count == 1:
                sys.stdout.write(world.told())
            if world.wrong:
                bad.append(seed)
    spent = time.perf_counter() - began
    sys.stdout.write(f"{count} seeds, {lives} lives, {spent:.0f} s, found something: {bad}\n")
    return bad


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
