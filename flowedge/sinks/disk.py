"""Every call that changes what is on the disk, in one place: nothing durable goes past it.

So a test can put a `Disk` of its own into `calls` and make each single call fail, stop half-way, or
forget what was not synced. A process can also be watched from outside, at the system's own functions.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

_SYNC_FILE_RANGE_WRITE = 2


def _begin() -> Callable[[int, int, int, int], int] | None:
    """Linux's ``sync_file_range``, which Python does not have; None elsewhere."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


_BEGIN = _begin()


class Disk:
    """The system's calls, named by what they are for. All raise OSError."""

    def create(self, path: Path, *, fresh: bool = False) -> int:
        """A descriptor to append to a file with, made where it is missing; `fresh`: emptied."""
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
        return os.open(path, flags, 0o666)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Append bytes; how many were taken."""
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Bytes and length of a file outlast a loss of power."""
        os.fsync(descriptor)

    def begin_writing(self, descriptor: int, start: int, size: int) -> None:
        """Let the system begin to bring bytes to the disk, so that a sync that comes later waits for few. Nothing lasts by it; never raises."""
        if _BEGIN is not None:
            _BEGIN(descriptor, start, size, _SYNC_FILE_RANGE_WRITE)

    def rename(self, old: Path, new: Path) -> None:
        """Put a file in the place of another, in one step."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """Make one directory, if it is missing."""
        path.mkdir(exist_ok=True)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        """The names in a directory outlast a loss of power."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems cannot sync a directory
                raise
        finally:
            os.close(descriptor)


calls = Disk()
"""What is used; tests put another one here."""


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Append all of it, however the system divides it."""
    rest = memoryview(data).cast("B")
    while rest.nbytes:
        rest = rest[calls.write(descriptor, rest) :]


def make_directories(path: Path) -> list[Path]:
    """Make a directory and its parents, to last; gives those that were not there, the innermost first."""
    missing = []
    at = path
    while not at.exists() and at != at.parent:
        missing.append(at)
        at = at.parent
    for one in reversed(missing):
        calls.make_directory(one)
        calls.sync_directory(one.parent)
    if not missing and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return missing


def remove_directories(made: list[Path]) -> None:
    """Remove directories as far as they are empty. Never raises."""
    for one in made:
        try:
            calls.remove_directory(one)
        except OSError:
            return


def remove(path: Path) -> None:
    """Remove a file as far as it can be. Never raises."""
    with contextlib.suppress(OSError):
        calls.unlink(path)
