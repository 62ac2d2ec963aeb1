"""A file that nobody sees before it is complete and safe on the disk."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from flowedge.lang.errors import SinkError

_BUFFER = 1 << 16


class AtomicFile:
    """A file under a temporary name beside its own, for writers of any format to write into.

    `write` may be called by a library that loses the error, as Parquet's writer does when it
    closes on a full disk; so the first error is kept, and nothing is published after it.

    Parameters
    ----------
    path : the name under which it becomes visible; missing directories are made

    Raises
    ------
    SinkError : the file cannot be made there
    """

    closed = False
    """What libraries ask of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.inprogress")
        self.size_bytes = 0
        self.error: SinkError | None = None
        self._made: list[Path] = []
        self._discarded = False
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if (
                path.exists() and not path.is_file()
            ):  # a new file would take the place of the device
                raise SinkError(
                    f"`{path}` is a device or a pipe, and a sink makes a file of its own; give it another name"
                )
            self._made = make_directories(path.parent)
            descriptor = os.open(self.temporary, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666)
            self._file: BinaryIO | None = os.fdopen(descriptor, "wb", _BUFFER)
        except OSError as error:
            remove_directories(self._made)
            raise explained(path, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise SinkError(
                f"another run is writing `{path}` now; wait for it, or write elsewhere"
            ) from None
        self._file.truncate()

    def write(self, data: bytes | memoryview) -> int:
        """Append; raises the first error again, each time. What comes after `discard` is lost."""
        size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        if self._discarded:  # a writer that is collected may still write its end
            return size
        if self.error is not None:
            raise self.error
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None
        self.size_bytes += size
        return size

    def flush(self) -> None:
        """Left to `finish`: a library that flushes often must not cost a system call each time."""

    def close(self) -> None:
        """What libraries call at their end; the file stays open for `finish`."""

    def readable(self) -> bool:
        """It is not."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It only grows."""
        return False

    def finish(self) -> None:
        """Everything is written: sync it to the disk, still under the temporary name.

        Raises
        ------
        SinkError : an error now, or any before
        """
        if self.error is not None:
            raise self.error
        if self._file is None:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            # The disk may have filled up behind a buffered write.
            if os.fstat(self._file.fileno()).st_size != self.size_bytes:
                raise OSError(errno.EIO, "fewer bytes on the disk than were written")
            self._file.close()
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None
        self._file = None

    def publish(self) -> None:
        """Rename the finished file to its own name; `sync_directory` makes that last.

        Raises
        ------
        SinkError : the name is taken by a directory, or the directory has gone
        """
        assert self._file is None, "publish before finish"
        try:
            self.temporary.replace(self.path)
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None

    def discard(self) -> None:
        """Remove what was written, and the directories that were made for it. Never raises."""
        self._discarded = True
        if self._file is not None:
            with contextlib.suppress(OSError):  # fails on a full disk; the bytes are not wanted
                self._file.close()
            self._file = None
        try:
            self.temporary.unlink(missing_ok=True)
        except OSError:
            return
        remove_directories(self._made)


def make_directories(path: Path) -> list[Path]:
    """Make a directory and its parents; gives those that were not there, the innermost first."""
    made = []
    at = path
    while not at.exists() and at != at.parent:
        made.append(at)
        at = at.parent
    path.mkdir(parents=True, exist_ok=True)
    return made


def remove_directories(made: list[Path]) -> None:
    """Remove directories as far as they are empty."""
    for one in made:
        try:
            one.rmdir()
        except OSError:
            return


def sync_directory(path: Path) -> None:
    """Make renames in a directory last through a loss of power."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise explained(path, error) from None
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a directory
            raise explained(path, error) from None
    finally:
        os.close(descriptor)


def explained(path: Path, error: OSError) -> SinkError:
    """What the system said about an output, as one sentence."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            what = f"the disk is full: cannot write `{path}`; free some space and run again"
        case errno.EFBIG:
            what = f"`{path}` is larger than the system allows; roll or partition the output"
        case errno.EACCES | errno.EPERM:
            what = f"no permission to write `{path}`; choose another place, or allow it with `chmod u+w`"
        case errno.EROFS:
            what = f"cannot write `{path}`: the file system is read-only"
        case errno.ENOTDIR | errno.EEXIST:
            parent = next((p for p in path.parents if p.is_file()), path.parent)
            what = f"cannot write `{path}`: `{parent}` is a file, not a directory"
        case errno.EISDIR:
            what = f"`{path}` is a directory; give the sink the name of a file in it"
        case errno.ENAMETOOLONG:
            what = f"the name of the output is too long for this system: `{str(path)[:80]}…`"
        case errno.EMFILE | errno.ENFILE:
            what = f"too many open files: cannot write `{path}`; raise the limit with `ulimit -n`"
        case _:
            what = f"cannot write `{path}`: {error.strerror or error}"
    return SinkError(what)
