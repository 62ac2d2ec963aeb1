"""What runs before have left in the folders of a sink: unfinished files, and finished ones that wait to be shown."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from flowedge.sinks import disk
from flowedge.sinks.atomic import AtomicFile, explained, final_of
from flowedge.sinks.contract import Ready
from flowedge.sinks.digests import of_file


def sweep(base: Path, depth: int, owns: Callable[[Path], bool]) -> None:
    """Remove unfinished files of runs that were killed; those of a run at work are locked. Never raises.

    Parameters
    ----------
    base : the folder below which all files of the sink lie
    depth : how deep they lie
    owns : whether a file of the sink could be called that
    """
    for folder, below, names in os.walk(base):
        if len(Path(folder).relative_to(base).parts) >= depth:
            below.clear()
        for name in names:
            temporary = Path(folder) / name
            final = final_of(temporary)
            if final is not None and owns(final) and not _is_held(temporary):
                disk.remove(temporary)


def is_whole(path: Path, one: Ready) -> bool:
    """Whether a file has the bytes that it had when it was complete."""
    if not path.is_file() or path.stat().st_size != one.size_bytes:
        return False
    return of_file(path, one.digest.algorithm) == one.digest


def _is_held(path: Path) -> bool:
    """Whether a run is writing this file now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def probe(directory: Path) -> list[Path]:
    """Find out now whether files can be made here; gives the directories that were made."""
    from_nothing = not directory.exists()
    probe = AtomicFile(directory / f"probe-{os.getpid()}")
    probe.discard()
    if not from_nothing:
        return []
    try:
        return disk.make_directories(directory)
    except OSError as error:
        raise explained(directory, error) from None
