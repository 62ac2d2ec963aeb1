"""A file that nobody sees before it is complete and safe on the disk."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowedge.lang.errors import SinkError
from flowedge.sinks import disk
from flowedge.sinks.digests import ALGORITHMS, NEWEST, Digest

_BUFFER = 1 << 16
_PIECE = 1 << 20
_BEGIN = 8 << 20
"""So many bytes are on their way to the disk at a time before a sync asks for them."""
_UNSEEN = ".inprogress"


def temporary_of(path: Path) -> Path:
    """The name of a file until it is complete: hidden, beside its own."""
    return path.with_name(f".{path.name}{_UNSEEN}")


def final_of(temporary: Path) -> Path | None:
    """The inverse of `temporary_of`; None for any other name."""
    name = temporary.name
    if not name.startswith(".") or not name.endswith(_UNSEEN) or len(name) <= len(_UNSEEN) + 1:
        return None
    return temporary.with_name(name[1 : -len(_UNSEEN)])


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known to be on the disk of a file that is not complete."""

    size_bytes: int
    digest: Digest

    def state(self) -> list[Any]:
        """As a checkpoint keeps it."""
        return [self.size_bytes, self.digest.text]

    @classmethod
    def of(cls, state: Sequence[Any]) -> "Kept":
        """The inverse of `state`."""
        size, text = state
        return cls(size, Digest.of(text))


