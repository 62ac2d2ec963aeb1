"""Work in a copy of this process: what it takes of memory goes with it."""

import os
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress


def apart(make: Callable[[], bytes]) -> bytes | None:
    """What a copy of this process makes.

    Parameters
    ----------
    make : called in the copy, which shares nothing with this process but what it returns

    Returns
    -------
    bytes or None
        None where no copy can be made, or where it raised: then whoever asks does it himself, and sees why
    """
    if not hasattr(os, "fork") or threading.active_count() > 1:  # a copy has no other threads
        return None
    reads, writes = os.pipe()
    try:
        with warnings.catch_warnings():
            # Threads of libraries are meant, which have their own way of living through it.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError:  # there may be no more processes, or there is no memory for one
        os.close(reads)
        os.close(writes)
        return None
    if child == 0:
        _make(make, writes)
    os.close(writes)
    try:
        with os.fdopen(reads, "rb") as file:
            made = file.read()
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return made if os.waitpid(child, 0)[1] == 0 else None


def _make(make: Callable[[], bytes], writes: int) -> None:
    """The life of the copy; it never returns."""
    code = 1
    try:
        with os.fdopen(writes, "wb") as file:
            file.write(make())
        code = 0
    finally:
        os._exit(code)
