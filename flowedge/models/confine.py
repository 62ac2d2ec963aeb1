"""A process that runs a model is cut off: no network, no files but those of its libraries, nothing written.

Landlock [1]_ takes the file system away, an own network namespace the network, limits of the system what is left:
files that grow, core dumps, memory without end. What a kernel cannot do is left out; the process has no more rights
than before in any case.

References
----------
.. [1] https://docs.kernel.org/userspace-api/landlock.html
"""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

MOST_MEMORY = 8 << 30
"""Bytes of data that a model's process may have."""
_MOST_FILES = 256

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # of every architecture
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_FILES = (1 << 16) - 1
_ALL_TCP = 3
_NO_NEW_PRIVILEGES, _DIE_WITH_PARENT = 38, 1
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def libraries() -> list[Path]:
    """Where Python, its packages and the system's libraries lie, and what they ask the kernel."""
    here = Path(__file__).resolve().parents[1]
    names: list[str | Path] = [sys.prefix, sys.base_prefix, sys.exec_prefix, here, "/usr", "/lib", "/lib64", "/proc", "/sys", "/dev/null", "/dev/urandom"]  # fmt: skip
    return [path for name in dict.fromkeys(names) if (path := Path(name)).exists()]


def confine(readable: Iterable[Path] | None = None) -> dict[str, bool]:
    """Give up, for ever, what the calling process needs no more; of one thread.

    Parameters
    ----------
    readable : files, and folders with all that is in them, that may still be read; None: `libraries`

    Returns
    -------
    dict
        ``files``, ``network``: whether the kernel takes them away
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DIE_WITH_PARENT, 9, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_DATA, MOST_MEMORY),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (allowed, allowed))
    alone = libc.unshare(_NEW_NETWORK) == 0 or libc.unshare(_NEW_USER | _NEW_NETWORK) == 0
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return {"files": False, "network": alone}
    files = _FILES.get(version, _ALL_FILES)
    rules = _Ruleset(files, _ALL_TCP if version >= 4 else 0)
    size = ctypes.sizeof(rules) if version >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    for path in libraries() if readable is None else readable:
        with contextlib.suppress(OSError):
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = _READ_FILE | (_READ_DIR | _EXECUTE if path.is_dir() else 0)
            rule = _Beneath(allowed, parent)
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
            os.close(parent)
    taken = libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return {"files": taken, "network": alone or (taken and version >= 4)}