class AtomicFile:
    """A file under a temporary name beside its own, for writers of any format to write into.

    `write` may be called by a library that loses the error, as Parquet's writer does when it
    closes on a full disk; so the first error is kept, and nothing is published after it. A failed
    fsync is never tried again: the system may have dropped the pages and forgotten that it did
    (Rebello et al., "Can applications recover from fsync failures?", USENIX ATC 2020).

    Parameters
    ----------
    path : the name under which it becomes visible; missing directories are made
    syncs : whether `finish` waits until the bytes are safe from a loss of power
    kept : go on in a file that an earlier run has left, with the same kind of digest: what stands behind these bytes is cut off

    Raises
    ------
    SinkError : the file cannot be made there, or holds less than `kept`
    """

    closed = False
    """What libraries ask of a file."""

    def __init__(self, path: Path, *, syncs: bool = True, kept: Kept | None = None) -> None:
        self.kept = kept or Kept(0, Digest(NEWEST, ""))
        self._is_again = False
        self.path = path
        self.temporary = temporary_of(path)
        self.syncs = syncs
        self.size_bytes = self.kept.size_bytes
        self.error: SinkError | None = None
        self._hasher = ALGORITHMS[self.kept.digest.algorithm]()
        self._made: list[Path] = []
        self._discarded = False
        self._descriptor = -1
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if (
                path.exists() and not path.is_file()
            ):  # a new file would take the place of the device
                raise SinkError(
                    f"`{path}` is a device or a pipe, and a sink makes a file of its own; give it another name"
                )
            self._made = disk.make_directories(path.parent)
            self._descriptor = disk.calls.create(self.temporary)
        except OSError as error:
            disk.remove_directories(self._made)
            raise explained(path, error) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._close()
            raise SinkError(
                f"another run is writing `{path}` now; wait for it, or write elsewhere"
            ) from None
        try:
            size = os.fstat(self._descriptor).st_size
            if size < self.kept.size_bytes:
                raise OSError(errno.EIO, f"DATA LOSS: {size:,} of {self.kept.size_bytes:,} bytes are there")  # fmt: skip
            if size > self.kept.size_bytes:  # of a run that was killed
                disk.calls.truncate(self._descriptor, self.kept.size_bytes)
        except OSError as error:
            self._close()
            raise explained(path, error) from None
        self._waiting = bytearray()
        self._handed = self._begun = self.kept.size_bytes

    @property
    def digest(self) -> Digest:
        """That of all bytes so far."""
        hasher = self._hasher
        if self._waiting:
            hasher = hasher.copy()
            hasher.update(self._waiting)
        return Digest(self.kept.digest.algorithm, hasher.hexdigest())

    def write(self, data: bytes | memoryview) -> int:
        """Append; raises the first error again, each time. What comes after `discard` is lost."""
        size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        if self._discarded:  # a writer that is collected may still write its end
            return size
        if self.error is not None:
            raise self.error
        if self._is_again:
            return self._compare(data, size)
        try:
            if size >= _BUFFER or len(self._waiting) + size > _BUFFER:
                self._flush()
            if size >= _BUFFER:
                self._put(data)
            else:
                self._waiting += data
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None
        self.size_bytes += size
        return size

    # ---- going on after a checkpoint

    def sync(self) -> None:
        """Make all bytes so far last, under the temporary name; `kept` tells of them. Raises SinkError."""
        if self.error is not None:
            raise self.error
        if self.size_bytes == self.kept.size_bytes:
            return
        try:
            self._flush()
            disk.calls.sync(self._descriptor)
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None
        self.kept = Kept(self.size_bytes, self.digest)

    def begin_again(self) -> None:
        """The bytes that the file holds will be written once more, to be compared and not kept."""
        self._is_again, self.size_bytes = bool(self.kept.size_bytes), 0

    @property
    def has_caught_up(self) -> bool:
        """All that the file holds was written again, and was the same."""
        return Kept(self.size_bytes, self.digest) == self.kept

    def repeat(self) -> None:
        """Write what the file holds once more, for formats that need nothing else; raises OSError."""
        with self.temporary.open("rb") as file:
            while self._is_again and (piece := file.read(_PIECE)):
                self.write(piece)

    def _compare(self, data: bytes | memoryview, size: int) -> int:
        """Take bytes that the file should hold already."""
        self._hasher.update(data)
        self.size_bytes += size
        if self.size_bytes >= self.kept.size_bytes:
            self._is_again = False
        return size

    def release(self) -> None:
        """Let go of the file and leave it as it is, to go on from a checkpoint. Never raises."""
        self._discarded = True
        self._close()

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
        if self._descriptor < 0:
            return
        try:
            self._flush()
            if self.syncs:
                disk.calls.sync(self._descriptor)
            # The disk may have filled up behind a buffered write.
            if os.fstat(self._descriptor).st_size != self.size_bytes:
                raise OSError(errno.EIO, "fewer bytes on the disk than were written")
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None
        self._close()

    def publish(self) -> None:
        """Rename the finished file to its own name; `sync_directory` makes that last.

        Raises
        ------
        SinkError : the name is taken by a directory, or the directory has gone
        """
        assert self._descriptor < 0, "publish before finish"
        try:
            disk.calls.rename(self.temporary, self.path)
        except OSError as error:
            self.error = explained(self.path, error)
            raise self.error from None

    def discard(self) -> None:
        """Remove what was written, and the directories that were made for it. Never raises."""
        self._discarded = True
        self._close()
        disk.remove(self.temporary)
        disk.remove_directories(self._made)

    def _flush(self) -> None:
        """Small pieces go as one: to the system, and to the digest, which takes them one by one at a quarter of its speed."""
        if self._waiting:
            self._put(bytes(self._waiting))
            self._waiting.clear()

    def _put(self, data: bytes | memoryview) -> None:
        """Hand bytes to the system; raises OSError."""
        disk.write_all(self._descriptor, data)
        self._hasher.update(data)
        self._handed += memoryview(data).nbytes
        if self.syncs and self._handed - self._begun >= _BEGIN:
            disk.calls.begin_writing(self._descriptor, self._begun, self._handed - self._begun)
            self._begun = self._handed

    def _close(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # the bytes are synced, or not wanted
                os.close(self._descriptor)
            self._descriptor = -1


def replace(path: Path, data: bytes) -> None:
    """Put a small file in its place, to last: written, synced, renamed, its directory synced.

    Raises
    ------
    SinkError : it could not be; the file of before is still there
    """
    file = AtomicFile(path)
    try:
        file.write(data)
        file.finish()
        file.publish()
    except SinkError:
        file.discard()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory last through a loss of power; raises SinkError."""
    try:
        disk.calls.sync_directory(path)
    except OSError as error:
        raise explained(path, error) from None


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
