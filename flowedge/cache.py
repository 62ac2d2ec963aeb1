"""What was made once is kept on disk: object code, plans, tables of the parser, units; by the digest of what they come from.

An entry is magic, length, sha256 over key and content, content. Whatever is wrong with an entry or
with the folder (damaged, truncated, under another's name, unreadable, full disk) makes a miss and
is counted; a cache never stops a run. Entries are written beside their place and moved there, so
that any number of processes may share the folder.
"""

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_MAGIC = b"FLOWCAC1"
_HEAD = len(_MAGIC) + 8 + 32
_NAME = re.compile(r"[0-9a-z]{1,128}\Z")
DEFAULT_LIMIT = 512 * 2**20
"""Bytes that a cache may hold; the entries not used for longest go first."""


@dataclass(slots=True)
class Statistics:
    """What a cache did in this process.

    Attributes
    ----------
    hits, misses : look-ups that found a whole entry, and those that did not
    damaged : entries found but not whole; they are misses too
    stored : entries written
    failed : entries that could not be written
    compile_s : seconds spent on compiling what was missed
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    stored: int = 0
    failed: int = 0
    compile_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheWarning:
    """Why a cache is not used: the folder, and the reason as a message for the user."""

    path: str
    message: str


@dataclass(slots=True)
class Cache:
    """A folder of entries, each a `kind` ("objects", "plans", "grammar", "units") and a key.

    Parameters
    ----------
    root : the folder; made on first use, readable by its owner only. None: keep nothing
    limit : bytes that all entries together may take

    Examples
    --------
    >>> import tempfile
    >>> kept = Cache(Path(tempfile.mkdtemp()))
    >>> kept.get("plans", "00ff")
    >>> kept.put("plans", "00ff", b"a plan")
    >>> kept.get("plans", "00ff"), kept.statistics.hits, kept.statistics.misses
    (b'a plan', 1, 1)
    """

    root: Path | None
    limit: int = DEFAULT_LIMIT
    statistics: Statistics = field(default_factory=Statistics)
    _warning: CacheWarning | None = None
    _is_checked: bool = False

    @property
    def warning(self) -> CacheWarning | None:
        """Why nothing is kept, if so: the folder cannot be made, or others could have written in it."""
        self._usable()
        return self._warning

    def get(self, kind: str, key: str) -> bytes | None:
        """The content of an entry, or None: not there, or not whole."""
        path = self._path(kind, key)
        if path is None:
            self.statistics.misses += 1
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            self.statistics.misses += 1
            if not isinstance(error, FileNotFoundError):
                self.statistics.damaged += 1
            return None
        content = data[_HEAD:]
        if data[:_HEAD] != _head(kind, key, content):
            self.statistics.misses += 1
            self.statistics.damaged += 1
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self.statistics.hits += 1
        with contextlib.suppress(OSError):
            os.utime(path)  # its time says when it was last used
        return content

    def holds(self, kind: str) -> bool:
        """Whether there is any entry of a kind."""
        if self.root is None or not self._usable():
            return False
        return any((self.root / kind).glob("[!.]*"))

    def put(self, kind: str, key: str, content: bytes) -> None:
        """Keep an entry; where that fails, only a counter tells."""
        path = self._path(kind, key)
        if path is None:
            return
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_head(kind, key, content) + content)
                Path(temporary).replace(path)
            except OSError:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
                raise
        except OSError:
            self.statistics.failed += 1
            return
        self.statistics.stored += 1
        self._evict(path)

    def entries(self) -> list[Path]:
        """Files of the cache, those used last at the end."""
        return [path for _, _, path in sorted(self._files())]

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """(time of last use [ns], bytes, path) of each file."""
        if self.root is None or not self._usable():
            return
        with contextlib.suppress(OSError):
            for folder in self.root.iterdir():
                if not folder.is_dir():
                    continue
                for path in folder.iterdir():
                    with contextlib.suppress(OSError):
                        found = path.stat()
                        yield found.st_mtime_ns, found.st_size, path

    def _evict(self, newest: Path) -> None:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.limit:
                return
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size

    def _path(self, kind: str, key: str) -> Path | None:
        if self.root is None or not self._usable():
            return None
        if not _NAME.match(kind) or not _NAME.match(key):
            raise ValueError(f"not a name of a cache entry: {kind}/{key}")
        return self.root / kind / key

    def _usable(self) -> bool:
        """Whether the folder is there and nobody else may write in it; found out once."""
        if not self._is_checked:
            self._is_checked = True
            self._warning = None if self.root is None else _inspect(self.root)
        return self._warning is None


def _head(kind: str, key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(f"{kind}/{key}\0".encode())
    digest.update(content)
    return _MAGIC + len(content).to_bytes(8, "little") + digest.digest()


def _inspect(root: Path) -> CacheWarning | None:
    """What speaks against a folder: code in it is run, so only its owner may write there."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.stat()
    except OSError as error:
        return CacheWarning(str(root), f"the cache folder cannot be made: {error.strerror}")
    if not stat.S_ISDIR(found.st_mode):
        return CacheWarning(str(root), "the cache folder is not a folder")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return CacheWarning(
            str(root), "the cache folder belongs to another user and is not trusted"
        )
    if found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return CacheWarning(str(root), "others may write in the cache folder, so it is not trusted")
    return None


def default_root() -> Path:
    """``$FLOWEDGE_CACHE``, or ``$XDG_CACHE_HOME/flowedge``, or ``~/.cache/flowedge``."""
    own = os.environ.get("FLOWEDGE_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    # A relative path is to be ignored: XDG Base Directory Specification 0.8.
    if shared and Path(shared).is_absolute():
        return Path(shared) / "flowedge"
    return Path(os.path.expanduser("~")) / ".cache" / "flowedge"  # noqa: PTH111  # never raises


def default_cache() -> Cache:
    """The user's cache; the same object, with its statistics, as long as the environment stays."""
    return _cache_at(default_root())


@cache
def _cache_at(root: Path) -> Cache:
    return Cache(root)
