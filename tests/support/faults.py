"""A disk that fails where a test wants it to, and forgets what was not synced when the power goes."""

import contextlib
import errno
import itertools
import os
import random
import shutil
from pathlib import Path

from flowedge.sinks import disk
from flowedge.sinks.disk import Disk

KINDS = ("before", "half", "after", "eio", "enospc", "power", "power_some")
"""Killed before a call, half-way through its write, after it; an error once; a disk that is full from there
on; the power gone, with nothing kept that was not synced, or some of it."""


_NUMBERS = itertools.count()


class Killed(BaseException):
    """The process is gone: nothing that it would still do is done."""


class FaultyDisk(Disk):
    """Counts the durable calls; the one numbered `at` goes wrong.

    Dead, it lets nothing through, so that what a process does on its way out leaves no mark. The model of
    a loss of power is the strict one of POSIX: bytes last by a sync of their file, names by a sync of
    their directory, and neither by the other. `power_some` keeps a beginning of the changes of names, as a
    journal does, and puts zeros into the place of bytes that were not synced.

    Parameters
    ----------
    aside : a directory on the same file system, for what may have to come back
    forget : says of a call and a path whether it does nothing, for tests of the tests
    """

    def __init__(self, aside, at=-1, kind="before", seed=0, forget=lambda *_: False):
        self.aside, self.at, self.kind, self.forget = Path(aside), at, kind, forget
        self.random = random.Random(seed)
        self.count = 0
        self.is_dead = self.is_full = False
        self.trace = []
        self._open = {}  # descriptor: inode
        self._synced = {}  # inode: bytes that last
        self._names = []  # [undo, directories still to be synced]
        self.aside.mkdir(parents=True, exist_ok=True)

    # ---- the calls

    def create(self, path, *, fresh=False):
        new = not Path(path).exists()
        descriptor = self._call(
            "create", path, lambda: super(FaultyDisk, self).create(path, fresh=fresh)
        )
        inode = os.fstat(descriptor).st_ino
        self._open[descriptor] = inode
        self._synced.setdefault(inode, 0 if new else os.fstat(descriptor).st_size)
        if new:
            self._changed(lambda: Path(path).unlink(missing_ok=True), path)
        return descriptor

    def write(self, descriptor, data):
        def half():
            os.write(descriptor, memoryview(data)[: len(data) // 2])

        return self._call("write", descriptor, lambda: os.write(descriptor, data), half)

    def truncate(self, descriptor, size):
        inode = os.fstat(descriptor).st_ino
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            file.seek(size)
            gone = file.read()

        def act():
            os.ftruncate(descriptor, size)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            lasting = self._synced.get(inode, 0)
            self._synced[inode] = min(lasting, size)
            self._changed(
                lambda: _back(path, size, gone[: max(0, lasting - size)]), path, file=inode
            )

        return self._call("truncate", descriptor, act)

    def sync(self, descriptor):
        def act():
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if not self.forget("sync", path):
                inode = os.fstat(descriptor).st_ino
                self._synced[inode] = os.fstat(descriptor).st_size
                for change in self._names:
                    if change[2] == inode:
                        change[1].clear()

        return self._call("sync", descriptor, act)

    def rename(self, old, new):
        old, new = Path(old), Path(new)

        def act():
            kept = self._keep(new)
            os.replace(old, new)

            def undo():
                os.replace(new, old)
                if kept is not None:
                    os.replace(kept, new)

            self._changed(undo, old, new)

        return self._call("rename", new, act)

    def unlink(self, path):
        path = Path(path)

        def act():
            kept = self._keep(path)
            path.unlink(missing_ok=True)
            if kept is not None:
                self._changed(lambda: os.replace(kept, path), path)

        return self._call("unlink", path, act)

    def make_directory(self, path):
        path = Path(path)

        def act():
            path.mkdir(exist_ok=True)
            self._changed(lambda: shutil.rmtree(path, ignore_errors=True), path)

        return self._call("make_directory", path, act)

    def remove_directory(self, path):
        path = Path(path)

        def act():
            path.rmdir()
            self._changed(lambda: path.mkdir(exist_ok=True), path)

        return self._call("remove_directory", path, act)

    def sync_directory(self, path):
        real = os.path.realpath(path)

        def act():
            if not Path(path).is_dir():
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
            if not self.forget("sync_directory", real):
                for change in self._names:
                    change[1].discard(real)

        return self._call("sync_directory", path, act)

    # ---- what goes wrong

    def _call(self, name, what, act, half=None):
        if self.is_dead:
            raise Killed
        number = self.count
        self.count += 1
        self.trace.append((name, str(what)))
        if self.is_full and name in ("write", "create", "make_directory", "rename"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number != self.at:
            return act()
        if self.kind == "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.kind == "enospc":
            self.is_full = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.kind == "after":
            act()
        elif self.kind == "half" and half is not None:
            half()
        self.is_dead = True
        raise Killed

    def _changed(self, undo, *paths, file=None):
        self._names.append([undo, {os.path.realpath(Path(p).parent) for p in paths}, file])

    def _keep(self, path):
        """A second name for a file that is about to lose its own."""
        if not path.is_file():
            return None
        kept = self.aside / f"kept-{next(_NUMBERS)}"
        os.link(path, kept)
        return kept

    # ---- the end of the process

    def end(self):
        """Close what the process left open; with the power gone, drop what was not synced."""
        lengths = {}
        for descriptor, inode in self._open.items():
            with contextlib.suppress(OSError):
                if os.fstat(descriptor).st_ino == inode:
                    os.close(descriptor)
        if self.is_dead and self.kind.startswith("power"):
            lost = [change for change in self._names if change[1]]
            if self.kind == "power_some" and lost:
                lost = lost[self.random.randrange(len(lost) + 1) :]
            for undo, _, _ in reversed(lost):
                with contextlib.suppress(FileNotFoundError):
                    undo()
            lengths = self._synced
        return lengths

    def cut(self, root, lengths):
        """Cut all files below a directory to the bytes that last."""
        for path in Path(root).rglob("*"):
            if path.is_file() and path.stat().st_ino in lengths:
                size, lasting = path.stat().st_size, lengths[path.stat().st_ino]
                if size <= lasting:
                    continue
                os.truncate(path, lasting)
                if self.kind == "power_some" and self.random.random() < 0.5:
                    os.truncate(path, lasting + self.random.randrange(size - lasting + 1))  # zeros


def _back(path, size, gone):
    """Bytes that were cut off come back."""
    if path.is_file() and gone:
        with path.open("r+b") as file:
            file.truncate(size)
            file.seek(size)
            file.write(gone)


@contextlib.contextmanager
def using(calls, root):
    """Let the package use this disk, as a process of its own would."""
    before, disk.calls = disk.calls, calls
    try:
        yield calls
    finally:
        disk.calls = before
        calls.cut(root, calls.end())
