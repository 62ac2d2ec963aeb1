"""A directory on the disk for rows that memory has no room for, gone with the run that made it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "flowedge-buffer-"


class Spool:
    """A fresh directory, in ``$TMPDIR`` or else ``/var/tmp``, which lies on a disk where ``/tmp`` may be memory.

    Directories of runs that were killed are removed: nobody holds their locks any more.

    Attributes
    ----------
    folder : the directory

    Raises
    ------
    OSError : it cannot be made
    """

    def __init__(self) -> None:
        there = os.access("/var/tmp", os.W_OK)  # noqa: S108  # the directory made in it is this user's alone
        root = Path(os.environ.get("TMPDIR") or ("/var/tmp" if there else tempfile.gettempdir()))  # noqa: S108
        for left in root.glob(f"{_PREFIX}*/lock"):
            with contextlib.suppress(OSError), left.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        self._lock = (self.folder / "lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """It is not needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
